"""A client of a real API server with the CRD, and a namespace per test."""

import itertools
from collections.abc import AsyncIterator, Callable

import pytest

from cipher_operator.api.spec import Resource, parse_resource
from cipher_operator.kube.access import load_access
from cipher_operator.kube.cipherstorages import get_storage
from cipher_operator.kube.client import KubeClient
from devcluster import ControlPlane
from support.cluster import Namespace

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def plane(installed: ControlPlane) -> ControlPlane:
    return installed


@pytest.fixture
async def kube(plane: ControlPlane) -> AsyncIterator[KubeClient]:
    async with KubeClient(await load_access({"KUBECONFIG": str(plane.kubeconfig)})) as client:
        yield client


@pytest.fixture
async def namespace(plane: ControlPlane) -> AsyncIterator[Namespace]:
    """A namespace of the test's own; storages do not outlive it, because later tests run operators."""
    made = Namespace(plane, f"kube-{next(_numbers)}")
    yield made
    for storage in made.request("GET", made.path("cipherstorages"))["items"]:
        name = storage["metadata"]["name"]
        made.patch(name, {"metadata": {"finalizers": []}})
        if made.get("cipherstorages", name) is not None:
            made.delete("cipherstorages", name)


@pytest.fixture
def resource(namespace: Namespace) -> Resource:
    """A storage as it was just created."""
    return parse_resource(namespace.storage("chat"))


@pytest.fixture
def read(kube: KubeClient, namespace: Namespace) -> Callable[[], object]:
    async def again() -> Resource:
        body = await get_storage(kube, namespace.name, "chat")
        assert body is not None
        return parse_resource(body)

    return again
