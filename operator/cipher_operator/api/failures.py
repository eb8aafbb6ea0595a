"""The one exception that carries a reason to the status."""

from enum import StrEnum

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


class Failure(Exception):
    """Why a storage cannot be made ready.

    `message` is written to status, events and logs: it names no host, port, password or other content of a
    Secret, and says what to do. `stage` is the condition that fails; None where it is not known to the raiser.
    `sqlstate` is the five-character code, or None. `reached` are the stages that were proven before.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        stage: ConditionType | None = None,
        sqlstate: str | None = None,
        reached: tuple[ConditionType, ...] = (),
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.stage = stage
        self.sqlstate = sqlstate
        self.reached = reached

    @property
    def failure_class(self) -> FailureClass:
        """Return how this failure is retried and published."""
        return self.reason.failure_class

    def at(self, stage: ConditionType) -> "Failure":
        """Return this failure with its stage set, unless it already has one."""
        if self.stage is None:
            self.stage = stage
        return self
