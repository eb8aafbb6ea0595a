"""The port to the API server: four verbs, JSON in and JSON out, and two kinds of errors.

Everything that reads or writes objects is written against `Kube`. `KubeClient` speaks to a real API server; a test may
give something else that answers alike.
"""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
"""What to accept where an object's content is not needed."""

Json = dict[str, Any]


_NAMESPACE = re.compile(r"/namespaces/([^/?]+)")


class ApiError(Exception):
    """The API server refused a request. `status` is the HTTP code, `reason` the API's word for it (`NotFound`).

    `message` is the server's sentence, cut, and without anything of a Secret's content; `causes` are pairs of the
    API's word for a cause and its field. `str()` names status and reason only.
    """

    alone = True
    """As in ApiUnavailable: a refusal is always about what was asked for."""

    def __init__(self, status: int, reason: str, message: str = "", causes: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(f"{status} {reason}")
        self.status, self.reason, self.message, self.causes = status, reason, message, causes


class ApiUnavailable(Exception):
    """No usable answer from the API server: network, timeout, 5xx or 429. Trying again later is right.

    `status` is the HTTP code, None where there was no answer; `retry_after` are the seconds that the server asks to
    wait, None where it does not. `alone` says that it may be about what was asked for at `path`, while others' requests
    are answered.
    """

    def __init__(
        self,
        text: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        alone: bool = False,
        path: str = "",
    ) -> None:
        super().__init__(text)
        self.status, self.retry_after, self.alone = status, retry_after, alone
        within = _NAMESPACE.search(path)
        self.namespace = within[1] if within is not None else ""
        """That of what was asked for; '' of what is in none."""


class Reading(Protocol):
    """What is read from. Paths are absolute (`/api/v1/…`). Every method raises ApiError and ApiUnavailable."""

    async def get(self, path: str, *, accept: str = JSON, **query: str) -> Json:
        """Return the object or list at a path; `query` are the URL's parameters."""
        ...


class Kube(Reading, Protocol):
    """One API server."""

    async def post(self, path: str, body: Json) -> Json:
        """Create an object and return it."""
        ...

    async def put(self, path: str, body: Json) -> Json:
        """Replace an object and return it."""
        ...

    async def patch(self, path: str, body: Json | list[Json], content_type: str) -> Json:
        """Patch an object (JSON_PATCH) and return it."""
        ...


class Watching(Protocol):
    """What a reflector needs of an API server. Both methods raise ApiError and ApiUnavailable."""

    async def scan(self, path: str, each: Callable[[Json], None], *, accept: str = METADATA_LIST, **query: str) -> Json:
        """Call `each` with one item after the other of a page of a list, and return the page's metadata."""
        ...

    def watch(
        self, path: str, *, accept: str = METADATA_ONLY, **query: str
    ) -> AbstractAsyncContextManager[AsyncIterator[Json]]:
        """Open a watch; the stream of its events ends when the server ends it, or is silent for too long."""
        ...
