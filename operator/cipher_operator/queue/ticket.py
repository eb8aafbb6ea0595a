"""What one run holds of the lanes, and what it tells them. Everything is given back when the run ends."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Set

from cipher_operator.queue.lanes import Lanes
from cipher_operator.queue.needs import API, Busy, Closed, Name, Need
from cipher_operator.queue.offers import Offer


class Ticket:
    """One run's, of a key of this namespace, for which the lanes in `reserved` were taken already. `learnt` is called
    when the run enters a lane: what it needs is known from then on. `waits` is told at once, with all of it, what it
    waits for, a lane (with None) or a credential of it: that may open again before the run has ended."""

    def __init__(
        self,
        lanes: Lanes,
        namespace: str,
        reserved: Iterable[Name] = (),
        learnt: Callable[[], None] = lambda: None,
        waits: Callable[[Set[Need]], None] = lambda needs: None,
    ) -> None:
        self._lanes, self._namespace, self._learnt, self._waits = lanes, namespace, learnt, waits
        self._held: Counter[Name] = Counter(reserved)
        self._trials: set[Need] = set()
        self._answered: set[Name] = {API}
        self._failed: set[Name] = set()
        self._entered: list[Need] = []
        self._closed: set[Need] = set()

    @property
    def needs(self) -> tuple[Need, ...]:
        """Return what the run has entered, or would have."""
        return tuple(dict.fromkeys(self._entered))

    def enter(self, name: Name, credential: Hashable | None = None, offer: Offer | None = None) -> None:
        """Take a slot of a lane, unless this run has one, and the right to try a credential. `offer` is what whoever
        runs the server says of it, None where nobody does.

        Raises Closed where there is no way in, and Busy where there is no room now: the run ends with it.
        """
        self._entered.append((name, credential))
        self._learnt()
        if offer is not None:
            self._lanes.offers.say(name, offer)
        if (cause := self._lanes.cause(name, credential)) is not None:
            down = self._lanes.cause(name, None) is not None
            self._wait(name, None if down else credential)
            raise Closed(cause)
        if not self._held[name]:
            if not self._lanes.take(name, self._namespace):
                raise Busy
            self._held[name] += 1
        if credential is not None:
            if not self._lanes.try_credential(name, credential, self):
                raise Busy
            self._trials.add((name, credential))

    def withdrawn(self, by: Hashable) -> None:
        """Say that somebody runs no server any more."""
        self._lanes.offers.withdraw(by)

    def slots(self, name: Name) -> int:
        """Return how many slots a lane has, for all."""
        return self._lanes.offers.slots(name)

    def try_enter(self, name: Name) -> bool:
        """Take one more slot of a lane, if there is one."""
        if self._lanes.cause(name, None) is not None or not self._lanes.take(name, self._namespace):
            return False
        self._held[name] += 1
        return True

    def leave(self, name: Name) -> None:
        """Give one slot of a lane back."""
        self._held[name] -= 1
        self._lanes.give(name, self._namespace)

    def detach(self, name: Name) -> Callable[[], None]:
        """Take one slot out of this run's hands; return what gives it back, for work that outlives the run."""
        self._held[name] -= 1
        self._lanes.part(name, self._namespace)
        return lambda: self._lanes.give(name, self._namespace, beside=True)

    def opened(self, name: Name, credential: Hashable | None = None) -> None:
        """Say that a login was accepted."""
        self._answered.add(name)
        if (name, credential) in self._closed:
            self._closed.discard((name, credential))
            self._waits(self._closed)
        self._lanes.opened(name, credential)

    def answered(self, name: Name) -> None:
        """Say that a server is there, whatever it said."""
        self._answered.add(name)

    def failed(self, name: Name, cause: object, *, retry_after: float | None = None) -> None:
        """Say that a server gave no answer; `retry_after` are the seconds that it asks to wait."""
        self._failed.add(name)
        self._wait(name, None)
        self._lanes.failed(name, cause, retry_after)

    def failed_alone(self, cause: object, namespace: str) -> None:
        """Say that the API server failed on what may be one object, of this namespace. The run waits for nothing but
        its own next try."""
        self._failed.add(API)
        self._lanes.failed(API, cause, alone=namespace)

    def hung(self, cause: object) -> None:
        """Say that this run was cut off while it waited for its servers. One that had let it in is neither away nor
        does it work: what kept the run may be a trigger or a lock of its own tables."""
        for name, count in self._held.items():
            if not count or name == API:
                continue
            if name in self._answered:
                self._answered.discard(name)
            else:
                self.failed(name, cause)

    def refused(self, name: Name, credential: Hashable, cause: object) -> None:
        """Say that a server refused a credential."""
        self._answered.add(name)
        self._wait(name, credential)
        self._lanes.refused(name, credential, cause)

    def forget_verdict(self, name: Name, credential: Hashable) -> None:
        """Let a credential be tried at once, after its password was set."""
        self._lanes.forget_verdict(name, credential)

    def release(self, name: Name) -> None:
        """Give back what this run holds of a lane: it goes on elsewhere, for as long as that takes."""
        if self._held[name] and name in self._answered - self._failed:
            self._lanes.succeeded(name)
        for _ in range(self._held.pop(name, 0)):
            self._lanes.give(name, self._namespace)

    def close(self) -> None:
        """Give everything back: the run is over."""
        for name in self._answered - self._failed:
            if self._held[name]:
                self._lanes.succeeded(name)
        for name, credential in self._trials:
            self._lanes.end_trial(name, credential or "", self)
        held, self._held = self._held, Counter()
        for name, count in held.items():
            for _ in range(count):
                self._lanes.give(name, self._namespace)

    def _wait(self, name: Name, credential: Hashable | None) -> None:
        self._closed.add((name, credential))
        self._waits(self._closed)
