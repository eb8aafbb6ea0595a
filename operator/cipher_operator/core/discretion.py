"""What a tenant of a CipherServer reads of a run: what is about his own storage, in words that are for him.

Closed unless it is known to be his: the way in, the administrator's login and others' objects are for whoever runs the
server, and stand in the operator's log.
"""

import re
from collections.abc import Iterable

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import ANNOTATION_FORCE_DELETE
from cipher_operator.api.reasons import Reason
from cipher_operator.core.sql.composing import quoted

OWN = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.LIMIT_EXCEEDED,
        Reason.SERVER_NOT_AVAILABLE,
        Reason.DATABASE_MISSING,
        Reason.DATABASE_LOST,
        Reason.TARGET_CHANGED,
        Reason.SCHEMA_CONFLICT,
        Reason.DELETION_BLOCKED,
        Reason.BUILDING_INDEX,
        Reason.LOCK_TIMEOUT,
    }
)
"""Reasons whose messages are about the storage itself wherever they arise."""
OF_THE_LOGIN = frozenset(
    {
        Reason.AUTHENTICATION_FAILED,
        Reason.ACCESS_DENIED,
        Reason.BLOCKED_ADDRESS,
        Reason.CONNECTION_REFUSED,
        Reason.CONNECT_TIMEOUT,
        Reason.DISCONNECTED,
        Reason.DNS_FAILURE,
        Reason.NOT_POSTGRES,
        Reason.READ_ONLY_SERVER,
        Reason.SECRET_KEY_MISSING,
        Reason.SECRET_NOT_FOUND,
        Reason.TLS_HOSTNAME_MISMATCH,
        Reason.TLS_NOT_SUPPORTED,
        Reason.TLS_REQUIRED,
        Reason.TLS_UNTRUSTED,
        Reason.TOO_MANY_CONNECTIONS,
    }
)
"""Reasons that, at the stage AccessGranted, only the storage's own login and its password have: in its test, at the
pods' door too."""
SAID_BY_THE_SERVER: dict[Reason, str] = {
    Reason.INVALID_SPEC: "the server does not take a name or an extension that the spec asks for: choose another name, "
    "or take the extension off `spec.extensions`",
    Reason.DATABASE_MISSING: "a database that the operator needs is not there",
    Reason.DATABASE_LOST: "the server says that the database of this storage is lost; nothing was written",
    Reason.DELETION_BLOCKED: "other objects on the server depend on what this storage made; or let go of everything on "
    f'the server with annotation `{ANNOTATION_FORCE_DELETE}: "true"`',
    Reason.LOCK_TIMEOUT: "another session is in the way of what this storage needs; it is tried again",
}
"""What a failure means whose text has the server's own words, in an administrator's session: these name anything."""
ADMINISTRATOR = "<administrator>"
"""In SQL that a tenant reads, for the login of the CipherServer."""
_ADMINISTRATORS = re.compile(
    r"connection (?:Secret|URL)|`spec\.connection(?!\.serverRef)|\bsecretRef|\b[Aa]dmin(?:'s)? (?:login|role|that)"
    r"|may not manage|\badministrator|\bsuperuser|\bpg_hba|\bin(?:to)? the Secret\b|\bthe Secret back\b"
)
"""Words of remedies that only an administrator of the server can carry out."""
_QUOTES = "'\"`«»„“”"


def unavailable(server: str) -> Failure:
    """Return what is said of a CipherServer that does not exist and of one that a namespace may not use: the same."""
    return Failure(
        Reason.SERVER_NOT_AVAILABLE,
        f"CipherServer '{server}' (`spec.connection.serverRef.name`) is not available to this namespace: there is none "
        "of that name, or its `allowedNamespaces` leaves this namespace out. Correct the name, or ask whoever runs it; "
        "this storage goes on at once",
        stage=ConditionType.CONNECTED,
    )


def unusable(server: str) -> Failure:
    """Return what is said to tenants of a CipherServer whose own spec cannot be worked with."""
    return Failure(
        Reason.SERVER_NOT_AVAILABLE,
        f"CipherServer '{server}' cannot be used as it is: its own status says why, to whoever runs it",
        stage=ConditionType.CONNECTED,
    )


def discreet(failure: Failure, server: str, hidden: Iterable[str] = ()) -> Failure:
    """Return a failure as a tenant may read it: what is about the way in, or about others' objects, is for whoever runs
    the CipherServer, and stands in its status and the operator's log. `hidden` are names that no text may have."""
    tested = failure.stage is ConditionType.ACCESS_GRANTED and failure.reason in OF_THE_LOGIN
    asked = failure.reason is not Reason.DATABASE_MISSING or failure.stage is not ConditionType.ACCESS_GRANTED
    if failure.sqlstate is not None and failure.reason in SAID_BY_THE_SERVER and asked:
        what = SAID_BY_THE_SERVER[failure.reason]
        return failure.saying(f"{what}. Whoever runs CipherServer '{server}' finds the cause in the operator's log")
    if (
        failure.reason in {Reason.CONFLICT, Reason.ALREADY_EXISTS}
        and failure.stage is not ConditionType.SECRET_PUBLISHED
    ):
        return failure.saying(
            "a role, database or table of the names that this storage uses is there already and is not its own; "
            "nothing was written. Create a new CipherStorage with another name"
        )
    if failure.reason in {Reason.LIMIT_EXCEEDED, Reason.SERVER_NOT_AVAILABLE}:
        return failure
    own = failure.reason in OWN or tested or failure.stage is ConditionType.SECRET_PUBLISHED
    return failure if own and is_discreet(failure.message, hidden) else withheld(failure, server)


def withheld(failure: Failure, server: str) -> Failure:
    """Return a failure whose cause is for whoever runs the CipherServer."""
    return failure.saying(
        f"CipherServer '{server}' cannot be used: {failure.reason}. Whoever runs it finds the cause in its status and "
        "in the operator's log; this storage goes on by itself"
    )


def told_to_tenants(warnings: Iterable[str], server: str, hidden: Iterable[str]) -> tuple[str, ...]:
    """Return warnings as a tenant may read them; one sentence stands for all those that are not for him."""
    given, names = tuple(warnings), tuple(hidden)
    told = tuple(text for text in given if is_discreet(text, names))
    if len(told) == len(given):
        return told
    return (
        *told,
        f"something on the server must be mended before it keeps this storage from working: whoever runs CipherServer "
        f"'{server}' finds it in the operator's log",
    )


def is_discreet(text: str, hidden: Iterable[str]) -> bool:
    """Return whether a text has no remedy that only an administrator can carry out, and none of these names."""
    return _ADMINISTRATORS.search(text) is None and not any(_names(text, name) for name in hidden if name)


def masked(lines: Iterable[str], login: str) -> tuple[str, ...]:
    """Return SQL without the name of the administrator's login."""
    return tuple(line.replace(quoted(login), ADMINISTRATOR) for line in lines)


def _names(text: str, name: str) -> bool:
    """Return whether a text names something. Names stand in quotes; what is no word, such as a host, tells anyway."""
    if not re.fullmatch(r"\w+", name):
        return name in text
    return re.search(rf"[{_QUOTES}]{re.escape(name)}[{_QUOTES}]|:{re.escape(name)}\b", text) is not None
