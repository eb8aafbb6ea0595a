"""The API server in memory answers as the real one: the same requests to both; and what only one of them can do."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from cipher_operator.kube.access import load_access
from cipher_operator.kube.port import (
    JSON,
    JSON_PATCH,
    METADATA_LIST,
    METADATA_ONLY,
    ApiError,
    ApiUnavailable,
    Json,
    Kube,
)
from devcluster import ControlPlane
from support.cluster import Namespace
from support.memory_api import MemoryApi

STORAGE = {
    "apiVersion": "storage.cipher.dev/v1alpha1",
    "kind": "CipherStorage",
    "spec": {"connection": {"secretRef": {"name": "pg"}}},
}


class Script:
    """Sends requests and keeps what came back, in a form in which two servers can be compared."""

    def __init__(self, namespace: str, send: Callable[..., Awaitable[tuple[int, Json]]]) -> None:
        self.namespace, self._send = namespace, send
        self.kept: list[object] = []
        self._known: dict[str, dict[str, int]] = {"uid": {}, "resourceVersion": {}, "continue": {}}

    async def __call__(self, method: str, path: str, body: object = None, **options: Any) -> Json:
        """Send one request; `path` is below the namespace unless it begins with a slash, and return the body."""
        group = "/apis/storage.cipher.dev/v1alpha1" if path.startswith("cipherstorages") else "/api/v1"
        url = path if path.startswith("/") else f"{group}/namespaces/{self.namespace}/{path}"
        status, answer = await self._send(method, url, body, **options)
        self.kept.append((f"{method} {path}", status, self._comparable(answer)))
        return answer

    def _comparable(self, node: Any, name: str = "") -> Any:
        if isinstance(node, list):
            return [self._comparable(each) for each in node]
        if isinstance(node, dict):
            node = dict(sorted(node.items()))
            left_out = ("managedFields", "code", "kind", "apiVersion", "selfLink", "details", "remainingItemCount")
            shown = {key: self._comparable(value, key) for key, value in node.items() if value and key not in left_out}
            causes = ((node.get("details") or {}) if isinstance(node.get("details"), dict) else {}).get("causes")
            # In which order, and how often, the fields of an object are checked is no promise.
            return shown | ({"causes": sorted({str(self._comparable(each)) for each in causes})} if causes else {})
        if name in self._known and isinstance(node, str):
            return f"{name} {self._known[name].setdefault(node, len(self._known[name]))}"
        if name in ("creationTimestamp", "deletionTimestamp"):
            return "a time"
        if isinstance(node, str):
            return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "UID", node.replace(self.namespace, "NS"))
        return node


async def a_secret(send: Script) -> None:
    body = {"metadata": {"name": "a", "labels": {"x": "y"}}, "data": {"k": "MQ=="}}
    created = await send("POST", "secrets", body)
    await send("POST", "secrets", body)
    await send("GET", "secrets/a")
    await send("GET", "secrets/a", accept=METADATA_ONLY)
    await send("PUT", "secrets/a", created | {"data": {"k": "Mg=="}})
    await send("PUT", "secrets/a", created | {"data": {"k": "Mw=="}})
    replaced = await send("PUT", "secrets/a", {"metadata": {"name": "a"}, "data": {"k": "NA=="}})
    await send("PUT", "secrets/a", replaced)
    await send("PUT", "secrets/b", {**replaced, "metadata": {"name": "b"}})
    await send("DELETE", "secrets/a")
    await send("PUT", "secrets/a", replaced)
    await send("GET", "secrets/a")
    await send("DELETE", "secrets/a")


async def objects_that_are_wrong(send: Script) -> None:
    await send("POST", "secrets", {"metadata": {}})
    await send("POST", "secrets", {"metadata": {"name": "a", "namespace": "elsewhere"}})
    await send("POST", "secrets", {"metadata": {"name": "a"}, "data": {"k": "%"}})
    await send("POST", "secrets", {"metadata": {"name": "a"}, "stringData": {"k": "1"}})
    await send("POST", "/api/v1/namespaces/nowhere/secrets", {"metadata": {"name": "a"}})
    await send("GET", "/api/v1/namespaces/nowhere/secrets/a")
    await send("GET", "/apis/example.com/v1/namespaces/a/things/b")


async def a_json_patch(send: Script) -> None:
    body = await send("POST", "secrets", {"metadata": {"name": "a"}})

    def test(field: str, value: str | None = None) -> Json:
        return {"op": "test", "path": f"/metadata/{field}", "value": value or body["metadata"][field]}

    async def patch(*steps: Json) -> Json:
        return await send("PATCH", "secrets/a", list(steps), content_type=JSON_PATCH)

    add = {"op": "add", "path": "/metadata/finalizers", "value": ["example.com/a"]}
    await patch(test("uid", "another"), add)
    await patch(test("resourceVersion", "1"), add)
    await patch({"op": "remove", "path": "/metadata/finalizers/0"})
    await patch({"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/a"})
    await patch(test("uid"), test("resourceVersion"), add)
    await patch(test("uid"), {"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/b"})
    await patch({"op": "test", "path": "/metadata/finalizers/0", "value": "example.com/b"})
    await patch({"op": "remove", "path": "/metadata/finalizers/0"})
    await patch({"op": "remove", "path": "/metadata/finalizers/0"})
    await patch({"op": "replace", "path": "/metadata/uid", "value": "another"})
    await send("PATCH", "secrets/b", [add], content_type=JSON_PATCH)


async def a_deletion_that_waits(send: Script) -> None:
    await send("POST", "secrets", {"metadata": {"name": "a", "finalizers": ["example.com/a", "example.com/b"]}})
    await send("DELETE", "secrets/a")
    await send("DELETE", "secrets/a")
    for finalizers in (["example.com/a", "example.com/c"], ["example.com/a"], []):
        await send("PATCH", "secrets/a", {"metadata": {"finalizers": finalizers}})
    await send("GET", "secrets/a")


async def an_object_that_was_made_again(send: Script) -> None:
    first = await send("POST", "secrets", {"metadata": {"name": "a"}})
    await send("DELETE", "secrets/a")
    await send("POST", "secrets", {"metadata": {"name": "a"}})
    await send("PUT", "secrets/a", first)
    del first["metadata"]["resourceVersion"]
    await send("PUT", "secrets/a", first)


async def an_immutable_secret(send: Script) -> None:
    await send("POST", "secrets", {"metadata": {"name": "a"}, "data": {"k": "MQ=="}, "immutable": True})
    for merge in (
        {"data": {"k": "Mg=="}},
        {"immutable": False},
        {"immutable": None, "data": {"k": "Mg=="}},
        {"type": "example.com/other"},
        {"metadata": {"labels": {"a": "b"}}},
    ):
        await send("PATCH", "secrets/a", merge)


async def a_storage(send: Script) -> None:
    made = await send("POST", "cipherstorages", {"metadata": {"name": "chat"}, **STORAGE, "status": {"database": "a"}})
    await send("PATCH", "cipherstorages/chat", {"spec": {"interval": "10m"}, "status": {"database": "b"}})
    await send("PATCH", "cipherstorages/chat/status", {"spec": {"interval": "1m"}, "status": {"database": "c", "x": 1}})
    await send("PATCH", "cipherstorages/chat", {"metadata": {"labels": {"a": "b"}}})
    await send("PUT", "cipherstorages/chat", made)
    made["metadata"].pop("resourceVersion", None)
    await send("PUT", "cipherstorages/chat", made)
    steps = [{"op": "add", "path": "/status", "value": {"database": "d"}}]
    await send("PATCH", "cipherstorages/chat/status", steps, content_type=JSON_PATCH)
    wrong = [{"op": "add", "path": "/status", "value": {"database": 5}}]
    await send("PATCH", "cipherstorages/chat/status", wrong, content_type=JSON_PATCH)
    await send("PATCH", "cipherstorages/chat", {"spec": {"schema": None, "deletionPolicy": "Never"}})
    await send("PATCH", "cipherstorages/other/status", steps, content_type=JSON_PATCH)
    await send("PATCH", "cipherstorages/chat", {"metadata": {"finalizers": ["example.com/a"]}})
    await send("DELETE", "cipherstorages/chat")
    await send("PATCH", "cipherstorages/chat/status", {"status": {"database": "e"}})
    await send("PATCH", "cipherstorages/chat", {"metadata": {"finalizers": ["example.com/a", "example.com/b"]}})
    await send("PATCH", "cipherstorages/chat", {"metadata": {"finalizers": []}})
    await send("GET", "cipherstorages/chat")


async def lists(send: Script) -> None:
    for name in "cab":
        await send(
            "POST", "secrets", {"metadata": {"name": name, "labels": {"n": name}}, "type": f"example.com/{name}"}
        )
    for query in (
        {"labelSelector": "n in (a,c)"},
        {"labelSelector": "n!=a,n"},
        {"labelSelector": "!n"},
        {"fieldSelector": "type!=example.com/a"},
        {"fieldSelector": "metadata.name=b"},
    ):
        await send("GET", "secrets", query=query)
    page = await send("GET", "secrets", query={"limit": "2"}, accept=METADATA_LIST)
    await send("GET", "secrets", query={"limit": "2", "continue": page["metadata"]["continue"]}, accept=METADATA_LIST)
    await send("GET", "cipherstorages")


SCRIPTS = [
    a_secret,
    objects_that_are_wrong,
    a_json_patch,
    a_deletion_that_waits,
    an_object_that_was_made_again,
    an_immutable_secret,
    a_storage,
    lists,
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
async def test_both_answer_alike(
    plane: ControlPlane, namespace: Namespace, script: Callable[[Script], Awaitable[None]]
) -> None:
    access = await load_access({"KUBECONFIG": str(plane.kubeconfig)})
    headers = {"Authorization": await access.authorization() or ""}
    connector = aiohttp.TCPConnector(ssl=access.ssl_context())
    memory = MemoryApi()
    memory.namespace(namespace.name)

    async def to_memory(method: str, url: str, body: Any, **options: Any) -> tuple[int, Json]:
        answer = memory.send(method, url, body, **({"content_type": _type(method)} | options))
        return answer.status, answer.body

    async with aiohttp.ClientSession(access.server, headers=headers, connector=connector) as session:

        async def to_real(
            method: str, url: str, body: Any, content_type: str = "", accept: str = JSON, query: Any = None
        ) -> tuple[int, Json]:
            asked = {"Accept": accept, "Content-Type": content_type or _type(method)}
            target = url + ("?" + urlencode(query) if query else "")
            async with session.request(method, target, json=body, headers=asked) as answer:
                return answer.status, await answer.json() if answer.content_type == JSON else {}

        real, remembered = Script(namespace.name, to_real), Script(namespace.name, to_memory)
        await asyncio.gather(script(real), script(remembered))
    for ours, theirs in zip(remembered.kept, real.kept, strict=True):
        assert ours == theirs


def _type(method: str) -> str:
    return "application/merge-patch+json" if method == "PATCH" else JSON


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


def as_port(api: MemoryApi) -> Kube:
    return api


async def test_it_is_the_port_and_counts(api: MemoryApi) -> None:
    api.storage()
    kube = as_port(api)
    body = await kube.get(api.path("cipherstorages", "chat"))
    assert (body["metadata"]["generation"], body["spec"]["deletionPolicy"]) == (1, "Retain")
    await kube.get(api.path("secrets"))
    assert (api.count("GET"), api.count("LIST"), api.count(), api.count(path="/secrets")) == (1, 1, 2, 1)


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


async def test_others_act_before_a_request(api: MemoryApi) -> None:
    body = api.secret("a", {"x": "1"})
    api.fault("PUT", "/secrets/a", act=lambda: api.secret("a", {"x": "2"}), times=1)
    with pytest.raises(ApiError, match="409 Conflict"):
        await api.put(api.path("secrets", "a"), body)
    assert api.data("a") == {"x": "2"}


async def test_garbage_is_collected_when_the_test_says_so(api: MemoryApi) -> None:
    owner = api.storage()
    owned: Json = {"ownerReferences": [{"kind": "CipherStorage", "name": "chat", "uid": owner["metadata"]["uid"]}]}
    api.secret("chat-cipher", {}, **owned)
    api.delete("cipherstorages", "chat")
    assert api.read("secrets", "chat-cipher") is not None
    api.collect_garbage()
    assert api.read("secrets", "chat-cipher") is None


async def test_a_namespace_that_goes(api: MemoryApi) -> None:
    api.secret("free", {})
    api.secret("held", {}, finalizers=["example.com/a"])
    api.delete("namespaces", "ns")
    with pytest.raises(ApiError) as refused:
        await api.post(api.path("secrets"), {"metadata": {"name": "new"}})
    assert refused.value.causes == (("NamespaceTerminating", "metadata.namespace"),)
    api.collect_garbage()
    assert (api.read("secrets", "free"), api.read("secrets", "held") is None) == (None, False)
