"""Events of the `events.k8s.io` API: what people read under `kubectl describe`. What repeats joins a series."""

import logging
import secrets
import socket
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cipher_operator.api.names import API_VERSION, KIND, REPORTING_CONTROLLER, SERVER_KIND
from cipher_operator.api.printable import shortened
from cipher_operator.api.spec import Resource
from cipher_operator.kube.port import JSON_PATCH, ApiError, ApiUnavailable, Json, Kube

MAX_NOTE = 1_024
"""Bytes: the API server refuses longer notes."""
MAX_ACTION = 128
REPEATED_WITHIN = timedelta(minutes=6)
"""A series lasts while it is added to this often: as long as client-go's."""
TOLD_EVERY = timedelta(minutes=1)
"""How often a series is written; what is counted between goes with the next."""
NOTES_AT_ONCE = 3
"""Series of one reason that differ in their note."""
OTHERS = (
    "It happened again, with other details than in the Events before; the status says how it is now, the operator's "
    "log has each"
)
"""The note of one more series, which what says something else joins: a note cannot be changed, and would be untrue."""
CLUSTER_EVENTS = "default"
"""The namespace of Events about what is in none (as client-go's recorder has it)."""
REMEMBERED = 4_096
"""Storages and reasons whose series are remembered."""

_Key = tuple[str, str, str]
"""The storage's uid, the Event's type and reason."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Series:
    """One Event on the API server, and how often it was seen. Its note cannot be changed any more."""

    name: str
    note: str
    last: datetime
    told: datetime
    count: int = 1


class Recorder:
    """Posts Events about storages and servers. What it remembers may be lost at any time: then a series begins anew."""

    def __init__(self, kube: Kube, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._kube, self._now = kube, now
        self._series: OrderedDict[_Key, list[_Series]] = OrderedDict()

    async def post(self, resource: Resource, *, type_: str, reason: str, note: str, action: str) -> None:
        """Post an Event, `type_` `Normal` or `Warning`, or count it in the series of one that was posted minutes ago.

        Never raises: an Event is a courtesy.
        """
        now, note = self._now(), _fitting(note)
        standing = self._standing((resource.uid, type_, reason), now)
        if len(standing) >= NOTES_AT_ONCE and all(each.note != note for each in standing):
            note = OTHERS
        repeated = next((each for each in standing if each.note == note), None)
        try:
            if repeated is not None and await self._repeat(_namespace(resource), repeated, now):
                return
            name = f"{resource.name}.{secrets.token_hex(8)}"
            await self._create(resource, name, type_=type_, reason=reason, note=note, action=action)
        except (ApiError, ApiUnavailable) as error:
            about = {"storage": "/".join(filter(None, resource.key))}
            logger.debug("event %s was not posted: %s", reason, error, extra=about)
            return
        if repeated is not None:
            standing.remove(repeated)
        standing.append(_Series(name, note, now, now))

    def _standing(self, key: _Key, now: datetime) -> list[_Series]:
        """Return the series that go on, for the caller to change."""
        standing = [each for each in self._series.pop(key, []) if now - each.last <= REPEATED_WITHIN]
        self._series[key] = standing
        if len(self._series) > REMEMBERED:
            self._series.popitem(last=False)
        return standing

    async def _repeat(self, namespace: str, series: _Series, now: datetime) -> bool:
        """Count one more; return False where the Event is gone. Raises ApiError, ApiUnavailable."""
        series.count, series.last = series.count + 1, now
        if series.count > 2 and now - series.told < TOLD_EVERY:
            return True
        series.told = now
        value = {"count": series.count, "lastObservedTime": _micro_time(now)}
        try:
            steps: list[Json] = [{"op": "add", "path": "/series", "value": value}]
            kube = self._kube
            await kube.patch(f"{_path(namespace)}/{series.name}", steps, JSON_PATCH)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def _create(self, resource: Resource, name: str, *, type_: str, reason: str, note: str, action: str) -> None:
        body: Json = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": _namespace(resource)},
            "eventTime": _micro_time(self._now()),
            "reportingController": REPORTING_CONTROLLER,
            "reportingInstance": socket.gethostname()[:128] or "cipher-operator",
            "action": action[:MAX_ACTION],
            "reason": reason[:128],
            "type": type_,
            "note": note,
            "regarding": {
                "apiVersion": API_VERSION,
                "kind": KIND if resource.namespace else SERVER_KIND,
                **({"namespace": resource.namespace} if resource.namespace else {}),
                "name": resource.name,
                "uid": resource.uid,
                "resourceVersion": resource.resource_version,
            },
        }
        kube = self._kube
        await kube.post(_path(_namespace(resource)), body)


def _fitting(note: str) -> str:
    """Return a note that the API server takes: a mark of two characters and four bytes says that it was longer."""
    fits = note.encode()[:MAX_NOTE].decode(errors="ignore")
    return note if fits == note else shortened(note, len(fits) - 2)


def _namespace(resource: Resource) -> str:
    """Return where an Event about an object is; about one in no namespace, where the API server wants it."""
    return resource.namespace or CLUSTER_EVENTS


def _path(namespace: str) -> str:
    return f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"


def _micro_time(time: datetime) -> str:
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")
