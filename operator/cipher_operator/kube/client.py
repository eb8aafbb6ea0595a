"""Raw requests to the API server: JSON in, JSON out, two kinds of errors.

The generated API classes of the Kubernetes client cost 25 MiB and twice the CPU for the same work, so they are not
used: only its configuration and its ApiClient.
"""

import contextlib
import errno
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any

import aiohttp
from yarl import URL

from cipher_operator.core.permit import Permit, unlimited
from cipher_operator.kube.access import Access
from cipher_operator.kube.answers import decode_answer
from cipher_operator.kube.port import (
    JSON,
    METADATA_LIST,
    METADATA_ONLY,
    ApiUnavailable,
    Json,
)
from cipher_operator.kube.streaming import ListReader, NotReadable, lines

TIMEOUT = 10.0
"""Seconds for one request, with its answer."""
SCAN_TIMEOUT = 60.0
"""Seconds for a page of a list."""
SILENCE = 90.0
"""Seconds after which a watch that says nothing, not even a bookmark, is taken for dead."""

Count = Callable[[str, int | None], None]
"""Called with the method of each request that was sent and the status of its answer, None where there was none."""


class KubeClient:
    """A client of one API server. Use as `async with KubeClient(access) as kube`, or call `close`.

    Every method takes an absolute path (`/api/v1/…`) and returns the decoded JSON object. They raise ApiError and
    ApiUnavailable. Nothing is retried, except a GET once when the connection is reset: a server that restarts
    closes idle connections.

    `permit` is asked right before each write is sent, and gives the write no longer than it says: what has no answer by
    then is cut off. Its NotLeading passes through.
    """

    def __init__(self, access: Access, permit: Permit = unlimited, count: Count = lambda method, status: None) -> None:
        self._access, self._permit, self._count = access, permit, count
        self._client: Any = access.api_client()
        self._streams: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "KubeClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
        if self._streams is not None:
            await self._streams.close()

    async def get(self, path: str, *, accept: str = JSON, **query: str) -> Json:
        """Return the object or list at a path; `query` are the URL's parameters."""
        url = str(URL(path).with_query(query)) if query else path
        try:
            return await self._request("GET", url, accept=accept)
        except _ConnectionReset:
            return await self._request("GET", url, accept=accept)

    async def post(self, path: str, body: Json) -> Json:
        """Create an object and return it."""
        return await self._request("POST", path, body)

    async def put(self, path: str, body: Json) -> Json:
        """Replace an object and return it."""
        return await self._request("PUT", path, body)

    async def patch(self, path: str, body: Json | list[Json], content_type: str) -> Json:
        """Patch an object (JSON_PATCH) and return it."""
        return await self._request("PATCH", path, body, content_type)

    async def scan(self, path: str, each: Callable[[Json], None], *, accept: str = METADATA_LIST, **query: str) -> Json:
        """Call `each` with the items of a page of a list, never holding more than one; return the page's metadata."""
        patience = aiohttp.ClientTimeout(total=SCAN_TIMEOUT, sock_connect=TIMEOUT)
        async with self._stream(path, accept, query, patience) as answer:
            with _translated():
                reader = ListReader(answer.content.iter_any())
                async for item in reader.items():
                    each(item)
                return reader.metadata

    @contextlib.asynccontextmanager
    async def watch(
        self, path: str, *, accept: str = METADATA_ONLY, **query: str
    ) -> AsyncIterator[AsyncIterator[Json]]:
        """Open a watch and give its events; they end with the connection, or with SILENCE."""
        patience = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT, sock_read=SILENCE)
        async with self._stream(path, accept, {**query, "watch": "true"}, patience) as answer:
            yield _events(answer)

    async def _request(
        self,
        method: str,
        path: str,
        body: Json | list[Json] | None = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> Json:
        headers = {"Accept": accept, "Content-Type": content_type, **self._client.default_headers}
        authorization = await self._access.authorization()
        if authorization is not None:
            headers["Authorization"] = authorization
        seconds = TIMEOUT if method == "GET" else min(TIMEOUT, self._permit())
        try:
            answer = await self._client.call_api(
                method,
                self._access.server + path,
                header_params=headers,
                body=body,
                _request_timeout=seconds,
            )
            content: bytes = await answer.read()
        except TimeoutError:
            self._count(method, None)
            # A write waits for the webhooks that are asked about this one object, each as long as 30 s.
            raise ApiUnavailable(f"no answer within {seconds:g} s", alone=method != "GET", path=path) from None
        except (aiohttp.ClientError, OSError) as error:
            self._count(method, None)
            raise _unavailable(error) from None
        self._count(method, answer.status)
        if answer.status == 401:
            self._access.expire()
        return decode_answer(answer.status, answer.headers, content, body, path=path)

    @contextlib.asynccontextmanager
    async def _stream(
        self, path: str, accept: str, query: dict[str, str], patience: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._streams is None:
            self._streams = self._access.stream_session()
        headers = {"Accept": accept}
        authorization = await self._access.authorization()
        if authorization is not None:
            headers["Authorization"] = authorization
        url = URL(self._access.server + path).with_query(query)
        name = self._access.tls_server_name
        status = None
        try:
            with _translated():
                answer = await self._streams.get(url, headers=headers, timeout=patience, server_hostname=name)
            status = answer.status
        finally:
            self._count("GET", status)
        async with answer:
            if answer.status == 401:
                self._access.expire()
            if answer.status >= 400:
                with _translated():
                    content = await answer.read()
                decode_answer(answer.status, answer.headers, content)
            yield answer


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[Json]:
    with _translated(), contextlib.suppress(aiohttp.SocketTimeoutError):
        async for event in lines(answer.content.iter_any()):
            yield event


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Raise ApiUnavailable for what goes wrong between the API server and here."""
    try:
        yield
    except TimeoutError:
        raise ApiUnavailable("no answer in time") from None
    except NotReadable as error:
        raise ApiUnavailable(f"the answer cannot be read: {error}") from None
    except (aiohttp.ClientError, OSError) as error:
        raise _unavailable(error) from None


class _ConnectionReset(ApiUnavailable):
    """The connection ended before the answer."""


def _unavailable(error: Exception) -> ApiUnavailable:
    # The texts of these errors name the address of the API server: their kind is enough.
    if isinstance(error, aiohttp.ServerDisconnectedError) or (
        isinstance(error, OSError) and error.errno in (errno.ECONNRESET, errno.EPIPE)
    ):
        return _ConnectionReset("the connection was reset")
    return ApiUnavailable(type(error).__name__)
