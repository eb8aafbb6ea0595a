"""The end of one run: what was found, done and published, as one frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from cipher_operator.api.failures import STAGES, ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.observed import Observed


class PasswordChange(Enum):
    """Why the published password is another one than before."""

    ROTATED = "rotated"
    SECRET_LOST = "the app Secret was lost"
    BROUGHT = "the user brings another one"
    ADMINISTRATORS = "in mode Shared the administrator has another one"
    SAME_AGAIN = "none: the app Secret was lost, and the password is not the operator's"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a storage that is ready publishes in its status; known as a whole or not at all."""

    database: str
    user: str
    secret_name: str
    server_version: str
    password_set_at: str | None = None
    """RFC 3339; None where the password is not the operator's."""


@dataclass(frozen=True, slots=True)
class Result:
    """Ready (`facts`), planned (`plan`, Observe mode) or `failure`; `reached` are the stages that are proven.

    `handled` are the requests that were carried out, `ignored` why others never can be. `executed` are the SQL lines
    that ran, passwords as '***'. `soon` are the seconds after which it must be looked at again, whatever the interval.
    """

    facts: Facts | None = None
    failure: Failure | None = None
    cause: Failure | None = None
    """The failure as it was found, for the operator's log; `failure` may say less of it to a tenant."""
    reached: tuple[ConditionType, ...] = ()
    plan: tuple[str, ...] | None = None
    handled: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    """Warnings that a tenant's status does not have, for the operator's log."""
    unpublished: bool = False
    """The app Secret is known to be missing, or to hold no login."""
    executed: tuple[str, ...] = ()
    statements: int = 0
    taken_over: tuple[str, ...] = ()
    """What of others on the server is this storage's since this run, for people."""
    change: PasswordChange | None = None
    rewritten: tuple[str, ...] = ()
    """Keys of the app Secret that hold something else since this run."""
    held: tuple[tuple[str, str], ...] = ()
    """Kind and name of what somebody deletes and is held for this storage."""
    soon: float | None = None
    quiet: bool = False
    """Nothing is told of it: its end is a matter of seconds, and what is published stands meanwhile."""
    remembered: bool = False
    """The failure was known before, and no session was tried."""
    cas: tuple[str, ...] | None = None
    """The CAs that this storage trusts, PEM; None where the run did not come to them."""
    interval: float | None = None
    """Seconds between checks as the spec says; None where the operator's setting counts."""

    @property
    def reason(self) -> str:
        """Return the reason that the Ready condition gets."""
        if self.failure is not None:
            return self.failure.reason
        if self.plan is not None:
            return Reason.CHANGES_PENDING if self.plan else Reason.OBSERVED
        return Reason.READY


@dataclass(frozen=True, slots=True)
class Ended:
    """A storage that is let go: the SQL lines that dropped something, what was left on purpose, and why that.

    `missed` says that something had been made, and nothing of it was found.
    """

    dropped: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    why: str = ""
    missed: bool = False


def stages(observed: Observed | None, failure: Failure | None) -> tuple[ConditionType, ...]:
    """Return the stages that an observation proves, up to the one that failed."""
    if observed is None:
        return ()
    end = STAGES.index(failure.stage) if failure is not None and failure.stage is not None else len(STAGES) - 1
    shown = {
        ConditionType.CONNECTED: True,
        ConditionType.DATABASE_READY: observed.database is not None,
        ConditionType.ACCESS_GRANTED: any(role.in_owner for role in observed.roles.values())
        or (len(observed.roles) == 1 and observed.local is not None),
        ConditionType.SCHEMA_APPLIED: observed.local is not None,
    }
    return tuple(stage for stage in STAGES[:end] if shown.get(stage, False))
