"""Conditions as kstatus and Flux read them, and how the next ones are merged from those that stand."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cipher_operator.api.failures import ConditionType
from cipher_operator.api.printable import printable, shortened

MAX_MESSAGE = 2_048
_ORDER = {type_: position for position, type_ in enumerate(("Ready", "Reconciling", "Stalled"))}


@dataclass(frozen=True, slots=True)
class Draft:
    """A condition that a run wants, still without times; `observed_generation` None means the run's own."""

    type: ConditionType
    status: str
    reason: str
    message: str
    observed_generation: int | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition as it stands in the status; `last_transition_time` is RFC 3339 in UTC."""

    type: ConditionType
    status: str
    reason: str
    message: str
    observed_generation: int
    last_transition_time: str

    @property
    def draft(self) -> Draft:
        """Return the condition as one that shall stand as it is, about the generation that it is about."""
        return Draft(self.type, self.status, self.reason, self.message, self.observed_generation or None)

    def to_json(self) -> dict[str, Any]:
        """Return the condition in the API's shape."""
        return {
            "type": str(self.type),
            "status": self.status,
            "reason": str(self.reason),
            "message": self.message,
            "observedGeneration": self.observed_generation,
            "lastTransitionTime": self.last_transition_time,
        }

    @classmethod
    def from_json(cls, raw: Any) -> "Condition | None":
        """Return the condition, or None for anything that is not one of ours."""
        if not isinstance(raw, Mapping) or raw.get("type") not in list(ConditionType):
            return None
        generation = raw.get("observedGeneration")
        return cls(
            ConditionType(raw["type"]),
            str(raw.get("status", "Unknown")),
            str(raw.get("reason", "")),
            str(raw.get("message", "")),
            generation if isinstance(generation, int) else 0,
            str(raw.get("lastTransitionTime", "")),
        )


def merge(previous: Iterable[Condition], wanted: Sequence[Draft], generation: int, now: str) -> tuple[Condition, ...]:
    """Return the next conditions: Ready first, then by name. A time moves only when the status flips; what is not
    wanted is gone; messages are one printable line of at most 2,048 characters. Raises ValueError for a type wanted
    twice, which the API server would refuse with the whole status."""
    before = {condition.type: condition for condition in previous}
    if len({draft.type for draft in wanted}) != len(wanted):
        raise ValueError("a condition type is wanted twice")
    merged = []
    for draft in sorted(wanted, key=lambda d: (_ORDER.get(d.type, len(_ORDER)), d.type)):
        old = before.get(draft.type)
        kept = old is not None and old.status == draft.status and bool(old.last_transition_time)
        since = old.last_transition_time if kept and old is not None else now
        observed = generation if draft.observed_generation is None else draft.observed_generation
        merged.append(
            Condition(
                draft.type,
                draft.status,
                draft.reason,
                printable(shortened(draft.message, MAX_MESSAGE)),
                observed,
                since,
            )
        )
    return tuple(merged)
