"""What a follower knows of the storages, and in which order a new leader looks at them."""

import random
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cipher_operator.api.durations import parse_duration
from cipher_operator.api.failures import ConditionType
from cipher_operator.api.spec import Resource, parse_resource
from cipher_operator.core.requests import Requests
from cipher_operator.reconcile.inputs import Key, way

RECENT_SECONDS = 120.0
"""How long a change counts as one that the former leader may not have come to: longer than a run and a Lease."""
DEFAULT_SPREAD = 300.0
"""Where neither the storage nor `--interval` says one."""
LONGEST_SPREAD = 900.0
"""Until it is looked at a storage is in no metric, and the first pass is not through."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a storage's object says. `settled`: Ready for what it says now, with nothing asked; `every` is the interval
    that it says itself, in seconds; `way` its connection Secret."""

    settled: bool
    fresh: bool
    every: float | None
    way: Hashable | None


@dataclass(frozen=True, slots=True)
class Look:
    """The first look of a new leader at a storage, `after` so many seconds; `urgent` goes before what is not."""

    key: Key
    way: Hashable | None
    urgent: bool
    after: float = 0.0


class Standby:
    """Keeps what is known of each storage. `interval` is the operator's, in seconds; `clock` counts seconds."""

    def __init__(
        self,
        interval: float,
        clock: Callable[[], float],
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._interval, self._clock, self._jitter = interval, clock, jitter
        self._known: dict[Key, Known] = {}
        self._touched: dict[Key, float] = {}
        self._undone: set[Key] = set()
        """What this process had not come to when it led last. Who led since has, but perhaps nobody did."""

    def saw(self, key: Key, body: Mapping[str, Any]) -> None:
        """Note a storage as it is now."""
        self._known[key] = known(parse_resource(body))

    def touch(self, keys: Iterable[Key]) -> None:
        """Note that something has changed that storages depend on."""
        now = self._clock()
        for key in keys:
            self._touched[key] = now

    def keep(self, keys: Iterable[Key]) -> None:
        """Note what this process leaves undone, as it leads no more."""
        self._undone.update(keys)

    def drop(self, key: Key) -> None:
        """Let a storage go that is no more."""
        self._known.pop(key, None)
        self._undone.discard(key)
        self._touched.pop(key, None)

    def looks(self, *, warm: bool) -> list[Look]:
        """Return the first look at each storage: what is new, then what is not as it shall be, then what has changed
        of late, or was left undone; the rest spread over the shorter of its own interval and the operator's.

        Where this process was not `warm`, nobody knows what has changed: the rest is looked at as well, after those.
        """
        since = self._clock() - RECENT_SECONDS
        recent = {key for key, at in self._touched.items() if at >= since} | self._undone
        self._touched.clear()
        self._undone.clear()
        looks = []
        for key, one in sorted(self._known.items(), key=lambda item: (item[1].settled, not item[1].fresh)):
            at_once = not (one.settled and warm) or key in recent
            after = 0.0 if at_once else self._jitter(0.0, self._spread(one.every))
            looks.append(Look(key, one.way, not one.settled, after))
        return looks

    def _spread(self, every: float | None) -> float:
        return min(LONGEST_SPREAD, min((each for each in (every, self._interval) if each), default=DEFAULT_SPREAD))


def known(resource: Resource) -> Known:
    """Return what an object says of its storage."""
    status = resource.status
    conditions = status.get("conditions")
    ready = any(
        isinstance(each, Mapping)
        and (each.get("type"), each.get("status")) == (ConditionType.READY, "True")
        and each.get("observedGeneration") == resource.generation
        for each in (conditions if isinstance(conditions, list) else ())
    )
    current = status.get("observedGeneration") == resource.generation
    settled = ready and current and not resource.deleting and not Requests.of(resource).new
    every = _interval(resource.raw_spec.get("interval"))
    return Known(settled, not conditions, every, way(resource.namespace, resource.raw_spec))


def _interval(said: object) -> float | None:
    try:
        return parse_duration(said) if isinstance(said, str) else None
    except ValueError:
        return None
