"""Requests and their two kinds of errors: against a real API server, and against servers that misbehave."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import yaml

from cipher_operator.core.permit import NotLeading
from cipher_operator.kube import client as module
from cipher_operator.kube.access import load_access
from cipher_operator.kube.client import KubeClient
from cipher_operator.kube.port import JSON_PATCH, ApiError, ApiUnavailable
from devcluster import ControlPlane
from support.cluster import Namespace

PASSWORD = "s3cr3t-in-a-secret"


def kubeconfig(folder: Path, server: str, user: dict[str, str] | None = None) -> str:
    path = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user or {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


@contextlib.asynccontextmanager
async def http_server(answer: Callable[[int], bytes | None]) -> AsyncIterator[tuple[str, list[int]]]:
    """A server that gives what `answer(request number)` says; None: it hangs up, b"": it says nothing."""
    requests: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            requests.append(len(requests) + 1)
            content = answer(requests[-1])
            if content == b"":
                await reader.read()
            elif content is not None:
                writer.write(content)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests


def reply(status: str, body: str = "{}", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n{body}".encode()


async def test_what_is_not_there_is_an_api_error_with_the_servers_reason(kube: KubeClient) -> None:
    with pytest.raises(ApiError) as raised:
        await kube.get("/api/v1/namespaces/nowhere")
    assert (raised.value.status, raised.value.reason, str(raised.value)) == (404, "NotFound", "404 NotFound")
    assert raised.value.message == 'namespaces "nowhere" not found'


async def test_what_is_forbidden_is_an_api_error(plane: ControlPlane, namespace: Namespace) -> None:
    plane.kubectl("-n", namespace.name, "create", "serviceaccount", "nobody")
    config = plane.kubeconfig_for_service_account(namespace.name, "nobody")
    async with KubeClient(await load_access({"KUBECONFIG": str(config)})) as nobody:
        with pytest.raises(ApiError) as raised:
            await nobody.get(namespace.path("secrets", "any"))
    assert (raised.value.status, raised.value.reason) == (403, "Forbidden")


async def test_the_content_of_a_secret_is_in_no_exception(kube: KubeClient, namespace: Namespace) -> None:
    namespace.secret("pg", {"password": PASSWORD})
    path = namespace.path("secrets", "pg")
    for patch in (
        [{"op": "replace", "path": "/data/password", "value": PASSWORD}],
        [{"op": "replace", "path": "/metadata/labels", "value": {"x": PASSWORD + "/!"}}],
        [{"op": "replace", "path": "/type", "value": PASSWORD}],
    ):
        with pytest.raises(ApiError) as raised:
            await kube.patch(path, patch, JSON_PATCH)
        assert PASSWORD not in f"{raised.value!r} {raised.value} {raised.value.message}"


async def test_requests_are_counted_by_method_and_answer(tmp_path: Path) -> None:
    counted: list[tuple[str, int | None]] = []

    def count(method: str, status: int | None) -> None:
        counted.append((method, status))

    async with (
        http_server(lambda number: reply("404 Not Found")) as (url, _),
        KubeClient(await load_access({"KUBECONFIG": kubeconfig(tmp_path, url)}), count=count) as kube,
    ):
        for call in (kube.get("/version"), kube.post("/version", {})):
            with pytest.raises(ApiError):
                await call
        with pytest.raises(ApiError):
            async with kube.watch("/version"):
                pass
    async with KubeClient(await load_access({"KUBECONFIG": kubeconfig(tmp_path, url)}), count=count) as kube:
        with pytest.raises(ApiUnavailable):
            await kube.get("/version")
        with pytest.raises(ApiUnavailable):
            async with kube.watch("/version"):
                pass
    assert counted == [("GET", 404), ("POST", 404), ("GET", 404), ("GET", None), ("GET", None)]


async def test_nobody_there_is_unavailable_and_names_no_address(tmp_path: Path) -> None:
    async with http_server(lambda number: None) as (url, _):
        pass
    async with KubeClient(await load_access({"KUBECONFIG": kubeconfig(tmp_path, url)})) as kube:
        with pytest.raises(ApiUnavailable) as raised:
            await kube.get("/version")
    assert "127.0.0.1" not in str(raised.value)


@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests"])
async def test_a_server_in_trouble_is_unavailable(tmp_path: Path, status: str) -> None:
    async with http_server(lambda number: reply(status, '{"reason":"Timeout"}')) as (url, requests):
        async with KubeClient(await load_access({"KUBECONFIG": kubeconfig(tmp_path, url)})) as kube:
            with pytest.raises(ApiUnavailable, match="Timeout") as raised:
                await kube.get("/api/v1/namespaces/team/secrets/pg")
        assert len(requests) == 1
    assert raised.value.alone is (status[:3] == "500"), "it may be one object that cannot be read"
    assert not raised.value.alone or raised.value.namespace == "team"


async def test_silence_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    async with http_server(lambda number: b"") as (url, requests):
        async with KubeClient(await load_access({"KUBECONFIG": kubeconfig(tmp_path, url)})) as kube:
            with pytest.raises(ApiUnavailable, match=r"no answer within 0\.1 s") as read:
                await kube.get("/version")
            with pytest.raises(ApiUnavailable, match=r"no answer within 0\.1 s") as write:
                await kube.post("/api/v1/namespaces/team/secrets", {})
        assert len(requests) == 2
    assert not read.value.alone
    assert write.value.alone, "a webhook that is asked about one object may hang"
    assert (read.value.namespace, write.value.namespace) == ("", "team")


async def test_a_get_is_sent_again_once_after_a_reset(tmp_path: Path) -> None:
    async with http_server(lambda number: None if number == 1 else reply("200 OK", '{"a":1}')) as (url, requests):
        async with KubeClient(await load_access({"KUBECONFIG": kubeconfig(tmp_path, url)})) as kube:
            assert await kube.get("/version") == {"a": 1}
        assert len(requests) == 2


async def test_a_write_is_not_sent_again(tmp_path: Path) -> None:
    async with http_server(lambda number: None) as (url, requests):
        async with KubeClient(await load_access({"KUBECONFIG": kubeconfig(tmp_path, url)})) as kube:
            with pytest.raises(ApiUnavailable):
                await kube.post("/api", {"a": 1})
        assert len(requests) == 1


async def test_an_answer_that_is_no_json_is_read_as_empty(tmp_path: Path) -> None:
    async with (
        http_server(lambda number: reply("403 Forbidden", "<html>proxy</html>")) as (url, _),
        KubeClient(await load_access({"KUBECONFIG": kubeconfig(tmp_path, url)})) as kube,
    ):
        with pytest.raises(ApiError, match="403 Forbidden"):
            await kube.get("/version")


WRITES: dict[str, Callable[[KubeClient], Awaitable[object]]] = {
    "POST": lambda kube: kube.post("/api", {}),
    "PUT": lambda kube: kube.put("/api", {}),
    "PATCH": lambda kube: kube.patch("/api", [], JSON_PATCH),
}


@pytest.mark.parametrize("verb", WRITES)
async def test_without_a_permit_a_write_is_not_sent_and_a_question_is(tmp_path: Path, verb: str) -> None:
    def refused() -> float:
        raise NotLeading

    async with http_server(lambda number: reply("200 OK")) as (url, requests):
        async with KubeClient(await load_access({"KUBECONFIG": kubeconfig(tmp_path, url)}), refused) as kube:
            with pytest.raises(NotLeading):
                await WRITES[verb](kube)
            assert requests == []
            await kube.get("/api")
        assert len(requests) == 1


async def test_a_write_ends_with_its_permit(tmp_path: Path) -> None:
    async with http_server(lambda number: b"") as (url, requests):
        async with KubeClient(await load_access({"KUBECONFIG": kubeconfig(tmp_path, url)}), lambda: 0.1) as kube:
            with pytest.raises(ApiUnavailable, match=r"no answer within 0\.1 s"):
                await kube.post("/api", {})
        assert len(requests) == 1
