"""One lane: a server's slots, who holds them, whether it is down, and which credentials it has refused. Plain state."""

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from cipher_operator.queue.needs import kept_free

API_PAUSE, API_PAUSE_CAP = 1.0, 30.0
"""Seconds before the API server is asked again, doubled with each outage in a row."""
FIRST_SLOTS = 2
"""Of a lane that has not shown yet that it works: one silent server shall not take eight workers."""

ALONE = 8
"""Runs in a row that meet what may be one object of each: so many, most in another namespace each, are no chance."""


@dataclass(slots=True)
class Credential:
    """One user and password in a lane. While it is not `proven`, one run at a time tries it."""

    proven: bool = False
    trial: object | None = None
    """Who tries it now."""
    cause: object | None = None
    """Why it was refused, until `until`."""
    until: float = 0.0
    used: float = 0.0

    def let(self, who: object) -> bool:
        """Return whether somebody may log in with it now, who is noted as the one that tries it."""
        if not self.proven and self.trial not in (None, who):
            return False
        self.trial = None if self.proven else who
        return True


@dataclass(slots=True)
class Lane:
    """`slots`, and how many of them runs may take by now (`capacity`); `cause` is set while the lane is down."""

    slots: int
    capacity: int
    holders: Counter[str] = field(default_factory=Counter)
    """Slots that are taken, by the namespace for which."""
    beside: Counter[str] = field(default_factory=Counter)
    """Those of them that work beside the runs has, for up to an hour: it shows neither that the lane works nor that it
    does not, so who is to find that out does not wait for it."""
    cause: object | None = None
    suspect: bool = False
    """Its runs fail without an answer, or it has just come back: one try at a time, until one ends well."""
    alone: list[str] = field(default_factory=list)
    """Of the API server's: the namespaces of what it failed on, in runs in a row, that may be one object of each."""
    strikes: int = 0
    """Outages in a row, without a full recovery between them."""
    since: float | None = None
    """When the outage began that is not over."""
    told: bool = False
    used: float = 0.0
    credentials: dict[Hashable, Credential] = field(default_factory=dict)

    @property
    def held(self) -> int:
        """Return how many slots are taken."""
        return self.holders.total()

    @property
    def run(self) -> Counter[str]:
        """Return the slots that runs have, by namespace."""
        return self.holders - self.beside if self.beside else self.holders

    def free(self, namespace: str, *, shared: bool) -> int:
        """Return how many slots a namespace can take; `shared` says that others may come, too."""
        if self.cause is not None:
            return 0
        limits = ((self.capacity, self.run), (self.slots, self.holders))
        return max(0, min(_left(most, taken, namespace, shared=shared) for most, taken in limits))

    def full(self, *, shared: bool) -> bool:
        """Return whether nobody can take a slot, or some namespace has all that it may."""
        return not self.free("", shared=False) or any(not self.free(each, shared=shared) for each in self.holders)

    def closed(self, credential: Hashable | None, now: float) -> object | None:
        """Return why there is no way in with a credential (None: with any), None where there is one."""
        if self.cause is not None:
            return self.cause
        known = self.credentials.get(credential) if credential is not None else None
        return known.cause if known is not None and now < known.until else None

    def tried(self, credential: Hashable | None) -> bool:
        """Return whether somebody tries a credential now that is not proven."""
        known = self.credentials.get(credential) if credential is not None else None
        return known is not None and not known.proven and known.trial is not None

    def take(self, namespace: str, now: float) -> None:
        """Note that a slot is taken."""
        self.holders[namespace] += 1
        self.used = now

    def give(self, namespace: str, now: float, *, beside: bool) -> None:
        """Note that it is not any more; `beside` says that work beside the runs had it."""
        if beside:
            _count_down(self.beside, namespace)
        _count_down(self.holders, namespace)
        self.used = now

    def part(self, namespace: str) -> None:
        """Note that a slot that is taken is not a run's any more, but that of work beside the runs."""
        self.beside[namespace] += 1

    def resize(self, slots: int) -> None:
        """Note how many slots there are."""
        # One that is fully open stays so.
        self.capacity = slots if self.capacity == self.slots else min(self.capacity, slots)
        self.slots = slots

    def sweep(self, now: float, idle: float) -> list[Hashable]:
        """Drop the credentials that nobody has used for `idle` seconds, and return them."""
        swept = [
            credential
            for credential, known in self.credentials.items()
            if known.trial is None and now - known.used >= idle and now >= known.until
        ]
        for credential in swept:
            del self.credentials[credential]
        return swept

    def close(self, cause: object, now: float) -> bool:
        """Take the lane down; return whether this begins an outage."""
        begins, self.cause = self.since is None, cause
        self.alone.clear()
        self.capacity, self.strikes = 1, self.strikes + 1
        if begins:
            self.since, self.told = now, False
        return begins

    def pause(self) -> float:
        """Return the seconds before a server is asked again that is asked less and less often."""
        return min(API_PAUSE_CAP, API_PAUSE * 2.0 ** min(self.strikes - 1, 10))

    def open(self) -> None:
        """Let one run in, to see."""
        self.cause, self.capacity, self.suspect = None, 1, True

    def fails_others(self, namespace: str) -> bool:
        """Note that it fails on what may be one object in a namespace, as a Secret that cannot be decrypted, and return
        whether it is more than that. Such an object shall hold up none but who needs it, however many these are."""
        self.alone.append(namespace)
        del self.alone[:-ALONE]
        return len(set(self.alone)) > ALONE // 2

    def doubt(self) -> None:
        """Let one run in at a time from now on."""
        self.capacity, self.suspect = 1, True

    def succeed(self) -> bool:
        """Take note of a run that ended well: twice as many may follow. Returns whether that ends an outage."""
        self.suspect, self.capacity = False, min(self.slots, self.capacity * 2)
        self.alone.clear()
        if self.capacity == self.slots:
            self.strikes = 0
        ended, self.since = self.since is not None, None
        return ended


def spare(lanes: Iterable[Lane], namespace: str, share: int) -> bool:
    """Return whether a namespace may take one of the `share` slots that runs in all suspect lanes together may have."""
    runs = [lane.run for lane in lanes if lane.suspect]
    kept = kept_free(share) if any(each[namespace] for each in runs) else 0
    return sum(each.total() for each in runs) + kept < share


def _left(most: int, taken: Counter[str], namespace: str, *, shared: bool) -> int:
    kept = kept_free(most) if shared and taken[namespace] else 0
    return most - taken.total() - kept


def _count_down(counts: Counter[str], namespace: str) -> None:
    counts[namespace] -= 1
    if not counts[namespace]:
        del counts[namespace]
