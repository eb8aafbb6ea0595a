"""Writing the app Secret on a real API server, while somebody else writes it too."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.spec import parse_resource
from cipher_operator.kube.access import load_access
from cipher_operator.kube.client import KubeClient
from cipher_operator.kube.secrets import get_secret
from cipher_operator.queue.inputs import Inputs
from cipher_operator.reconcile.publishing import AppSecret, publish
from devcluster import ControlPlane
from support.cluster import Namespace


@pytest.fixture
async def kube(plane: ControlPlane) -> AsyncIterator[KubeClient]:
    async with KubeClient(await load_access({"KUBECONFIG": str(plane.kubeconfig)})) as client:
        yield client


async def test_a_secret_that_somebody_else_wrote_is_not_overwritten_unseen(
    namespace: Namespace, kube: KubeClient
) -> None:
    storage, inputs = parse_resource(namespace.storage("chat", {"suspend": True})), Inputs()
    first = AppSecret("chat-cipher", {"username": "app", "password": "one"}, {}, {})
    assert await publish(kube, inputs, storage, first, None)
    seen = await get_secret(kube, namespace.name, "chat-cipher")
    assert not await publish(kube, inputs, storage, first, seen), "nothing differs"
    namespace.plane.kubectl("-n", namespace.name, "label", "secret", "chat-cipher", "team=search")
    second = replace(first, data={"username": "app", "password": "two"})
    for stale in (seen, None):
        with pytest.raises(Failure) as faster:
            await publish(kube, inputs, storage, second, stale)
        assert "somebody else at the same moment" in faster.value.message
    now = await get_secret(kube, namespace.name, "chat-cipher")
    assert now is not None
    assert now.data["password"] == b"one"
    assert await publish(kube, inputs, storage, second, now)
    after = await get_secret(kube, namespace.name, "chat-cipher")
    assert after is not None
    assert (after.data["password"], after.labels["team"]) == (b"two", "search")
