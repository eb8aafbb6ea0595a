"""Conditions as kstatus and Flux read them: merging, and the rules that every status must keep."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cipher_operator.api.failures import ConditionType

MAX_MESSAGE = 2_048
_ORDER = {type_: position for position, type_ in enumerate(("Ready", "Reconciling", "Stalled"))}


@dataclass(frozen=True, slots=True)
class Draft:
    """A condition that a run wants, still without times."""

    type: ConditionType
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition as it stands in the status; `last_transition_time` is RFC 3339 in UTC."""

    type: ConditionType
    status: str
    reason: str
    message: str
    observed_generation: int
    last_transition_time: str

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
    wanted is gone; messages are cut to 2,048 characters. Raises ValueError for a type wanted twice, which the API
    server would refuse with the whole status."""
    before = {condition.type: condition for condition in previous}
    if len({draft.type for draft in wanted}) != len(wanted):
        raise ValueError("a condition type is wanted twice")
    merged = []
    for draft in sorted(wanted, key=lambda d: (_ORDER.get(d.type, len(_ORDER)), d.type)):
        old = before.get(draft.type)
        kept = old is not None and old.status == draft.status and bool(old.last_transition_time)
        since = old.last_transition_time if kept and old is not None else now
        message = draft.message[:MAX_MESSAGE]
        merged.append(Condition(draft.type, draft.status, draft.reason, message, generation, since))
    return tuple(merged)


def violations(status: Mapping[str, Any], generation: int) -> list[str]:
    """Return which of kstatus's and Flux's rules for a finished run a status breaks; [] when none.

    Source: fluxcd/pkg runtime/conditions/check (FAIL rules) and cli-utils pkg/kstatus.
    """
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    root = status.get("observedGeneration", -1)
    ready = conditions.get("Ready", {}).get("status")
    reconciling = conditions.get("Reconciling", {}).get("status") == "True"
    stalled = conditions.get("Stalled", {}).get("status") == "True"
    generations = [condition.get("observedGeneration") for condition in conditions.values()]
    rules = {
        "a condition type stands twice": len(conditions) != len(status.get("conditions", [])),
        "Ready is missing": ready is None,
        "Ready=Unknown at the end of a run": ready not in (None, "True", "False"),
        "Ready=True beside Reconciling or Stalled": ready == "True" and (reconciling or stalled),
        "Reconciling=True without Ready=False": reconciling and ready != "False",
        "Stalled=True without Ready=False": stalled and ready != "False",
        "Reconciling and Stalled at once": reconciling and stalled,
        "Ready=False without Reconciling or Stalled": ready == "False" and not (reconciling or stalled),
        "Reconciling or Stalled is kept as False": any(
            conditions.get(name, {}).get("status") == "False" for name in ("Reconciling", "Stalled")
        ),
        "observedGeneration is ahead of the generation": root > generation,
        "Ready=True for an old generation": ready == "True" and root != generation,
        "Ready=True beside a condition of another generation": ready == "True"
        and any(of != generation for of in generations),
        "a condition without observedGeneration": any(not isinstance(of, int) or of < 1 for of in generations),
        "a condition without reason or time": any(
            not condition.get("reason") or not condition.get("lastTransitionTime") for condition in conditions.values()
        ),
    }
    return [rule for rule, broken in rules.items() if broken]
