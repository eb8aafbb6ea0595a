"""Which one of several processes works: a Lease, and a permit that every write asks for.

No clock of another machine is believed: how old a claim is, is counted from when it was seen here to be new, as
client-go does. A leader's own time is counted from before the request that renewed the Lease, so it ends at least
`lease` - `deadline` seconds before anybody else's wait for it does, whatever stopped the process meanwhile.
`kubernetes.leaderelection` is not used: it has no release, no limit for a request, and one reset connection ends it.
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from cipher_operator.core.permit import NotLeading
from cipher_operator.kube.leases import LEASE_NAME, Claim, Lease, create_lease, get_lease, replace_lease
from cipher_operator.kube.port import ApiError, ApiUnavailable, Kube

RELEASED_SECONDS = 1
"""The duration of a claim that was given back: 0 is not valid. Who empties a Lease by hand leaves another there."""
LONGEST_SECONDS = 60
"""The longest duration that is believed: no version of the operator writes a longer one, but a person may."""
MOST_TRANSITIONS = 2**31 - 1
"""Of a Lease's field."""

logger = logging.getLogger(__name__)


def boottime() -> float:
    """Return seconds that go on while the machine sleeps, where the system counts those, and that nobody can set."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. `lease`: how long a claim that is not renewed keeps others out; `deadline`: after how long without a
    renewal its holder writes nothing any more; `request`: for one request, so that one that hangs leaves time for
    another before the deadline. A follower looks every `poll`: a watch would take two more rights, and may be silent
    without being alive."""

    lease: int = 15
    renew: float = 5.0
    deadline: float = 10.0
    poll: float = 0.5
    retry: float = 1.0
    request: float = 3.0


TIMING = Timing()


class Act(StrEnum):
    """What is done about the Lease next."""

    CLAIM = "claim"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class View:
    """What is known of the Lease. `since` is when it was first seen as it is, `renewed` when this process last asked
    for a renewal that was granted, None while it does not lead; both in seconds of this machine's clock. `heard` says
    that it was seen to be claimed or given back: who did was alive then."""

    lease: Lease | None = None
    since: float = 0.0
    renewed: float | None = None
    heard: bool = False
    existed: bool = False

    def seen(self, lease: Lease | None, now: float) -> "View":
        """Return the view after the Lease was read."""
        existed = self.existed or lease is not None
        if lease == self.lease:
            return replace(self, lease=lease, existed=existed)
        # What a person changes, or deletes, is no sign of life.
        claimed = self.existed and lease is not None and (self.lease is None or lease.renewed != self.lease.renewed)
        return replace(self, lease=lease, since=now, heard=self.heard or claimed, existed=existed)

    def granted(self, lease: Lease, asked: float, now: float) -> "View":
        """Return the view after a claim of this process, asked for at `asked`, was written."""
        return View(lease, since=now, renewed=asked, heard=True, existed=True)

    def others(self, identity: str) -> bool:
        """Return whether another process has the Lease."""
        return self.lease is not None and self.lease.holder not in ("", identity)

    def lost(self) -> "View":
        """Return the view of a process that does not lead any more."""
        return replace(self, renewed=None)

    def deadline(self, timing: Timing = TIMING) -> float:
        """Return when this process may not write any more."""
        return -math.inf if self.renewed is None else self.renewed + timing.deadline


def decide(view: View, identity: str, now: float, timing: Timing = TIMING) -> tuple[Act, float]:
    """Return what to do, and how many seconds to wait before it (WAIT: before the Lease is read again)."""
    lease = view.lease
    if view.renewed is not None:
        return Act.CLAIM, max(0.0, view.renewed + timing.renew - now)
    if lease is None:
        # Where somebody deleted it, its holder works on until it notices.
        left = view.since + timing.lease - now if view.existed else 0.0
    elif lease.holder == identity or (not lease.holder and lease.duration == RELEASED_SECONDS):
        left = 0.0
    else:
        # What a person has put there is no word of its holder, who may have been granted our own duration before.
        longest = LONGEST_SECONDS if lease.holder else timing.lease
        left = view.since + min(max(lease.duration, timing.lease), longest) - now
    return (Act.CLAIM, 0.0) if left <= 0 else (Act.WAIT, min(timing.poll, left))


def claim(view: View, identity: str, now: datetime, timing: Timing = TIMING) -> Claim:
    """Return the claim that makes this process the holder, or keeps it that."""
    lease = view.lease
    if lease is not None and lease.holder == identity:
        return Claim(identity, timing.lease, lease.transitions, now)
    transitions = 0 if lease is None or lease.transitions >= MOST_TRANSITIONS else lease.transitions + 1
    return Claim(identity, timing.lease, transitions, now, acquired=now)


class Elector:
    """Competes for the Lease from `compete` on. `identity` is this process's own: no other life of it has the same.

    `lead(warm)` is called when it has the Lease; `warm` says that the former leader gave a sign of life after that,
    so that this process has seen what that one may have left undone. `follow` is called when it has it no more, and
    returns whether all that was under way has ended. Where it has not, `ended` is set: the process must end.
    """

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        identity: str,
        *,
        clock: Callable[[], float] = boottime,
        timing: Timing = TIMING,
    ) -> None:
        self._kube, self._namespace, self._identity = kube, namespace, identity
        self._clock, self._timing = clock, timing
        self._view = View()
        self._task: asyncio.Task[None] | None = None
        self._competes, self._in_trouble = asyncio.Event(), False
        self._retired = False
        self.ended = asyncio.Event()

    @property
    def _deadline(self) -> float:
        return self._view.deadline(self._timing)

    @property
    def leading(self) -> bool:
        """Return whether this process leads now."""
        return self._clock() < self._deadline

    def permit(self) -> float:
        """Return for how many seconds this process may write. Raises NotLeading."""
        left = self._deadline - self._clock()
        if left <= 0:
            raise NotLeading("this process does not lead")
        return left

    def start(self, lead: Callable[[bool], None], follow: Callable[[], Awaitable[bool]]) -> None:
        """Begin, in a task of its own."""
        self._task = asyncio.create_task(self._run(lead, follow), name="leader election")

    def compete(self) -> None:
        """Take the Lease when it can be had: this process knows all of the cluster."""
        self._competes.set()

    def retire(self) -> None:
        """Take it no more; what is held is renewed until `release`."""
        self._retired = True

    async def release(self) -> None:
        """End, and let another one lead at once. Nothing of this process may be under way any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        held, self._view = self.leading, self._view.lost()
        if not held:
            return
        try:
            async with asyncio.timeout(self._timing.request):
                # Read again: a renewal may have been under way.
                lease = await get_lease(self._kube, self._namespace, LEASE_NAME)
                if lease is not None and lease.holder == self._identity:
                    now = datetime.now(UTC)
                    given_back = Claim("", RELEASED_SECONDS, lease.transitions, now, acquired=now)
                    await replace_lease(self._kube, lease, given_back)
        except (ApiError, ApiUnavailable, TimeoutError) as error:
            logger.warning("the Lease was not released (%s); another replica waits until it runs out", _told(error))
        else:
            logger.info("the Lease is released")

    async def _run(self, lead: Callable[[bool], None], follow: Callable[[], Awaitable[bool]]) -> None:
        try:
            await self._competes.wait()
            while (warm := await self._acquire()) is not None:
                logger.info("this process leads", extra={"identity": self._identity})
                lead(warm)
                await self._hold()
                self._view = self._view.lost()
                logger.warning("this process does not lead any more; what is under way is ended")
                if not await follow():
                    logger.error("what was under way did not end; this process ends, to be started again")
                    break
        except Exception:
            self._view = self._view.lost()
            logger.exception("the leader election ended unexpectedly")
        self.ended.set()

    async def _acquire(self) -> bool | None:
        """Wait until the Lease is ours; return whether it was seen to live before, None where we compete no more."""
        while not self._retired:
            if not await self._asked(self._read, self._timing.request):
                await asyncio.sleep(self._timing.retry)
                continue
            act, wait = decide(self._view, self._identity, self._clock(), self._timing)
            if act is Act.WAIT:
                await asyncio.sleep(wait)
                continue
            heard = self._view.heard
            if not self._retired and await self._asked(self._claim, self._timing.request):
                # Asked to end meanwhile, it begins nothing any more: what it holds is given back.
                return None if self._retired else heard
            await asyncio.sleep(self._timing.retry * random.uniform(0.2, 1.0))  # noqa: S311 - spreads tries
        return None

    async def _hold(self) -> None:
        """Renew until the deadline has passed, or another one has the Lease."""
        while (left := self._deadline - self._clock()) > 0:
            _, wait = decide(self._view, self._identity, self._clock(), self._timing)
            if wait > 0:
                await asyncio.sleep(min(wait, left))
            elif not await self._asked(self._claim, min(self._timing.request, left)):
                if self._view.others(self._identity):
                    return
                await asyncio.sleep(min(self._timing.retry, max(0.0, self._deadline - self._clock())))

    async def _read(self) -> bool:
        lease = await get_lease(self._kube, self._namespace, LEASE_NAME)
        self._view = self._view.seen(lease, self._clock())
        return True

    async def _claim(self) -> bool:
        """Write our claim; False where others were faster, and what they wrote is known then."""
        for _ in range(2):
            asked, wanted = self._clock(), claim(self._view, self._identity, datetime.now(UTC), self._timing)
            try:
                if self._view.lease is None:
                    lease = await create_lease(self._kube, self._namespace, LEASE_NAME, wanted)
                else:
                    lease = await replace_lease(self._kube, self._view.lease, wanted)
            except ApiError as error:
                # The creation of a Lease is not found where its namespace is not.
                if error.status not in (404, 409) or (error.status == 404 and self._view.lease is None):
                    raise
                await self._read()
                # One of ours whose answer was lost, or nobody's: a leader that lost it to nobody goes on.
                if self._view.renewed is None or self._view.others(self._identity):
                    return False
            else:
                self._view = self._view.granted(lease, asked, self._clock())
                return True
        return False

    async def _asked(self, ask: Callable[[], Awaitable[bool]], seconds: float) -> bool:
        """Return what a request about the Lease says, False where it gets no answer in time; say so once."""
        try:
            async with asyncio.timeout(seconds):
                said = await ask()
        except (ApiError, ApiUnavailable, TimeoutError) as error:
            if not self._in_trouble:
                self._in_trouble = True
                logger.warning(
                    "Lease %s/%s cannot be read or written: %s; trying again", self._namespace, LEASE_NAME, _told(error)
                )
            return False
        # That it can be read is not all where there is none yet: it may be that it cannot be made.
        if self._in_trouble and self._view.lease is not None:
            self._in_trouble = False
            logger.info("Lease %s/%s is at hand again", self._namespace, LEASE_NAME)
        return said


def _told(error: Exception) -> str:
    if isinstance(error, ApiError) and error.status == 403:
        return f"{error} (it takes get, create and update on leases in coordination.k8s.io in this namespace)"
    if isinstance(error, ApiError) and error.status == 404:
        return f"{error} (create the namespace, or name another one by --leader-election-namespace)"
    return str(error) or "no answer in time"
