"""The proof that a published login works: it does what Cipher does, and leaves no trace."""

import secrets
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core import remedies
from cipher_operator.core.desired import Desired
from cipher_operator.core.plan.settings import (
    LIMITS,
    READ_ONLY,
    Place,
    Setting,
    ending,
    is_on,
    milliseconds,
    nearest,
    said,
)
from cipher_operator.core.sql.composing import quoted
from cipher_operator.core.words import without_addresses
from cipher_operator.postgres.errors import Attempt, classify, is_kept_from_files, server_words
from cipher_operator.postgres.foreign import foreign_function
from cipher_operator.postgres.proof_sql import (
    PREFIX,
    STATEMENT_MS,
    Statement,
    life_of_cipher,
    look,
    settings_of_session,
)
from cipher_operator.postgres.session import Session

_SEPARATOR, _ROLLBACK, _AGAIN = sql.SQL("; "), sql.SQL("ROLLBACK"), sql.SQL("ROLLBACK; BEGIN")
_PLACES = {
    (True, True): Place.LOGIN_HERE,
    (True, False): Place.LOGIN,
    (False, True): Place.DATABASE,
    (False, False): Place.ALL,
}
_ASKED = frozenset({"role", "search_path", READ_ONLY, *LIMITS})
_ENDED_BY = {"57014": "statement_timeout", "25P04": "transaction_timeout", "57P05": "idle_session_timeout"}
_OF_THE_SERVER = frozenset({"08", "25", "40", "53", "57", "58", "XX"})
"""Classes of SQLSTATE that say nothing against the login or what is in the database."""
_BUSY = frozenset({"55P03", "40P01"})
"""A lock was not free."""
_DEFAULT_PATH = "public"


async def prove_login(session: Session, desired: Desired, login: str) -> float:
    """Do what Cipher does, in a session opened as it opens its own, and take all of it back. Two round trips, and
    two more where a lock is not free. Return when the server that did it was started.

    Nothing sets role or search_path: where the login's own settings lead, and which limits they set, is what is proven.
    Rolled back, it leaves dead rows of some kilobytes, which vacuum takes, and no more: no row was ever to be seen, and
    none of Cipher's tables has a sequence. Raises Failure, stage AccessGranted: AccessDenied for the login and its
    settings, SchemaConflict for what others put on the tables, else what the server says of itself.
    """
    try:
        seen = (await session.execute(look(desired.schema)))[-1][0]
        database, acting, schema, astray, owns, indexes, started = seen
        if database != desired.database:
            raise _failure(Reason.ACCESS_DENIED, _other_database(desired, database))
        # In Shared mode whoever owns the tables may be acted as: a tool that alternates users makes one such a member.
        if acting != desired.owner and not (desired.shared and owns):
            raise _failure(Reason.ACCESS_DENIED, await _other_role(session, desired, login, acting))
        if schema != desired.schema:
            raise _failure(Reason.ACCESS_DENIED, await _other_schema(session, desired, login, schema))
        if astray:
            raise _failure(Reason.UNKNOWN, f"table '{astray[0]}' is gone again; it is made anew")
        lived = await _live(session, indexes, owns=owns)
    except psycopg.Error as error:
        raise await _explained(session, desired, login, error) from None
    for statement, rows in lived:
        if statement.gives is not None and tuple(rows) != statement.gives:
            what = "does not come back as it was written" if statement.gives else "stays when it is deleted"
            raise _failure(
                Reason.SCHEMA_CONFLICT,
                f"what Cipher writes to table '{statement.table}' {what}; drop the trigger, rule or policy that does "
                "that",
            )
    return float(started)


async def _live(session: Session, indexes: list[str], *, owns: bool) -> list[tuple[Statement, list[tuple[Any, ...]]]]:
    """Return what Cipher's statements gave. Raises psycopg.Error.

    A writer that takes its time, VACUUM or the build of an index has a lock for which CREATE INDEX waits, in Cipher for
    as long as it takes. Besides the lock it asks for ownership alone, which was seen: without the lock, that counts.
    """
    key = f"{PREFIX}{secrets.token_hex(8)}:😀"
    for last, present in ((not owns, indexes), (True, [])):
        statements = life_of_cipher(key, present)
        try:
            results = await session.execute(_SEPARATOR.join([each.text for each in statements]))
        except psycopg.Error as error:
            if last or error.sqlstate not in _BUSY:
                raise
            await session.execute(_AGAIN)
        else:
            return list(zip(statements, results, strict=True))
    raise AssertionError("the last try raises or returns")


def _other_database(desired: Desired, database: str) -> str:
    found = "another one" if desired.tenant is not None else f"'{database}'"
    return (
        f"database '{desired.database}' was asked for, and {found} is what answers: a connection pooler with a list of "
        "its own leads there. Let its entry name the same database (PgBouncer: `dbname` in section [databases])"
    )


async def _other_role(session: Session, desired: Desired, login: str, acting: str) -> str:
    setting = (await _settings(session)).get("role")
    what = f"login '{login}' acts as role '{acting}', must act as '{desired.owner}'"
    if setting is None or setting.place is Place.SERVER:
        remedy = f"ALTER ROLE {quoted(login)} SET role = {quoted(desired.owner)}"
    elif setting.value == desired.owner:
        remedy = f"GRANT {quoted(desired.owner)} TO {quoted(login)}"
    else:
        what = f"{what}: {said(setting, desired, login)}"
        remedy = ending(setting, desired, login)
    return f"{what}; {remedies.run(desired.tenant, remedy)}"


async def _other_schema(session: Session, desired: Desired, login: str, schema: str | None) -> str:
    setting = (await _settings(session)).get("search_path")
    works = f"works in schema '{schema}'" if schema is not None else "finds no schema to work in"
    what = f"login '{login}' {works}, must work in '{desired.schema}'"
    if schema is not None and setting is not None and setting.value in {desired.schema, quoted(desired.schema)}:
        # What the login has is right, and its session has not got it.
        return (
            f"{what}: what stands between sets another `search_path` than the login has. Take that from the connection "
            "pooler (PgBouncer: `connect_query`, or sessions that `server_reset_query` does not reset)"
        )
    if setting is not None and setting.place is not Place.SERVER:
        what = f"{what}: {said(setting, desired, login)}"
        if desired.schema == _DEFAULT_PATH:
            return f"{what}; {remedies.run(desired.tenant, ending(setting, desired, login))}"
    remedy = (
        f"ALTER ROLE {quoted(login)} IN DATABASE {quoted(desired.database)} SET search_path = {quoted(desired.schema)}"
    )
    return f"{what}; {remedies.run(desired.tenant, remedy)}"


async def _explained(session: Session, desired: Desired, login: str, error: psycopg.Error) -> Failure:
    """Return what an error means, with the setting behind it where there is one."""
    code = error.sqlstate or ""
    name = READ_ONLY if code == "25006" else _ENDED_BY.get(code)
    if name is not None:
        setting = None if session.closed else (await _settings(session)).get(name)
        if setting is not None and _explains(setting):
            reason = Reason.READ_ONLY_SERVER if name == READ_ONLY else Reason.ACCESS_DENIED
            remedy = remedies.run(desired.tenant, ending(setting, desired, login))
            text = f"{said(setting, desired, login)} ends what Cipher does; {remedy}"
            return _failure(reason, text, code)
        if setting is None and name != READ_ONLY:
            remedy = remedies.run(desired.tenant, f"ALTER ROLE {quoted(login)} SET {name} = 0")
            text = f"`{name}` ends what Cipher does with login '{login}'; {remedy}"
            return _failure(Reason.ACCESS_DENIED, text, code)
    if code[:2] in _OF_THE_SERVER or code == "55P03" or not code or is_kept_from_files(error):
        failure = classify(error, Attempt(desired.database, login, app_login=True))
        return _failure(failure.reason, failure.message, failure.sqlstate)
    words = server_words(error)
    if code in {"55000", "42P10"}:
        # Of a publication, or of a key that is no arbiter: what is wrong with it stands here alone.
        words = ". ".join(
            filter(None, (words, without_addresses(error.diag.message_detail or error.diag.message_hint)))
        )
    if (function := foreign_function(error)) is not None:
        words = f"{words} (in function {function.name})"
    what = f"Cipher's own statements fail with login '{login}': {words}"
    if code == "42501":
        return _failure(
            Reason.ACCESS_DENIED,
            f"{what}. Grant it that, or drop the trigger, policy or default that asks for it",
            code,
        )
    return _failure(
        Reason.SCHEMA_CONFLICT,
        f"{what}. Change or drop what says so: a constraint, index, column, trigger, rule, publication or event "
        "trigger that Cipher did not make",
        code,
    )


def _explains(setting: Setting) -> bool:
    """Return whether a setting is what ended a statement, rather than the proof's own limit or the server's state."""
    if setting.name == READ_ONLY:
        return is_on(setting.value)
    return 0 < (milliseconds(setting.value) or 0) <= STATEMENT_MS


async def _settings(session: Session) -> Mapping[str, Setting]:
    """Return what the session began with; nothing where the server does not say it (any more)."""
    try:
        # What failed may have left its transaction open.
        await session.execute(_ROLLBACK)
        results = await session.execute(settings_of_session(_ASKED))
        values, placed = results[-1][0]
        await session.execute(_ROLLBACK)
    except psycopg.Error:
        return {}
    by_place = {_PLACES[of_role, in_database]: config for of_role, in_database, config in placed}
    return nearest({Place.SERVER: [f"{name}={value}" for name, value in values.items()], **by_place})


def _failure(reason: Reason, message: str, sqlstate: str | None = None) -> Failure:
    return Failure(reason, message, stage=ConditionType.ACCESS_GRANTED, sqlstate=sqlstate)
