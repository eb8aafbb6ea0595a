"""Raw requests to the API server: JSON in, JSON out, two kinds of errors.

The generated API classes of the Kubernetes client cost 25 MiB and twice the CPU for the same work, so they are not
used: only its configuration and its ApiClient.
"""

import errno
import json
from types import TracebackType
from typing import Any

import aiohttp
from yarl import URL

from cipher_operator.kube.access import Access

TIMEOUT = 10.0
"""Seconds for one request, with its answer."""
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
"""What to accept where an object's content is not needed."""

Json = dict[str, Any]


class ApiError(Exception):
    """The API server refused a request. `status` is the HTTP code, `reason` the API's word for it (`NotFound`).

    `message` is the server's sentence, empty where it could quote a Secret's content. `str()` names status and
    reason only.
    """

    def __init__(self, status: int, reason: str, message: str = "") -> None:
        super().__init__(f"{status} {reason}")
        self.status, self.reason, self.message = status, reason, message


class ApiUnavailable(Exception):
    """No usable answer from the API server: network, timeout, 5xx or 429. Trying again later is right."""


class KubeClient:
    """A client of one API server. Use as `async with KubeClient(access) as kube`, or call `close`.

    Every method takes an absolute path (`/api/v1/…`) and returns the decoded JSON object. They raise ApiError and
    ApiUnavailable. Nothing is retried, except a GET once when the connection is reset: a server that restarts
    closes idle connections.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._client: Any = access.api_client()

    async def __aenter__(self) -> "KubeClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def get(self, path: str, *, accept: str = "application/json", **query: str) -> Json:
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
        """Patch an object (JSON_PATCH or MERGE_PATCH) and return it."""
        return await self._request("PATCH", path, body, content_type)

    async def delete(self, path: str, body: Json | None = None) -> Json:
        """Delete an object; `body` are DeleteOptions."""
        return await self._request("DELETE", path, body)

    async def _request(
        self,
        method: str,
        path: str,
        body: Json | list[Json] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Json:
        headers = {"Accept": accept, "Content-Type": content_type, **self._client.default_headers}
        authorization = await self._access.authorization()
        if authorization is not None:
            headers["Authorization"] = authorization
        try:
            answer = await self._client.call_api(
                method,
                self._access.server + path,
                header_params=headers,
                body=body,
                _request_timeout=TIMEOUT,
            )
            content: bytes = await answer.read()
        except TimeoutError:
            raise ApiUnavailable(f"no answer within {TIMEOUT:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _unavailable(error) from None
        if answer.status == 401:
            self._access.expire()
        return _decode(path, answer.status, content)


class _ConnectionReset(ApiUnavailable):
    """The connection ended before the answer."""


def _unavailable(error: Exception) -> ApiUnavailable:
    # The texts of these errors name the address of the API server: their kind is enough.
    if isinstance(error, aiohttp.ServerDisconnectedError) or (
        isinstance(error, OSError) and error.errno in (errno.ECONNRESET, errno.EPIPE)
    ):
        return _ConnectionReset("the connection was reset")
    return ApiUnavailable(type(error).__name__)


def _decode(path: str, status: int, content: bytes) -> Json:
    try:
        decoded = json.loads(content) if content else {}
    except ValueError:
        decoded = {}
    answer: Json = decoded if isinstance(decoded, dict) else {}
    if status < 400:
        return answer
    reason = str(answer.get("reason") or status)
    if status >= 500 or status == 429:
        raise ApiUnavailable(f"{status} {reason}")
    message = str(answer.get("message") or "")
    if "/secrets" in path and status in (400, 422):
        message = ""
    raise ApiError(status, reason, message)
