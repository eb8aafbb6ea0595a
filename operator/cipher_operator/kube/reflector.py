"""What exists of one kind, and what becomes of it: a list and a watch of metadata alone, which survive everything.

Secrets and ConfigMaps are watched in this way: uid and resourceVersion say that something changed, and no content
passes through this process unless a run asks for it by name. What vanished while nobody watched is reported too, which
an informer without a store cannot do.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from cipher_operator.api.names import GROUP, KIND, PLURAL, SERVER_KIND, SERVER_PLURAL, VERSION
from cipher_operator.kube.backoff import Backoff
from cipher_operator.kube.outage import ApiOutage, Outage, is_everybodys
from cipher_operator.kube.port import ApiError, ApiUnavailable, Json, Watching
from cipher_operator.kube.refusals import why_refused
from cipher_operator.kube.seen import Ref, Seen, is_older, key_of, seen_of

PAGE = "500"
"""Objects in a page of a list; it is read one object at a time."""
WATCH_SECONDS = 300.0
"""How long the server lets a watch live, with jitter: so that not all of them begin anew at once."""
AWAY = (0.2, 5.0)
"""Seconds between tries, at first and at most, while nobody answers: an outage is over when it is over."""
BROKEN = (0.5, 30.0)
"""The same between lists while the server breaks off every watch: a list is work for it."""
DEAF = 60.0
"""Seconds after which it is looked whether a watch that has brought nothing, not even a bookmark, can bring anything:
one from a revision that is still to come is silent until then."""
SETTLED = 5.0
"""Seconds that a watch must live before an outage is over."""
SETTLED_AFTER_ERROR = 60.0
"""The same where the server itself broke the watch off: it lives for a moment each time."""

logger = logging.getLogger(__name__)

Changed = Callable[[Ref, Seen | None], None]
"""Called with an object that is new or changed, and with None for one that is gone. May see the same again."""
Restarted = Callable[[str, str], None]
"""Called with the kind, and why a watch of it ended: ended, expired, broken, unavailable or refused."""
Rewound = Callable[[], None]
"""Called where revisions have gone back, as those of a cluster do that was restored from a backup."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What is watched: a kind by its API's path, and selectors that leave out what is never of interest. `labelled`:
    its objects' labels are kept."""

    kind: str
    api: str
    plural: str
    fields: str = ""
    labels: str = ""
    labelled: bool = False

    def selected(self, labels: str | None) -> "Watched":
        """Return the same, narrowed by a label selector where there is one."""
        return replace(self, labels=labels or "")

    def path(self, namespace: str | None) -> str:
        """Return the path of all objects, or of those of a namespace."""
        return f"{self.api}/namespaces/{namespace}/{self.plural}" if namespace else f"{self.api}/{self.plural}"


SECRETS = Watched("Secret", "/api/v1", "secrets", "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token")
CONFIGMAPS = Watched("ConfigMap", "/api/v1", "configmaps", "metadata.name!=kube-root-ca.crt")
STORAGES = Watched(KIND, f"/apis/{GROUP}/{VERSION}", PLURAL)
SERVERS = Watched(SERVER_KIND, f"/apis/{GROUP}/{VERSION}", SERVER_PLURAL)
NAMESPACES = Watched("Namespace", "/api/v1", "namespaces", labelled=True)


class _Broken(Exception):
    """The server ended a watch with an error of its own, or with what is no event."""


class Reflector:
    """Keeps what exists of one kind, in all namespaces where `namespace` is None, and tells what changes.

    `synced` is set when the first list is through, or refused: what may not be watched, or is not installed, is not
    waited for. `run` never
    ends by itself; `start` and `stop` run it in a task. `changed` must not wait.
    """

    def __init__(
        self,
        kube: Watching,
        watched: Watched,
        changed: Changed,
        namespace: str | None = None,
        restarted: Restarted = lambda kind, why: None,
        *,
        api: ApiOutage | None = None,
        rewound: Rewound = lambda: None,
    ) -> None:
        self._kube, self._watched, self._changed, self._namespace = kube, watched, changed, namespace
        self._restarted: Callable[[str], None] = lambda why: restarted(watched.kind, why)
        self._path = watched.path(namespace)
        self._objects: dict[tuple[str, str], Seen] = {}
        self._version: str | None = None
        """Where the watch goes on; None where a list must come first."""
        self._rewound, self._reached = rewound, ""
        self._away, self._broken = Backoff(*AWAY), Backoff(*BROKEN)
        self._outage = Outage(f"{watched.plural} in {namespace}" if namespace else watched.plural, api)
        self._patience = SETTLED
        self._task: asyncio.Task[None] | None = None
        self.synced = asyncio.Event()

    def __len__(self) -> int:
        return len(self._objects)

    def refs(self) -> Iterator[Ref]:
        """Yield what exists."""
        for namespace, name in self._objects:
            yield self._watched.kind, namespace, name

    def get(self, namespace: str, name: str) -> Seen | None:
        """Return what is known of an object, None where it does not exist."""
        return self._objects.get((namespace, name))

    def start(self) -> None:
        """Run in a task of its own."""
        self._task = asyncio.create_task(self.run(), name=f"reflector of {self._watched.plural}")

    async def stop(self) -> None:
        """End that task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def run(self) -> None:
        """List and watch for ever."""
        while True:
            pause = await self._round()
            await asyncio.sleep(pause)

    async def _round(self) -> float:
        """List where that is due, and watch until the watch ends; return the seconds until the next round."""
        try:
            if self._version is None:
                await self._list()
                self.synced.set()
            await self._watch()
            self._restarted("ended")
        except _Broken as broken:
            self._restarted("broken")
            self._version, self._patience = None, SETTLED_AFTER_ERROR
            self._outage.note(str(broken), at_once=True)
            return self._broken.next()
        except ApiUnavailable as error:
            self._restarted("unavailable")
            self._outage.note(str(error), everybody=is_everybodys(error.status))
            if error.status == 504:
                # Of some also the answer to a version of the future: the cluster was restored from a backup.
                self._version = None
            return (self._broken if error.status in (500, 504) else self._away).next(error.retry_after)
        except ApiError as error:
            listed, self._version = self._version is not None, None
            self._restarted("expired" if error.status == 410 else "refused")
            if error.status in (403, 404):
                self.synced.set()
            if error.status != 410:
                self._outage.note(why_refused(error, self._watched.plural, self._watched.api))
                return (self._broken if listed else self._away).next()
            # What the watch would go on from, or the rest of the list, is not kept any more.
        except Exception:
            # One that ended for this would be missed by everybody.
            self._restarted("broken")
            self._version = None
            logger.exception("the watch of %s failed unexpectedly", self._watched.plural)
            return self._broken.next()
        return self._away.next()

    async def _list(self) -> None:
        """Take over what exists now; tell what is new, what is another, and what is there no more."""
        listed: set[tuple[str, str]] = set()

        def take(item: Json) -> None:
            listed.add(self._put(item))

        query = self._query(limit=PAGE)
        with _readable():
            while True:
                metadata = await self._kube.scan(self._path, take, **query)
                if not metadata.get("continue"):
                    break
                query["continue"] = metadata["continue"]
            version = str(metadata["resourceVersion"])
        for key in self._objects.keys() - listed:
            self._drop(key)
        self._look_back(version)
        self._version = self._reached = version

    def _look_back(self, version: str) -> None:
        """Tell of a server that is not as far as it was: where it was is no place any more."""
        if is_older(version, self._reached):
            self._version = None
            self._rewound()

    async def _watch(self) -> None:
        """Follow the events until the stream ends."""
        assert self._version is not None
        seconds = round(WATCH_SECONDS * random.uniform(1.0, 1.2))  # noqa: S311 - spreads the ends
        query = self._query(resourceVersion=self._version, allowWatchBookmarks="true", timeoutSeconds=str(seconds))
        loop, heard = asyncio.get_running_loop(), False
        async with self._kube.watch(self._path, **query) as events:
            began, settled = loop.time(), loop.call_later(self._patience, self._settle)
            try:
                async for event in events:
                    with _readable():
                        self._take(event["type"], event["object"])
                    heard = True
            finally:
                settled.cancel()
        if not heard and loop.time() - began >= DEAF:
            first = await self._kube.scan(self._path, lambda _: None, **self._query(limit="1"))
            with _readable():
                self._look_back(str(first["resourceVersion"]))

    def _take(self, type_: str, body: Json) -> None:
        if type_ == "ERROR":
            code, reason = int(body["code"]), str(body.get("reason") or "")
            if code == 410:
                raise ApiError(code, reason)
            raise _Broken(f"{code} {reason}".strip())
        version = str(body["metadata"]["resourceVersion"])
        if type_ in ("ADDED", "MODIFIED"):
            self._put(body)
        elif type_ == "DELETED":
            self._drop(key_of(body))
        self._version = self._reached = version

    def _put(self, body: Json) -> tuple[str, str]:
        key, seen = key_of(body), seen_of(body, labelled=self._watched.labelled)
        if self._objects.get(key) != seen:
            self._objects[key] = seen
            self._tell(key, seen)
        return key

    def _drop(self, key: tuple[str, str]) -> None:
        if self._objects.pop(key, None) is not None:
            self._tell(key, None)

    def _tell(self, key: tuple[str, str], seen: Seen | None) -> None:
        try:
            self._changed((self._watched.kind, *key), seen)
        except Exception:
            # A watch that ended for this would be missed by everybody else.
            logger.exception("a change of %s %s/%s was not taken in", self._watched.kind, *key)

    def _settle(self) -> None:
        self._away.reset()
        self._broken.reset()
        self._patience = SETTLED
        self._outage.end()

    def _query(self, **query: str) -> dict[str, str]:
        selectors = {"fieldSelector": self._watched.fields, "labelSelector": self._watched.labels}
        return {name: value for name, value in selectors.items() if value} | query


def reflectors(
    kube: Watching,
    watched: Sequence[Watched],
    changed: Changed,
    namespaces: Sequence[str],
    restarted: Restarted = lambda kind, why: None,
    *,
    api: ApiOutage | None = None,
    rewound: Rewound = lambda: None,
) -> tuple[Reflector, ...]:
    """Return one reflector for each kind and namespace, one for each kind where no namespace is named."""
    places = namespaces or (None,)
    return tuple(
        Reflector(kube, kind, changed, place, restarted, api=api, rewound=rewound)
        for kind in watched
        for place in places
    )


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Raise _Broken for an object that has not the shape of one."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _Broken("something that is no object came") from None
