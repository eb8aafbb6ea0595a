"""Lists and watches of a real API server, and of servers that misbehave; the one in memory streams the same events."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cipher_operator.kube import client as module
from cipher_operator.kube.access import load_access
from cipher_operator.kube.client import KubeClient
from cipher_operator.kube.port import JSON_PATCH, ApiError, ApiUnavailable, Json
from cipher_operator.kube.reflector import CONFIGMAPS, SECRETS, Reflector
from cipher_operator.kube.seen import Ref, Seen
from support.cluster import ROOT, Namespace
from support.memory_api import MemoryApi

from .test_client import http_server, kubeconfig, reply

QUERY = {"allowWatchBookmarks": "true", "timeoutSeconds": "30"}


async def recorded(api: Any, namespace: str, delete: Any) -> list[tuple[str, str, list[str]]]:
    """Write while a watch is open, and return its events: type, name, and what the object holds."""
    path = f"/api/v1/namespaces/{namespace}/secrets"
    await api.post(path, {"metadata": {"name": "before"}})
    listed: list[Json] = []
    metadata = await api.scan(path, listed.append, limit="1")
    while metadata.get("continue"):
        metadata = await api.scan(path, listed.append, limit="1", **{"continue": metadata["continue"]})
    found = [("LISTED", item["metadata"]["name"], sorted(item)) for item in listed]
    query = {**QUERY, "labelSelector": "out!=yes", "resourceVersion": metadata["resourceVersion"]}
    async with api.watch(path, **query) as events:
        body = await api.post(path, {"metadata": {"name": "a"}, "data": {"k": "MQ=="}})
        body = await api.put(f"{path}/a", body | {"data": {"k": "Mg=="}})
        await api.put(f"{path}/a", body)
        label = [{"op": "add", "path": "/metadata/labels", "value": {"out": "yes"}}]
        await api.patch(f"{path}/a", label, JSON_PATCH)
        await api.patch(f"{path}/a", [{"op": "remove", "path": "/metadata/labels"}], JSON_PATCH)
        hold = [{"op": "add", "path": "/metadata/finalizers", "value": ["example.com/a"]}]
        await api.patch(f"{path}/a", hold, JSON_PATCH)
        await delete(f"{path}/a")
        await api.patch(f"{path}/a", [{"op": "remove", "path": "/metadata/finalizers"}], JSON_PATCH)
        await delete(f"{path}/before")
        async with asyncio.timeout(5):
            async for event in events:
                found.append((event["type"], event["object"]["metadata"]["name"], sorted(event["object"])))
                if event["type"] == "DELETED" and event["object"]["metadata"]["name"] == "before":
                    return found
    return found


async def test_both_watch_alike(kube: KubeClient, namespace: Namespace) -> None:
    memory = MemoryApi()

    async def really(path: str) -> None:
        await asyncio.to_thread(namespace.request, "DELETE", path)

    async def in_memory(path: str) -> None:
        memory.send("DELETE", path)

    real = await recorded(kube, namespace.name, really)
    assert await recorded(memory, "ns", in_memory) == real
    assert [type_ for type_, name, _ in real if name == "a"] == [
        "ADDED", "MODIFIED", "DELETED", "ADDED", "MODIFIED", "MODIFIED", "DELETED",
    ]  # fmt: skip


async def test_a_reflector_of_a_real_server(kube: KubeClient, namespace: Namespace) -> None:
    namespace.secret("a", {"k": "1"})
    told: list[tuple[Ref, Seen | None]] = []
    watching = Reflector(kube, SECRETS, lambda ref, seen: told.append((ref, seen)), namespace.name)
    # Long forgotten: the server says 410, and everything is listed.
    watching._version = "1"
    watching.start()
    await until(lambda: len(told) == 1)
    namespace.request("POST", namespace.path("secrets"), {"metadata": {"name": "b"}, "type": "helm.sh/release.v1"})
    made = namespace.request("POST", namespace.path("secrets"), {"metadata": {"name": "c"}})["metadata"]
    await until(lambda: len(told) == 2)
    assert told[1] == (("Secret", namespace.name, "c"), Seen(made["uid"], made["resourceVersion"]))
    namespace.delete("secrets", "a")
    await until(lambda: len(told) == 3)
    assert told[2] == (("Secret", namespace.name, "a"), None)
    await watching.stop()


async def test_no_content_crosses_the_network(kube: KubeClient, namespace: Namespace) -> None:
    body = {"metadata": {"name": "large"}, "data": {"k": "x" * 900_000}}
    namespace.request("POST", namespace.path("configmaps"), body)
    items: list[Json] = []
    await kube.scan(CONFIGMAPS.path(namespace.name), items.append, fieldSelector=CONFIGMAPS.fields)
    assert [sorted(item) for item in items] == [["apiVersion", "kind", "metadata"]]
    assert len(json.dumps(items)) < 2_000


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.01)


async def open_watch(kube: KubeClient) -> list[Json]:
    async with kube.watch("/api/v1/secrets", resourceVersion="1") as events:
        return [event async for event in events]


def streamed(*parts: str, end: bool = True) -> bytes:
    body = b"".join(f"{len(part.encode()):x}\r\n".encode() + part.encode() + b"\r\n" for part in parts)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + body + (b"0\r\n\r\n" if end else b"")


EVENT = json.dumps({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "5"}}}) + "\n"


async def test_a_stream_ends_where_the_server_ends_it(tmp_path: Path) -> None:
    async with (
        http_server(lambda number: streamed(EVENT[:9], EVENT[9:], EVENT + "{half")) as (url, _),
        KubeClient(await load_access({"KUBECONFIG": kubeconfig(tmp_path, url)})) as kube,
    ):
        assert await open_watch(kube) == [json.loads(EVENT)] * 2


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        pytest.param(reply("410 Gone", '{"reason": "Expired"}'), ApiError, id="a place that is forgotten"),
        pytest.param(reply("403 Forbidden", '{"reason": "Forbidden"}'), ApiError, id="no right"),
        pytest.param(reply("503 Service Unavailable", "{}"), ApiUnavailable, id="trouble"),
        pytest.param(reply("200 OK", "<html>a login page</html>\n"), ApiUnavailable, id="what is no stream"),
        pytest.param(streamed(EVENT, end=False), ApiUnavailable, id="a stream that is cut"),
        pytest.param(None, ApiUnavailable, id="nobody"),
    ],
)
async def test_a_watch_that_fails(tmp_path: Path, answer: bytes | None, raised: type[Exception]) -> None:
    async with (
        http_server(lambda number: answer) as (url, _),
        KubeClient(await load_access({"KUBECONFIG": kubeconfig(tmp_path, url)})) as kube,
    ):
        with pytest.raises(raised) as error:
            await open_watch(kube)
    assert "127.0.0.1" not in str(error.value) and "login page" not in str(error.value)


async def test_a_watch_that_falls_silent_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.2)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(streamed(EVENT, end=False))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with KubeClient(await load_access({"KUBECONFIG": kubeconfig(tmp_path, url)})) as kube:
            assert await asyncio.wait_for(open_watch(kube), 2) == [json.loads(EVENT)]


CHILD = """
import asyncio, re, sys
from pathlib import Path
from cipher_operator.kube.access import load_access
from cipher_operator.kube.client import KubeClient
from cipher_operator.kube.reflector import CONFIGMAPS, Reflector

def peak():
    # Not getrusage: what it says begins with the parent's peak.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

async def main():
    async with KubeClient(await load_access({"KUBECONFIG": sys.argv[1]})) as kube:
        await kube.get("/version")
        base = peak()
        watching = Reflector(kube, CONFIGMAPS, lambda ref, seen: None)
        watching.start()
        await watching.synced.wait()
        await watching.stop()
        print(len(watching), peak() - base)

asyncio.run(main())
"""


async def test_nobodys_objects_fill_our_memory(tmp_path: Path) -> None:
    """120 objects whose metadata alone is 300 kB each, in one page: annotations and managed fields are metadata too."""
    metadata: Json = {"namespace": "ns", "uid": "u", "resourceVersion": "1", "annotations": {"copy": "x" * 250_000}}
    metadata["managedFields"] = [{"fieldsV1": {f"f:{n}": {} for n in range(2_000)}}]
    rest = json.dumps(metadata)[1:]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        if b"/version" in asked:
            writer.write(reply("200 OK"))
        elif b"watch=true" in asked:
            writer.write(streamed())
        else:
            writer.write(streamed('{"metadata":{"resourceVersion":"5"},"items":[', end=False))
            for number in range(120):
                part = ("," if number else "") + f'{{"metadata": {{"name": "c{number}", {rest}}}'
                writer.write(f"{len(part):x}\r\n{part}\r\n".encode())
                await writer.drain()
            writer.write(b"2\r\n]}\r\n0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        config = kubeconfig(tmp_path, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, config, env={"PYTHONPATH": str(ROOT / "operator")}, stdout=-1
        )
        said, _ = await asyncio.wait_for(child.communicate(), 60)
    known, mebibytes = map(int, said.split())
    assert (known, mebibytes < 20) == (120, True), said
