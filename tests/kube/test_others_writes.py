"""What others wrote is kept, and what others do in between is noticed: on an API server in memory."""

import pytest

from cipher_operator.api.names import IN_USE_FINALIZER, SECRET_TYPE
from cipher_operator.kube.finalizers import find, remove
from cipher_operator.kube.port import ApiError, Json
from cipher_operator.kube.refusals import Refusal, refusal
from cipher_operator.kube.secrets import SecretContent, get_secret, replace_secret
from support.memory_api import MemoryApi

THEIRS: Json = {"apiVersion": "v1", "kind": "ConfigMap", "name": "tool", "uid": "theirs"}
FORMER: Json = {"apiVersion": "v1", "kind": "CipherStorage", "name": "chat", "uid": "former", "controller": True}
OURS: Json = {**FORMER, "uid": "ours"}


def content(**data: bytes) -> SecretContent:
    return SecretContent(SECRET_TYPE, data, {}, {}, OURS)


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


async def test_other_owners_of_a_secret_stay_and_ours_is_renewed(api: MemoryApi) -> None:
    api.secret("app", {"k": "1"}, ownerReferences=[THEIRS, FORMER])
    existing = await get_secret(api, "ns", "app")
    assert existing is not None and existing.controller_uid == "former"
    replaced = await replace_secret(api, existing, content(k=b"2"))
    assert [owner["uid"] for owner in replaced.owners] == ["ours", "theirs"]
    assert replaced.controller_uid == "ours"


async def test_an_immutable_secret_stays_immutable_and_says_so(api: MemoryApi) -> None:
    api.secret("app", {"k": "1"}, immutable=True)
    existing = await get_secret(api, "ns", "app")
    assert existing is not None and existing.immutable
    with pytest.raises(ApiError) as refused:
        await replace_secret(api, existing, content(k=b"2"))
    assert refusal(refused.value) is Refusal.IMMUTABLE
    assert (await replace_secret(api, existing, content(k=b"1"))).immutable


async def test_a_secret_that_is_collected_before_it_is_replaced_is_gone(api: MemoryApi) -> None:
    api.secret("app", {"k": "1"})
    existing = await get_secret(api, "ns", "app")
    assert existing is not None
    api.delete("secrets", "app")
    with pytest.raises(ApiError) as refused:
        await replace_secret(api, existing, content(k=b"2"))
    assert refusal(refused.value) is Refusal.GONE


async def test_a_hold_is_taken_off_only_what_was_looked_at(api: MemoryApi) -> None:
    api.secret("pg", {}, finalizers=[IN_USE_FINALIZER])
    held = await find(api, api.path("secrets", "pg"))
    assert held is not None
    api.change("secrets", "pg", {"metadata": {"labels": {"needed-by": "another"}}})
    assert not await remove(api, held, IN_USE_FINALIZER, as_seen=True)
    assert (await find(api, held.path) or held).finalizers == [IN_USE_FINALIZER]
    again = await find(api, held.path)
    assert again is not None
    assert await remove(api, again, IN_USE_FINALIZER, as_seen=True)
    assert list((await find(api, held.path) or held).finalizers) == []
