"""When a storage is looked at next, by what its run found. How that is spread and backed off is the queue's."""

from cipher_operator.api.reasons import FailureClass, Reason
from cipher_operator.queue.following import Next
from cipher_operator.reconcile.result import Result

WAITING_RETRY = 60.0
"""Seconds between tries where somebody must change an input: the inputs are watched, this only catches the rest."""
STALLED_RETRY = 120.0
BLOCKED_RETRY = 15.0
"""Where a deletion is blocked by what somebody is about to remove, another storage that is deleted too for one."""
SLEEPING_RETRY = 3_600.0
"""Where `interval: 0s` says that a serverless database shall sleep: a retry wakes it."""
UNSPREAD, RETRY_SPREAD, CHECK_SPREAD, DEADLINE_SPREAD = 0.0, 0.15, 0.1, 0.05


def requeue(result: Result, interval: float, progress_deadline: float) -> Next:
    """Return when the storage is looked at next; `interval` and `progress_deadline` are the operator's, in seconds."""
    every = interval if result.interval is None else result.interval
    failure = result.failure
    if failure is None:
        if result.soon is not None and (not every or result.soon <= every):
            return Next(after=result.soon, spread=UNSPREAD)
        return Next(after=every or None, spread=CHECK_SPREAD)
    if result.soon is not None:
        return Next(after=result.soon, spread=UNSPREAD)
    if result.remembered:
        # Its lane runs it when there is news; this is for the deadline alone.
        return Next(after=1.1 * progress_deadline, spread=DEADLINE_SPREAD)
    if failure.failure_class is FailureClass.TRANSIENT:
        return Next(failed=True)
    slow = WAITING_RETRY if failure.failure_class is FailureClass.WAITING else STALLED_RETRY
    if failure.reason is Reason.DELETION_BLOCKED:
        slow = BLOCKED_RETRY
    elif result.interval == 0:
        slow = SLEEPING_RETRY
    return Next(after=slow, spread=RETRY_SPREAD)
