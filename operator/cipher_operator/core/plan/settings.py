"""Settings of databases and roles that keep Cipher from working, or may: whose they are, and what ends them.

A session takes each setting from the nearest of five places (ALTER ROLE in the manual): the login in this database,
the login, this database, all roles, the server's configuration.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core import remedies
from cipher_operator.core.desired import Desired
from cipher_operator.core.observed import Observed, Role
from cipher_operator.core.sql import steps
from cipher_operator.core.sql.composing import quoted
from cipher_operator.core.sql.step import Step

READ_ONLY = "default_transaction_read_only"
IDLE_SESSION = "idle_session_timeout"
SHORTEST_MS = 100.0
"""Below this a limit ends Cipher's own statements at its start on a busy server."""
RISKY_MS: Mapping[str, float] = {
    "statement_timeout": 5_000.0,
    "transaction_timeout": 5_000.0,
    "idle_in_transaction_session_timeout": 5_000.0,
    "lock_timeout": 1_000.0,
}
"""Below this a long history, or a pod that stops for a moment, meets the limit."""
LIMITS = frozenset({*RISKY_MS, IDLE_SESSION})
_HARMLESS: Mapping[str, str] = {
    **dict.fromkeys(LIMITS, "0"),
    READ_ONLY: "off",
    "exit_on_error": "off",
    "synchronous_commit": "on",
    "default_transaction_isolation": "'read committed'",
}
"""What a role is given where the server's configuration says otherwise."""

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1_000.0, "min": 60_000.0, "h": 3_600_000.0, "d": 86_400_000.0}
# In one way only: a server may say that a setting is millions of digits.
_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(?:(us|ms|s|min|h|d)\s*)?")
_TRUE = frozenset({"on", "true", "tru", "tr", "t", "yes", "ye", "y", "1"})


class Place(Enum):
    """Where a setting is made, the nearest first."""

    LOGIN_HERE = 1
    LOGIN = 2
    DATABASE = 3
    ALL = 4
    SERVER = 5


@dataclass(frozen=True, slots=True)
class Setting:
    """What sessions of a login take, and from where."""

    name: str
    value: str
    place: Place


def milliseconds(value: str) -> float | None:
    """Return a time setting in milliseconds, its unit where it names none; None for what is none."""
    found = _DURATION.fullmatch(value)
    return None if found is None else float(found[1]) * _UNITS[found[2] or "ms"]


def is_on(value: str) -> bool:
    """Return whether a boolean setting is on, in any of PostgreSQL's spellings."""
    return value.strip().lower() in _TRUE


def effective(observed: Observed, login: str) -> dict[str, Setting]:
    """Return what sessions of this login begin with in the desired database, as far as the catalog says it."""
    role = observed.roles.get(login)
    own: Mapping[str, tuple[str, ...]] = role.settings if role is not None else {}
    return nearest(
        {
            Place.SERVER: [f"{name}={value}" for name, value in observed.server.settings.items()],
            Place.ALL: observed.settings.get("", ()),
            Place.DATABASE: observed.settings.get("=", ()),
            Place.LOGIN: own.get("", ()),
            Place.LOGIN_HERE: own.get("=", ()),
        }
    )


def nearest(settings: Mapping[Place, Iterable[str]]) -> dict[str, Setting]:
    """Return of settings, each `name=value`, those that win, by name."""
    return {
        name: Setting(name, value, place)
        for place in sorted(settings, key=lambda place: -place.value)
        for name, value in map(_split, settings[place])
    }


def breaks(name: str, value: str) -> bool:
    """Return whether Cipher cannot work with this setting."""
    if name in LIMITS:
        limit = milliseconds(value)
        return limit is not None and 0 < limit < SHORTEST_MS
    return name in {READ_ONLY, "exit_on_error"} and is_on(value)


def reset_settings(role: Role, database: str) -> list[Step]:
    """Return what takes settings off a login of ours that are drift: those that break Cipher, and the end of idle
    sessions, with which Cipher's whole process ends (it has no handler for the error of an idle connection)."""
    return [
        steps.reset_setting(role.name, name, place)
        for scope, place in (("", None), ("=", database))
        for name, value in map(_split, role.settings.get(scope, ()))
        if breaks(name, value) or (name == IDLE_SESSION and milliseconds(value) != 0)
    ]


def refuse_settings(desired: Desired, observed: Observed, login: str) -> None:
    """Raise AccessDenied or ReadOnlyServer for a setting that breaks Cipher and is not ours to take back."""
    for setting in effective(observed, login).values():
        ours = not desired.shared and setting.place in {Place.LOGIN, Place.LOGIN_HERE}
        if breaks(setting.name, setting.value) and not ours:
            raise Failure(
                Reason.READ_ONLY_SERVER if setting.name == READ_ONLY else Reason.ACCESS_DENIED,
                f"{said(setting, desired, login)} keeps Cipher from working; "
                f"{remedies.run(desired.tenant, ending(setting, desired, login))}",
                stage=ConditionType.ACCESS_GRANTED,
            )


def read_only_setting(desired: Desired, observed: Observed) -> str:
    """Return, with what ends it, the setting of this database or of all roles that makes sessions read-only; '' where
    there is none."""
    here = observed.settings.get("=", ()) if observed.local is not None else ()
    found = nearest({Place.DATABASE: here, Place.ALL: observed.settings.get("", ())}).get(READ_ONLY)
    if found is None or not is_on(found.value):
        return ""
    remedy = remedies.run(desired.tenant, ending(found, desired, desired.user))
    return f"; {said(found, desired, desired.user)}: where nobody needs it any more, {remedy}"


def risky_settings(desired: Desired, observed: Observed, login: str) -> Iterator[str]:
    """Yield a warning for each setting that lets Cipher work, and not always."""
    for _, setting in sorted(effective(observed, login).items()):
        if (risk := _risk(setting)) is not None:
            ours = not desired.shared and setting.place in {Place.LOGIN, Place.LOGIN_HERE}
            if not (setting.name == IDLE_SESSION and ours):
                remedy = remedies.run(desired.tenant, ending(setting, desired, login))
                yield f"{said(setting, desired, login)} {risk}; {remedy}"


def said(setting: Setting, desired: Desired, login: str) -> str:
    """Return the setting with its value and where it is made."""
    places = {
        Place.LOGIN_HERE: f"login '{login}' in database '{desired.database}'",
        Place.LOGIN: f"login '{login}'",
        Place.DATABASE: f"database '{desired.database}'",
        Place.ALL: "all roles",
        Place.SERVER: "the server",
    }
    return f"`{setting.name} = {_shown(setting.value)}` of {places[setting.place]}"


def ending(setting: Setting, desired: Desired, login: str) -> str:
    """Return the SQL that ends a setting; of the server's configuration, what overrides it for the login."""
    name, role, database = setting.name, quoted(login), quoted(desired.database)
    sql = {
        Place.LOGIN_HERE: f"ALTER ROLE {role} IN DATABASE {database} RESET {name}",
        Place.LOGIN: f"ALTER ROLE {role} RESET {name}",
        Place.DATABASE: f"ALTER DATABASE {database} RESET {name}",
        Place.ALL: f"ALTER ROLE ALL RESET {name}",
        Place.SERVER: f"ALTER ROLE {role} SET {name} = {_HARMLESS.get(name, 'DEFAULT')}",
    }[setting.place]
    # Where the setting holds for whoever runs that too, it would be refused by itself.
    return f"BEGIN READ WRITE; {sql}; COMMIT" if name == READ_ONLY else sql


def _risk(setting: Setting) -> str | None:
    name, value = setting.name, setting.value
    if name == IDLE_SESSION:
        limit = milliseconds(value)
        return "ends Cipher's idle connections, and Cipher with them" if limit else None
    if name in RISKY_MS:
        limit = milliseconds(value)
        return "may end what Cipher is doing" if limit is not None and 0 < limit < RISKY_MS[name] else None
    if name == "synchronous_commit" and value.strip().lower() in {"off", "false", "no", "0"}:
        return "loses the last writes when the server crashes"
    if name == "default_transaction_isolation" and value.strip().lower() in {"serializable", "repeatable read"}:
        return "makes writes of two pods at once fail, which Cipher does not try again"
    return None


def _split(setting: str) -> tuple[str, str]:
    name, _, value = setting.partition("=")
    return name, value


def _shown(value: str) -> str:
    return "".join(char for char in value if char.isprintable() and char != "`")[:40]
