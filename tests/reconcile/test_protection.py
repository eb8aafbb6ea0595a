"""What is held before anything is created, when others act between two requests to a real API server."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.names import FINALIZER, IN_USE_FINALIZER
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import Resource, parse_resource, parse_spec
from cipher_operator.kube.access import load_access
from cipher_operator.kube.client import KubeClient
from cipher_operator.queue.inputs import Inputs
from cipher_operator.reconcile.deletion import protect, release
from cipher_operator.reconcile.environment import Environment
from devcluster import ControlPlane
from support.cluster import Namespace


class Interrupted(KubeClient):
    """A client that lets others act before its next patch."""

    before_patch: Callable[[], Awaitable[None]] | None = None

    async def patch(self, path: str, body: Any, content_type: str) -> dict[str, Any]:
        act, self.before_patch = self.before_patch, None
        if act is not None:
            await act()
        return await super().patch(path, body, content_type)


@pytest.fixture
async def kube(plane: ControlPlane) -> AsyncIterator[Interrupted]:
    client = Interrupted(await load_access({"KUBECONFIG": str(plane.kubeconfig)}))
    async with client:
        yield client


def environment(kube: KubeClient) -> Environment:
    nothing = cast(Any, None)
    return Environment(kube, Inputs(), nothing, "instance", 0.0, nothing)


def storage(namespace: Namespace, name: str) -> Resource:
    found = namespace.get("cipherstorages", name)
    return parse_resource(found or namespace.storage(name, {"deletionPolicy": "Delete"}))


async def hold(kube: KubeClient, resource: Resource) -> None:
    await protect(environment(kube), resource, parse_spec(resource.namespace, resource.name, resource.raw_spec))


def finalizers(namespace: Namespace, plural: str, name: str) -> list[str]:
    found: list[str] = (namespace.get(plural, name) or {})["metadata"].get("finalizers", [])
    return found


async def test_without_its_secret_a_storage_goes_no_further(namespace: Namespace, kube: Interrupted) -> None:
    chat = storage(namespace, "chat")
    with pytest.raises(Failure) as missing:
        await hold(kube, chat)
    assert missing.value.reason is Reason.SECRET_NOT_FOUND
    assert finalizers(namespace, "cipherstorages", "chat") == []
    namespace.secret("pg-admin", {"CIPHER_PG_URL": "x"})
    await hold(kube, chat)
    assert finalizers(namespace, "cipherstorages", "chat") == [FINALIZER]
    assert finalizers(namespace, "secrets", "pg-admin") == [IN_USE_FINALIZER]
    await release(environment(kube), storage(namespace, "chat"))


async def test_the_secret_stays_held_when_another_storage_lets_go_of_it_meanwhile(
    namespace: Namespace, kube: Interrupted
) -> None:
    namespace.secret("pg-admin", {"CIPHER_PG_URL": "x"})
    await hold(kube, storage(namespace, "first"))
    first, second = storage(namespace, "first"), storage(namespace, "second")
    kube.before_patch = lambda: release(environment(kube), first)
    await hold(kube, second)
    assert finalizers(namespace, "cipherstorages", "first") == []
    assert finalizers(namespace, "secrets", "pg-admin") == [IN_USE_FINALIZER]
    await release(environment(kube), storage(namespace, "second"))
    assert finalizers(namespace, "secrets", "pg-admin") == []
