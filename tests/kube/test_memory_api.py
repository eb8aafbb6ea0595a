"""The API server in memory answers as the real one: the same requests to both, and what only the first one can."""

import pytest

from cipher_operator.kube.port import JSON_PATCH, ApiError, ApiUnavailable, Kube
from support.memory_api import MemoryApi


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


def as_port(api: MemoryApi) -> Kube:
    return api


async def test_it_is_the_port(api: MemoryApi) -> None:
    api.storage()
    kube = as_port(api)
    body = await kube.get("/apis/storage.cipher.dev/v1alpha1/namespaces/ns/cipherstorages/chat")
    assert (body["metadata"]["generation"], body["spec"]["deletionPolicy"]) == (1, "Retain")
    assert api.count("GET") == 1


async def test_trouble(api: MemoryApi) -> None:
    path = "/api/v1/namespaces/kube-system"
    api.answer(429, "TooManyRequests", retry_after="7", times=1)
    with pytest.raises(ApiUnavailable) as busy:
        await api.get(path)
    assert (busy.value.status, busy.value.retry_after) == (429, 7.0)
    broken = api.fault(network=True)
    with pytest.raises(ApiUnavailable):
        await api.get(path)
    api.mend(broken)
    assert (await api.get(path))["kind"] == "Namespace"


async def test_conflicts(api: MemoryApi) -> None:
    body = api.secret("a", {"x": "1"})
    body["data"] = {"x": "Mg=="}
    await api.put("/api/v1/namespaces/ns/secrets/a", body)
    with pytest.raises(ApiError, match="409 Conflict"):
        await api.put("/api/v1/namespaces/ns/secrets/a", body)
    steps = [{"op": "test", "path": "/metadata/uid", "value": "other"}]
    with pytest.raises(ApiError, match="422 Invalid"):
        await api.patch("/api/v1/namespaces/ns/secrets/a", steps, JSON_PATCH)
