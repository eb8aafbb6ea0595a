"""What is said where a cloud gives no token: its own code and the remedy, never an answer's body, a token or a host."""

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason


def unavailable(what: str, remedy: str) -> Failure:
    """Return the failure; both are sentences."""
    return Failure(Reason.IDENTITY_UNAVAILABLE, f"{what} {remedy}", stage=ConditionType.CONNECTED)
