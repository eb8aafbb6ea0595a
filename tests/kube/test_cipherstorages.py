"""Reading, the status and the finalizer of CipherStorages on a real API server."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cipher_operator.api.names import FINALIZER
from cipher_operator.api.spec import Resource
from cipher_operator.kube.cipherstorages import (
    add_finalizer,
    get_storage,
    patch_status,
    remove_finalizer,
    storage_keys,
    storages,
)
from cipher_operator.kube.client import KubeClient
from cipher_operator.kube.objects import Standing
from cipher_operator.kube.port import ApiError
from support.cluster import Namespace

Read = Callable[[], Awaitable[Resource]]
OTHER = "example.com/other"


def status(**fields: Any) -> dict[str, Any]:
    return {"observedGeneration": 1, **fields}


async def test_get_and_list(kube: KubeClient, namespace: Namespace) -> None:
    assert await get_storage(kube, namespace.name, "chat") is None
    namespace.storage("chat")
    namespace.storage("other", {"connection": {"secretRef": {"name": "elsewhere"}}})
    body = await get_storage(kube, namespace.name, "chat")
    assert body is not None and body["spec"]["connection"]["secretRef"]["name"] == "pg-admin"
    assert [item["metadata"]["name"] async for item in storages(kube, namespace.name)] == ["chat", "other"]


async def test_lists_come_page_by_page(kube: KubeClient, namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("FEW", "MANY"):
        monkeypatch.setattr(f"cipher_operator.kube.cipherstorages.{limit}", "2")
    for name in "abcde":
        namespace.storage(name)
    expected = {(namespace.name, name) for name in "abcde"}
    assert {key async for key in storage_keys(kube, namespace.name)} == expected
    assert {key async for key in storage_keys(kube, None)} >= expected
    assert [item["metadata"]["name"] async for item in storages(kube, namespace.name)] == list("abcde")


async def written(kube: KubeClient, seen: Resource, status: dict[str, Any]) -> bool:
    """Write a status over the one that was seen; return whether it stands."""
    return await patch_status(kube, seen.namespace, seen.name, Standing.of(seen), status) is not None


async def test_a_status_is_written_whole_and_leaves_the_generation(
    kube: KubeClient, resource: Resource, read: Read
) -> None:
    assert await written(kube, resource, status(database="a", user="b"))
    assert await written(kube, await read(), status(database="a"))
    now = await read()
    assert (dict(now.status), now.generation) == (status(database="a"), 1)


async def test_a_status_never_lands_on_a_storage_that_was_made_again(
    kube: KubeClient, namespace: Namespace, resource: Resource, read: Read
) -> None:
    namespace.delete("cipherstorages", "chat")
    assert not await written(kube, resource, status(database="a"))
    namespace.storage("chat")
    assert not await written(kube, resource, status(database="a"))
    assert "database" not in (await read()).status


@pytest.mark.parametrize("before", [None, status(database="a")], ids=["none", "one"])
async def test_a_status_that_was_not_seen_is_not_replaced(
    kube: KubeClient, namespace: Namespace, resource: Resource, read: Read, before: dict[str, Any] | None
) -> None:
    """By a former leader whose request was on its way, or by a run that began before the spec changed."""
    if before is not None:
        assert await written(kube, resource, before)
    seen = await read()
    namespace.patch("chat", {"spec": {"interval": "10m"}})
    newer = status(database="b") | {"observedGeneration": 2}
    assert await written(kube, await read(), newer)
    with pytest.raises(ApiError, match="409 Conflict"):
        await written(kube, seen, status(database="c"))
    assert (await read()).status == newer


@pytest.mark.parametrize("before", [None, status(database="a")], ids=["none", "one"])
async def test_whatever_else_changes_keeps_no_status_away(
    kube: KubeClient, namespace: Namespace, resource: Resource, read: Read, before: dict[str, Any] | None
) -> None:
    if before is not None:
        assert await written(kube, resource, before)
    seen = await read()
    namespace.patch("chat", {"metadata": {"labels": {"a": "b"}}, "spec": {"interval": "10m"}})
    assert await written(kube, seen, status(database="c"))
    assert (await read()).status == status(database="c")


async def test_a_status_whose_answer_was_lost_stands(kube: KubeClient, resource: Resource, read: Read) -> None:
    for _ in range(2):
        assert await written(kube, resource, status(database="a"))
    assert (await read()).status == status(database="a")


@pytest.mark.parametrize(
    "text",
    ["<a> & 'b' \"c\"", "é ü 漢 😀", "\u2028\u2029", "a\\b/c\td\b\f\x7f"],
    ids=["html", "beyond ASCII", "line separators", "escapes"],
)
async def test_a_status_is_replaced_whatever_its_words_are(
    kube: KubeClient, namespace: Namespace, resource: Resource, read: Read, text: str
) -> None:
    """Words of servers and templates stand in it, and the API server encodes them in its own way."""
    assert await written(kube, resource, status(database=text))
    seen = await read()
    assert await written(kube, seen, status(database="b"))
    assert await written(kube, await read(), status(database=text))
    seen = await read()
    namespace.patch("chat", {"metadata": {"labels": {"a": "b"}}})
    assert await written(kube, seen, status(database="c"))
    assert (await read()).status == status(database="c")


async def test_a_status_that_is_empty_is_replaced(
    kube: KubeClient, namespace: Namespace, resource: Resource, read: Read
) -> None:
    namespace.request("PATCH", namespace.path("cipherstorages", "chat") + "/status", {"status": {}})
    assert await written(kube, resource, status(database="a"))
    assert (await read()).status == status(database="a")


@pytest.mark.parametrize("before", [None, status(database="a")], ids=["none", "one"])
async def test_a_status_that_the_schema_refuses_raises(
    kube: KubeClient, resource: Resource, read: Read, before: dict[str, Any] | None
) -> None:
    if before is not None:
        assert await written(kube, resource, before)
    with pytest.raises(ApiError, match="422 Invalid"):
        await written(kube, await read(), {"database": 5})


async def test_a_finalizer_that_was_added_is_no_others_change(kube: KubeClient, resource: Resource, read: Read) -> None:
    """What the first status needs to know, or it is sent twice."""
    version = await add_finalizer(kube, resource, FINALIZER)
    assert version == (await read()).resource_version != resource.resource_version
    assert await add_finalizer(kube, await read(), FINALIZER) == version


async def test_a_finalizer_is_added_and_removed_and_both_may_be_repeated(
    kube: KubeClient, resource: Resource, read: Read
) -> None:
    for _ in range(2):
        await add_finalizer(kube, resource, FINALIZER)
    assert (await read()).finalizers == (FINALIZER,)
    await add_finalizer(kube, await read(), FINALIZER)
    for _ in range(2):
        await remove_finalizer(kube, await read(), FINALIZER)
    assert (await read()).finalizers == ()


async def test_what_was_read_may_be_old(kube: KubeClient, namespace: Namespace, resource: Resource, read: Read) -> None:
    namespace.patch("chat", {"metadata": {"finalizers": [OTHER], "labels": {"a": "b"}}})
    await add_finalizer(kube, resource, FINALIZER)
    held = await read()
    assert held.finalizers == (OTHER, FINALIZER)
    namespace.patch("chat", {"metadata": {"finalizers": [FINALIZER]}})
    await remove_finalizer(kube, held, FINALIZER)
    assert (await read()).finalizers == ()


async def test_the_finalizers_of_others_stay(
    kube: KubeClient, namespace: Namespace, resource: Resource, read: Read
) -> None:
    namespace.patch("chat", {"metadata": {"finalizers": ["example.com/a", FINALIZER, "example.com/b"]}})
    await remove_finalizer(kube, await read(), FINALIZER)
    assert (await read()).finalizers == ("example.com/a", "example.com/b")


async def test_a_storage_that_was_made_again_is_not_touched(
    kube: KubeClient, namespace: Namespace, resource: Resource, read: Read
) -> None:
    namespace.delete("cipherstorages", "chat")
    namespace.storage("chat", finalizers=[FINALIZER])
    await remove_finalizer(kube, resource, FINALIZER)
    await remove_finalizer(kube, held_by(resource), FINALIZER)
    assert (await read()).finalizers == (FINALIZER,)
    namespace.patch("chat", {"metadata": {"finalizers": []}})
    with pytest.raises(ApiError, match="404"):
        await add_finalizer(kube, resource, FINALIZER)
    assert (await read()).finalizers == ()


async def test_a_storage_that_is_gone(kube: KubeClient, namespace: Namespace, resource: Resource) -> None:
    namespace.delete("cipherstorages", "chat")
    await remove_finalizer(kube, held_by(resource), FINALIZER)
    with pytest.raises(ApiError, match="404"):
        await add_finalizer(kube, resource, FINALIZER)


async def test_no_finalizer_for_a_storage_that_is_being_deleted(
    kube: KubeClient, namespace: Namespace, resource: Resource, read: Read
) -> None:
    namespace.patch("chat", {"metadata": {"finalizers": [OTHER]}})
    namespace.delete("cipherstorages", "chat")
    with pytest.raises(ApiError):
        await add_finalizer(kube, resource, FINALIZER)
    assert (await read()).finalizers == (OTHER,)


def held_by(resource: Resource) -> Resource:
    """Return the resource as if it had been read with our finalizer."""
    facts = {name: getattr(resource, name) for name in Resource.__dataclass_fields__}
    return Resource(**{**facts, "finalizers": (FINALIZER,)})
