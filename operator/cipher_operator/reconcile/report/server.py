"""The status of a CipherServer, from what its run found."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cipher_operator.api.conditions import Condition, Draft, merge
from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.observed import Admin
from cipher_operator.reconcile.report.status import failing, finished, standing_conditions


@dataclass(frozen=True, slots=True)
class ServerResult:
    """The end of a look at a server. `version` is server_version_num, 0 where no session told it; `storages` how many
    use it, `outside` how many of namespaces that may not (any more) are still to drop what they have there, `held`
    that it is being deleted and waits for both."""

    storages: int
    failure: Failure | None = None
    version: int = 0
    admin: Admin | None = None
    warnings: tuple[str, ...] = ()
    outside: int = 0
    lost: int = 0
    """How many of `storages` did not find their data there when they were looked at last."""
    held: bool = False
    losing: tuple[str, ...] = ()
    """Its Secrets that are being deleted and wait for them."""

    @property
    def used(self) -> bool:
        """Return whether somebody needs it."""
        return bool(self.storages or self.outside)

    @property
    def reason(self) -> Reason:
        """Return the reason that the Ready condition gets."""
        return self.failure.reason if self.failure is not None else Reason.READY


def server_status(
    result: ServerResult, previous: Mapping[str, Any], generation: int, now: str, *, progress_deadline: float
) -> dict[str, Any]:
    """Return the whole next status (JSON), keeping kstatus's invariants.

    `now` is RFC 3339 in UTC, `progress_deadline` in seconds.
    """
    before = standing_conditions(previous)
    trying = before.get(ConditionType.RECONCILING)
    stalled = before.get(ConditionType.STALLED)
    overdue = _seconds(trying, now) > progress_deadline or (
        stalled is not None
        and stalled.reason == Reason.PROGRESS_DEADLINE_EXCEEDED
        and stalled.observed_generation == generation
    )
    drafts: tuple[Draft, ...]
    if result.failure is not None:
        drafts = failing(result.failure.saying(_sentence(result, result.failure.message)), overdue=overdue)
    else:
        drafts = (Draft(ConditionType.READY, "True", Reason.READY, _sentence(result, _ready(result))),)
    status: dict[str, Any] = {
        "observedGeneration": generation if finished(drafts) else previous.get("observedGeneration", -1)
    }
    for field, value in (("serverVersion", _version(result)), ("rights", rights(result.admin))):
        if value or field in previous:
            status[field] = value or previous[field]
    status["storages"] = result.storages
    status["conditions"] = [each.to_json() for each in merge(before.values(), drafts, generation, now)]
    return status


def only_counted(status: Mapping[str, Any], previous: Mapping[str, Any]) -> bool:
    """Return whether a status differs from the one that stands in the number of storages alone."""
    ours, theirs = ({key: value for key, value in each.items() if key != "storages"} for each in (status, previous))
    return ours == theirs and status != previous


def rights(admin: Admin | None) -> list[str]:
    """Return what the administrator's login may do, in PostgreSQL's own words."""
    if admin is None:
        return []
    held = (("SUPERUSER", admin.superuser), ("CREATEROLE", admin.createrole), ("CREATEDB", admin.createdb))
    return [name for name, has in held if has]


def _ready(result: ServerResult) -> str:
    words = ", ".join(rights(result.admin)) or "no attribute of its own"
    login = result.admin.name if result.admin is not None else ""
    return "; ".join((f"Logged in as '{login}', which has {words}", *_lost(result), *result.warnings))


def _lost(result: ServerResult) -> tuple[str, ...]:
    if not result.lost:
        return ()
    return (
        f"{result.lost} of the {result.storages} that use it did not find their data there when looked at last "
        "(`DatabaseLost`): if this is another server than before, point it back, or move the data",
    )


def _sentence(result: ServerResult, text: str) -> str:
    text = "; ".join((text, *map(_losing, result.losing)))
    if not result.held:
        return text
    what = "1 CipherStorage uses it" if result.storages == 1 else f"{result.storages} CipherStorages use it"
    if not result.storages:
        what = (
            f"{result.outside} of namespaces that may not use it any more have `deletionPolicy: Delete`, and what they "
            "created is still on the server"
        )
    return (
        f"It is being deleted and is held, because {what} (finalizer `storage.cipher.dev/in-use`): it goes when they "
        f"are deleted or name another server; {text}"
    )


def _losing(secret: str) -> str:
    return (
        f"Secret '{secret}' is being deleted and is held for the storages that use this server (finalizer "
        "`storage.cipher.dev/in-use`): it goes with the last of them; name another Secret in its place"
    )


def _version(result: ServerResult) -> str:
    return f"{result.version // 10_000}.{result.version % 10_000}" if result.version else ""


def _seconds(condition: Condition | None, now: str) -> float:
    if condition is None:
        return 0.0
    return (datetime.fromisoformat(now) - datetime.fromisoformat(condition.last_transition_time)).total_seconds()
