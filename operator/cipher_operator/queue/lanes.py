"""All lanes: who may enter now, what is told of servers and credentials, probes of what is down, and sweeping."""

import asyncio
import contextvars
import random
from collections.abc import Awaitable, Callable, Hashable, Iterable

from cipher_operator.queue.clock import Clock
from cipher_operator.queue.counts import Counts, count
from cipher_operator.queue.lane import FIRST_SLOTS, Credential, Lane, spare
from cipher_operator.queue.needs import API, Listener, Name, Need
from cipher_operator.queue.offers import Offers
from cipher_operator.queue.timers import Timers

UNLIMITED = 1_000_000
VERDICT_SECONDS = 60.0
"""How long a refused credential is not tried again."""
UNMET_SECONDS = 60.0
"""How long after that it counts as refused still: who needs it has been told, and has tried by then."""
PROBE_SECONDS = 2.0
TELL_SECONDS = 8.0
"""How long a server is down before all its keys say so: a restart is over by then."""
IDLE_SECONDS = 3_600.0
"""After how long what nobody uses is dropped."""

LEFT = object()
Outage = Callable[[Name, bool, object, float], None]
"""Called when an outage of a lane begins (False) and when it is over (True), with its cause and its seconds; with LEFT
when it is over because nobody needs the lane."""


class Lanes:
    """What is known of every lane. `probe` asks whether a lane's server answers: True, False, or the seconds that it
    asks to wait. `share` is how many slots runs in all suspect lanes together may hold. `offers` is what is said of
    them."""

    def __init__(
        self,
        clock: Clock,
        probe: Callable[[Name], Awaitable[bool | float]],
        *,
        slots: int,
        share: int = 8,
        outage: Outage = lambda name, over, cause, seconds: None,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock, self._probe, self._share = clock, probe, share
        self._outage, self._jitter = outage, jitter
        self._lanes: dict[Name, Lane] = {}
        self._probes: dict[Name, asyncio.Task[None]] = {}
        self._timers = Timers(clock)
        self.offers = Offers(slots, self._resize)
        self._listeners: list[Listener] = []
        self._refusals: set[Need] = set()
        self._context = contextvars.copy_context()
        self._closed = False

    def attach(self, listener: Listener) -> None:
        """Tell a queue of what happens."""
        self._listeners.append(listener)

    @property
    def known(self) -> int:
        """Return how many lanes are remembered."""
        return len(self._lanes)

    def counts(self) -> Counts:
        """Return how the lanes are now."""
        return count(self._lanes, self._refusals, self._shared)

    @property
    def reachable(self) -> bool:
        """Return whether a run may ask the API server, without which none begins."""
        return self._room(API, self._of(API), "")

    def admits(self, needs: Iterable[Need], namespace: str, full: set[tuple[Name, str]]) -> bool:
        """Return whether a run with these needs would not wait: there are slots, or no way in at all. `full` is what
        has no room for a namespace, and is added to: of thousands that wait for a lane one asks it."""
        for name, credential in needs:
            if self.cause(name, credential) is not None:
                continue
            if (name, namespace) in full:
                return False
            if (lane := self._lanes.get(name)) is None:
                continue
            if not self._room(name, lane, namespace):
                full.add((name, namespace))
                return False
            if lane.tried(credential):
                return False
        return True

    def cause(self, name: Name, credential: Hashable | None) -> object | None:
        """Return why there is no way in, None where there is one."""
        lane = self._lanes.get(name)
        return None if lane is None else lane.closed(credential, self._clock.now())

    def take(self, name: Name, namespace: str) -> bool:
        """Take a slot for a namespace; return whether there was one."""
        lane = self._of(name)
        if not self._room(name, lane, namespace):
            return False
        lane.take(namespace, self._clock.now())
        if name != API:
            # Of an only slot the same queue would always come first.
            self._listeners = self._listeners[1:] + self._listeners[:1]
        return True

    def give(self, name: Name, namespace: str, *, beside: bool = False) -> None:
        """Give it back; `beside` says that work beside the runs had it."""
        self._of(name).give(namespace, self._clock.now(), beside=beside)
        self._freed()

    def part(self, name: Name, namespace: str) -> None:
        """Leave a slot that a run has to work beside the runs."""
        self._of(name).part(namespace)
        self._freed()

    def try_credential(self, name: Name, credential: Hashable, who: object) -> bool:
        """Return whether this one may log in with a credential now: while it is not proven, one does at a time."""
        return self._credential(name, credential).let(who)

    def end_trial(self, name: Name, credential: Hashable, who: object) -> None:
        """Let another one try a credential."""
        known = self._of(name).credentials.get(credential)
        if known is not None and known.trial is who:
            known.trial = None
            self._freed()

    def opened(self, name: Name, credential: Hashable | None) -> None:
        """Take note of a login that was accepted."""
        if credential is None:
            return
        known = self._credential(name, credential)
        news = not known.proven or known.cause is not None
        known.proven, known.trial, known.cause = True, None, None
        self._refusals.discard((name, credential))
        self._timers.cancel((name, credential))
        if news:
            self._tell(lambda listener: listener.opened((name, credential)))

    def succeeded(self, name: Name) -> None:
        """Take note of a run that ended well in a lane."""
        lane = self._of(name)
        since, cause = lane.since, lane.cause
        if lane.succeed() and since is not None:
            self._outage(name, True, cause, self._clock.now() - since)
        self._freed()

    def failed(self, name: Name, cause: object, retry_after: float | None = None, alone: str | None = None) -> None:
        """Take note of a server that gave no answer, perhaps of a namespace `alone`: it is asked by one probe."""
        lane = self._of(name)
        if lane.cause is not None or self._closed or (alone is not None and not lane.fails_others(alone)):
            return
        lane.doubt()
        if name == API:
            self._close(name, lane, cause)
            self._ask_later(name, cause, self._api_pause(lane, retry_after))
        elif name not in self._probes:
            self._ask(name, cause)

    def answers(self, name: Name) -> None:
        """Take note that somebody else has met a server that answers: one that is down is asked now."""
        lane = self._lanes.get(name)
        if lane is not None and lane.cause is not None:
            self._timers.cancel(name)
            self._ask(name, lane.cause)

    def refused(self, name: Name, credential: Hashable, cause: object) -> None:
        """Take note of a verdict on a credential: for a minute nobody tries it again, then one does."""
        known = self._credential(name, credential)
        known.proven, known.trial, known.cause = False, None, cause
        known.until = self._clock.now() + VERDICT_SECONDS
        need = name, credential
        self._refusals.add(need)
        self._timers.at(need, known.until, lambda: self._outlived(need))
        self._tell(lambda listener: listener.told(need))

    def forget_verdict(self, name: Name, credential: Hashable) -> None:
        """Let a credential be tried at once, after its password was set."""
        known = self._of(name).credentials.get(credential)
        if known is not None:
            known.cause = None
            self._refusals.discard((name, credential))
            self._timers.cancel((name, credential))

    async def close(self) -> None:
        """End probes and timers."""
        self._closed = True
        self._timers.close()
        for task in (tasks := set(self._probes.values())):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _outlived(self, need: Need) -> None:
        """Let a credential be tried again; whoever has another one by now does not."""
        self._timers.at(need, self._clock.now() + UNMET_SECONDS, lambda: self._refusals.discard(need))
        self._tell(lambda listener: listener.opened(need))

    def _of(self, name: Name) -> Lane:
        lane = self._lanes.get(name)
        if lane is None:
            slots = UNLIMITED if name == API else self.offers.slots(name)
            first = slots if name == API else min(slots, FIRST_SLOTS)
            lane = self._lanes[name] = Lane(slots, first, used=self._clock.now())
            if "sweep" not in self._timers:
                self._timers.at("sweep", lane.used + IDLE_SECONDS, self._sweep)
        return lane

    def _credential(self, name: Name, credential: Hashable) -> Credential:
        known = self._of(name).credentials.setdefault(credential, Credential())
        known.used = self._clock.now()
        return known

    def _room(self, name: Name, lane: Lane, namespace: str) -> bool:
        if not lane.free(namespace, shared=self._shared(name)):
            return False
        if not lane.suspect or lane.slots == UNLIMITED:
            return True
        return spare(self._lanes.values(), namespace, self._share)

    def _shared(self, name: Name) -> bool:
        return name != API and (self.offers.several(name) or any(each.shares(name) for each in self._listeners))

    def _resize(self, name: Name) -> None:
        if (lane := self._lanes.get(name)) is not None:
            lane.resize(self.offers.slots(name))
            self._freed()

    def _close(self, name: Name, lane: Lane, cause: object) -> None:
        if lane.close(cause, self._clock.now()):
            self._outage(name, False, cause, 0.0)

    def _api_pause(self, lane: Lane, asked: float | None) -> float:
        return max(asked or 0.0, lane.pause() * self._jitter(0.75, 1.0))

    def _ask_later(self, name: Name, cause: object, seconds: float) -> None:
        self._timers.at(name, self._clock.now() + seconds, lambda: self._ask(name, cause))

    def _ask(self, name: Name, cause: object) -> None:
        if self._closed or name in self._probes:
            return
        asked, loop = self._asked(name, cause), asyncio.get_running_loop()
        self._probes[name] = loop.create_task(asked, name="probe", context=self._context.copy())

    async def _asked(self, name: Name, cause: object) -> None:
        """Ask once; go on asking where it does not answer."""
        try:
            answer = await self._probe(name)
        finally:
            self._probes.pop(name, None)
        lane = self._of(name)
        if answer is True:
            was_down = lane.cause is not None
            lane.open()
            if was_down:
                self._tell(lambda listener: listener.opened((name, None)))
            self._freed()
            return
        if lane.cause is None:
            self._close(name, lane, cause)
        if name != API and not lane.held and not any(listener.needs(name) for listener in self._listeners):
            return self._leave(name, lane)
        if name == API:
            lane.strikes += 1
            pause = self._api_pause(lane, answer)
        else:
            pause = PROBE_SECONDS
            if not lane.told and lane.since is not None and self._clock.now() - lane.since >= TELL_SECONDS:
                lane.told = True
                self._tell(lambda listener: listener.told((name, None)))
        self._ask_later(name, cause, pause)

    def _leave(self, name: Name, lane: Lane) -> None:
        """Drop a lane that is down and that nobody needs any more: it may be switched off for good."""
        del self._lanes[name]
        self._refusals.difference_update([need for need in self._refusals if need[0] == name])
        if lane.since is not None:
            self._outage(name, True, LEFT, self._clock.now() - lane.since)

    def _sweep(self) -> None:
        """Drop what nobody uses: credentials change, and hosts come and go."""
        now = self._clock.now()
        for name, lane in list(self._lanes.items()):
            self._refusals.difference_update((name, credential) for credential in lane.sweep(now, IDLE_SECONDS))
            idle = lane.held == 0 and lane.cause is None and name not in self._probes
            if name != API and idle and not lane.credentials and now - lane.used >= IDLE_SECONDS:
                del self._lanes[name]
                self.offers.drop(name)
        self._timers.at("sweep", now + IDLE_SECONDS / 4, self._sweep)

    def _freed(self) -> None:
        self._tell(lambda listener: listener.freed())

    def _tell(self, say: Callable[[Listener], None]) -> None:
        if not self._closed:
            for listener in self._listeners:
                say(listener)
