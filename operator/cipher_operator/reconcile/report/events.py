"""Which Event is posted when: transitions of Ready, what was done on the server and what was left, what was refused."""

from collections.abc import Iterator
from dataclasses import dataclass

from cipher_operator.api.conditions import Condition
from cipher_operator.api.failures import ConditionType
from cipher_operator.api.names import SERVER_KIND
from cipher_operator.api.spec import Resource
from cipher_operator.reconcile.result import Ended, PasswordChange, Result

NORMAL, WARNING = "Normal", "Warning"
_SILENT = ("SET LOCAL ROLE", "COMMENT ON")
"""Whose role runs a statement, and the marker, are no news to a person."""

_CHANGES = {
    PasswordChange.ROTATED: (
        NORMAL,
        "PasswordRotated",
        "A new password is published, the one before stays valid until the next",
    ),
    PasswordChange.SECRET_LOST: (
        WARNING,
        "SecretRecreated",
        "The app Secret was missing or unusable: a new password is published",
    ),
    PasswordChange.BROUGHT: (
        NORMAL,
        "PasswordChanged",
        "The password in `user.passwordSecretRef` counts now, the one before no longer",
    ),
    PasswordChange.ADMINISTRATORS: (
        NORMAL,
        "PasswordChanged",
        "The administrator's password, which is the app's in mode Shared, is published as the connection has it now; "
        "pods that run have the one before",
    ),
    PasswordChange.SAME_AGAIN: (
        WARNING,
        "SecretRecreated",
        "The app Secret was missing or unusable: it is published again, with the password of `user.passwordSecretRef` "
        "or, in mode Shared, the administrator's",
    ),
}


@dataclass(frozen=True, slots=True)
class Event:
    """An Event to post; `type` is `Normal` or `Warning`."""

    type: str
    reason: str
    note: str


def events(resource: Resource, result: Result, message: str) -> Iterator[Event]:
    """Yield the Events of a run; `message` is Ready's own. An unchanged storage has none."""
    before = ready_of(resource)
    if result.taken_over:
        yield Event(NORMAL, "Adopted", f"Taken over, with all rows: {', '.join(result.taken_over)}")
    if before is not None and before.status == "True" and result.failure is None:
        yield from _done(resource, result, before)
    else:
        yield from _created(result)
        if result.change is not None and result.failure is None:
            yield _changed(result.change)
    if result.rewritten and result.change is None and result.failure is None:
        keys = ", ".join(result.rewritten)
        note = f"The app Secret was written anew ({keys}); pods that run have what stood there when they were started"
        yield Event(NORMAL, "SecretUpdated", note)
    for sentence in result.ignored:
        yield Event(WARNING, "RequestIgnored", sentence)
    good = result.failure is None and not result.plan
    if before is None or (before.status, before.reason) != ("True" if good else "False", str(result.reason)):
        yield Event(NORMAL if good else WARNING, str(result.reason), message)
    for kind, name in result.held:
        if before is None or held_sentence(kind, name) not in before.message:
            yield Event(WARNING, "ServerHeld" if kind == SERVER_KIND else "SecretHeld", held_sentence(kind, name))


def ended(end: Ended) -> Iterator[Event]:
    """Yield the Events of a storage that is let go."""
    if dropped := [line for line in end.dropped if line.startswith(("DROP", "ALTER TABLE"))]:
        yield Event(NORMAL, "Dropped", " ".join(dropped))
    if end.kept:
        why = f" ({end.why})" if end.why else ""
        yield Event(NORMAL, "Kept", f"Left on the server{why}: {', '.join(end.kept)}")
    if end.missed:
        yield Event(
            WARNING,
            "NothingDropped",
            "Nothing of this storage was found where its connection leads to: an earlier try dropped it, or that is "
            "another server now, and what was made for it stands where it was, with all rows",
        )


def held_sentence(kind: str, name: str) -> str:
    """Return what is said of a connection Secret, or a CipherServer, whose deletion waits for this storage."""
    if kind == SERVER_KIND:
        return (
            f"CipherServer '{name}' is being deleted and is held for the storages that use it (finalizer "
            "`storage.cipher.dev/in-use`); it goes when they are deleted or name another server"
        )
    return (
        f"Secret '{name}' is being deleted and is held for the deletion of this storage (finalizer "
        "`storage.cipher.dev/in-use`); it goes when this storage is deleted, names another Secret or has "
        "`deletionPolicy: Retain`"
    )


def ready_of(resource: Resource) -> Condition | None:
    """Return the Ready condition that stands on a resource."""
    conditions = resource.status.get("conditions")
    found = (Condition.from_json(raw) for raw in conditions) if isinstance(conditions, list) else ()
    return next((condition for condition in found if condition and condition.type == ConditionType.READY), None)


def _done(resource: Resource, result: Result, before: Condition) -> Iterator[Event]:
    shown = [line for line in result.executed if not line.startswith(_SILENT)]
    lines = " ".join(shown)
    if result.change is not None:
        yield _changed(result.change, lines)
    elif shown and "revokePrevious" in result.handled:
        yield Event(NORMAL, "PreviousRevoked", f"The login that is not published may no longer log in; {lines}")
    elif shown and before.observed_generation == resource.generation:
        yield Event(WARNING, "DriftHealed", f"The server had drifted; {lines}")
    else:
        yield from _created(result)


def _changed(change: PasswordChange, lines: str = "") -> Event:
    """Return the Event of a password that is another one; `lines` are those that made it so, '' where they were told
    before."""
    type_, reason, note = _CHANGES[change]
    return Event(type_, reason, f"{note}; {lines}" if lines else note)


def _created(result: Result) -> Iterator[Event]:
    """Yield the Event of what a run made on the server, whether or not it came to its end."""
    if made := [line for line in result.executed if line.startswith("CREATE ")]:
        yield Event(NORMAL, "Created", " ".join(made))
