"""The one exception that carries a reason to the status."""

from enum import StrEnum

from cipher_operator.api.printable import printable, shortened
from cipher_operator.api.reasons import FailureClass, Reason


class ConditionType(StrEnum):
    """Condition types of a CipherStorage, in the order in which the work is done."""

    CONNECTED = "Connected"
    DATABASE_READY = "DatabaseReady"
    ACCESS_GRANTED = "AccessGranted"
    SCHEMA_APPLIED = "SchemaApplied"
    SECRET_PUBLISHED = "SecretPublished"
    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


STAGES = (
    ConditionType.CONNECTED,
    ConditionType.DATABASE_READY,
    ConditionType.ACCESS_GRANTED,
    ConditionType.SCHEMA_APPLIED,
    ConditionType.SECRET_PUBLISHED,
)


MAX_TEXT = 4_096
"""Characters of a message; conditions keep half of it."""


class Failure(Exception):
    """Why a storage cannot be made ready. Read-only: who knows more makes a copy.

    `message` is written to status, events and logs: it names no host, port, password or other content of a
    Secret, and says what to do. `stage` is the condition that fails; None where it is not known to the raiser.
    `sqlstate` is the five-character code, or None. What servers and people said in it is made one printable line, cut.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        stage: ConditionType | None = None,
        sqlstate: str | None = None,
    ) -> None:
        super().__init__(message)
        self._reason = reason
        self._message = printable(shortened(message, MAX_TEXT))
        self._stage = stage
        self._sqlstate = sqlstate

    @property
    def reason(self) -> Reason:
        """Return the reason as the conditions show it."""
        return self._reason

    @property
    def message(self) -> str:
        """Return what happened and what to do about it."""
        return self._message

    @property
    def stage(self) -> ConditionType | None:
        """Return the condition that fails."""
        return self._stage

    @property
    def sqlstate(self) -> str | None:
        """Return PostgreSQL's code for it."""
        return self._sqlstate

    @property
    def failure_class(self) -> FailureClass:
        """Return how this failure is retried and published."""
        return self._reason.failure_class

    def at(self, stage: ConditionType) -> "Failure":
        """Return a copy that fails at this stage; itself where it has one."""
        if self._stage is not None:
            return self
        return Failure(self._reason, self._message, stage=stage, sqlstate=self._sqlstate)

    def saying(self, message: str) -> "Failure":
        """Return a copy with another text."""
        return Failure(self._reason, message, stage=self._stage, sqlstate=self._sqlstate)
