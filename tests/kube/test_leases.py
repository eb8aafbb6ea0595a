"""The Lease on a real API server, and on the one in memory: created once, and replaced only as it was read."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cipher_operator.kube.client import KubeClient
from cipher_operator.kube.leases import Claim, Lease, create_lease, get_lease, lease_path, replace_lease
from cipher_operator.kube.port import JSON_PATCH, ApiError, Kube
from support.cluster import Namespace
from support.memory_api import MemoryApi

NAME = "cipher-operator"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)
CLAIM = Claim("first", 15, 0, NOW, acquired=NOW)


@pytest.fixture(params=["the real one", "in memory"])
def port(request: pytest.FixtureRequest, namespace: Namespace, kube: KubeClient) -> tuple[Kube, str]:
    if request.param == "in memory":
        api = MemoryApi()
        api.namespace(namespace.name)
        return api, namespace.name
    return kube, namespace.name


async def test_it_is_as_it_was_claimed(port: tuple[Kube, str]) -> None:
    kube, namespace = port
    assert await get_lease(kube, namespace, NAME) is None
    made = await create_lease(kube, namespace, NAME, CLAIM)
    assert made == Lease("first", 15.0, 0, "2026-01-02T03:04:05.678900Z", "2026-01-02T03:04:05.678900Z", {})
    assert await get_lease(kube, namespace, NAME) == made


async def test_only_one_creates_it(port: tuple[Kube, str]) -> None:
    kube, namespace = port
    await create_lease(kube, namespace, NAME, CLAIM)
    with pytest.raises(ApiError, match="409"):
        await create_lease(kube, namespace, NAME, replace(CLAIM, holder="second"))


async def test_a_renewal_keeps_when_the_term_began(port: tuple[Kube, str]) -> None:
    kube, namespace = port
    made = await create_lease(kube, namespace, NAME, CLAIM)
    later = NOW.replace(second=10)
    renewed = await replace_lease(kube, made, replace(CLAIM, renewed=later, acquired=None))
    assert (renewed.acquired, renewed.renewed) == (made.acquired, "2026-01-02T03:04:10.678900Z")


async def test_only_as_it_was_read(port: tuple[Kube, str]) -> None:
    kube, namespace = port
    made = await create_lease(kube, namespace, NAME, CLAIM)
    await replace_lease(kube, made, replace(CLAIM, holder="second", transitions=1))
    with pytest.raises(ApiError, match="409"):
        await replace_lease(kube, made, CLAIM)
    now = await get_lease(kube, namespace, NAME)
    assert now is not None and (now.holder, now.transitions) == ("second", 1)


async def test_a_released_one_has_no_holder(port: tuple[Kube, str]) -> None:
    kube, namespace = port
    made = await create_lease(kube, namespace, NAME, CLAIM)
    released = await replace_lease(kube, made, Claim("", 1, 0, NOW, acquired=NOW))
    assert (released.holder, released.duration) == ("", 1.0)


async def test_what_others_note_on_it_is_no_news_and_stays(port: tuple[Kube, str]) -> None:
    kube, namespace = port
    made = await create_lease(kube, namespace, NAME, CLAIM)
    note = {"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}
    await kube.patch(lease_path(namespace, NAME), [note], JSON_PATCH)
    noted = await get_lease(kube, namespace, NAME)
    assert noted == made
    assert noted is not None
    renewed = await replace_lease(kube, noted, CLAIM)
    assert renewed.body["metadata"]["annotations"] == {"a": "b"}
