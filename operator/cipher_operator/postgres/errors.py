"""From an exception to a Failure: a fixed sentence, the remedy and the SQLSTATE, nothing of host or password."""

import re
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.words import without_addresses
from cipher_operator.postgres.error_table import (
    ENDED_AT_LOGIN,
    KEPT_FROM_FILES,
    LIBRARY,
    LOST,
    NO_DATABASE,
    NO_TLS_REFUSED,
    NOT_READY,
    READ_ONLY,
    SEVERAL_ADDRESSES,
    SOURCES,
    SQLSTATES,
    TIMEOUT,
    UNANSWERED,
    Meaning,
)
from cipher_operator.postgres.error_texts import TEXTS
from cipher_operator.postgres.foreign import ForeignFunction, foreign_function
from cipher_operator.postgres.startup import Refused, Unanswered

RACES = frozenset({"42710", "42P04", "42P06", "42P07", "23505", "40001", "40P01", "42704", "42P01", "3F000", "3D000"})
"""What a server says to the later of two writers: what is to be made stands, or what was seen is gone. Not 22012, the
fence: a marker that is no longer the one observed ends the run."""
RACES_WITHOUT_CODE = ("tuple concurrently", "cache lookup failed", "could not open relation with OID")
"""The same as internal errors (XX000), which no server translates."""
FENCE = "22012"
"""What it says to a writer whose ownership marker is no longer the one observed: a division by zero, on purpose."""

_NETWORK = re.compile(
    r"Connection refused|Network is unreachable|No route to host|Cannot assign requested address"
    r"|timeout expired|Connection timed out|Connection reset|server closed the connection"
)
_SAY_LITTLE = frozenset({"08P01", "28000", "0A000"})
"""SQLSTATEs that servers and poolers give to many things while connecting."""
_OF_STATEMENTS = frozenset({"21", "22", "23", "2F", "38", "39", "42", "P0"})
"""Classes of SQLSTATE that no login gives but by what runs within it: from 17 on, event triggers ON login."""
_REFUSES_TLS = re.compile(r"server does not support SSL")
_HASHES_ITSELF = re.compile(r"only (?:support|accept|allow|take)\w* .{0,40}plain-?\s?text", re.IGNORECASE)
_MAX_READ = 4_000
"""Characters of an error that are looked at. A server may send millions, of anybody's choice who may raise an error in
one of its databases, and to look for words with something between them takes the square of that."""
IN_ITS_LISTS = (
    "A pooler with lists of its own needs login and database in them (PgBouncer: `auth_query` or `auth_file`, and "
    "section [databases])."
)
UNKNOWN = Meaning(Reason.UNKNOWN, "The server reports an error that the operator does not know.{said}")


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was tried, for the wording. `app_login` says that it was the published login, not the admin's."""

    database: str | None = None
    login: str | None = None
    app_login: bool = False
    ca_given: bool = False
    several: bool = False
    """The host name has several addresses."""
    hidden: tuple[str, ...] = field(default=(), repr=False)
    """What the server's words must not tell: host and password."""


def classify(error: BaseException, attempt: Attempt | None = None) -> Failure:
    """Return the Failure for an error while connecting or in a session.

    The stage is CONNECTED where no session existed, else left open. A Failure comes back as it is.
    """
    if isinstance(error, Failure):
        return error
    facts = attempt or Attempt()
    code = _code(error)
    connecting = isinstance(error, Refused) or (attempt is not None and code is None)
    function = foreign_function(error)
    meaning = _meaning(error, code, connecting=connecting)
    if function is not None:
        meaning = _of_function(meaning, function, code)
    if code is None or (code.startswith("08") and meaning.sqlstate is not None):
        # A pooler gives all that it says the code of a broken protocol; what it means has a code of its own.
        code = meaning.sqlstate or code
    said = server_words(error, facts.hidden)
    happened = _fill(meaning.happened, facts, said)
    remedy = _fill(meaning.remedy or _advice(meaning.reason, facts), facts, "")
    return Failure(
        meaning.reason,
        f"{happened} {remedy}" + (f" (SQLSTATE {code})" if code else ""),
        stage=ConditionType.CONNECTED if connecting else None,
        sqlstate=code,
    )


def is_race(error: BaseException) -> bool:
    """Return whether another writer was faster: observe again and try at once. A fence that failed is no race."""
    if not isinstance(error, psycopg.Error) or foreign_function(error) is not None:
        return False
    if error.sqlstate == "XX000":
        return any(words in _text(error) for words in RACES_WITHOUT_CODE)
    return error.sqlstate in RACES


def is_fence(error: BaseException) -> bool:
    """Return whether the ownership marker was no longer the one observed: the run is over."""
    return isinstance(error, psycopg.Error) and error.sqlstate == FENCE and foreign_function(error) is None


def hashes_itself(error: BaseException) -> bool:
    """Return whether the server refused a verifier because it hashes passwords itself (Neon, Lakebase).

    Its control plane says so when the transaction commits, as an internal error or with a status of its own.
    """
    return isinstance(error, psycopg.Error) and _HASHES_ITSELF.search(_text(error)) is not None


def server_words(error: BaseException, hidden: tuple[str, ...] = ()) -> str:
    """Return the server's own words, cut to one printable line without addresses and without `hidden`."""
    if isinstance(error, Refused):
        return without_addresses(error.said, hidden)
    return without_addresses(error.diag.message_primary if isinstance(error, psycopg.Error) else None, hidden)


def is_kept_from_files(error: psycopg.Error) -> bool:
    """Return whether the operating system keeps the server from its own files: the SQLSTATE is that of a privilege."""
    return foreign_function(error) is None and _meaning(error, error.sqlstate, connecting=False) is KEPT_FROM_FILES


def leads_on(error: BaseException) -> bool:
    """Return whether another address of the same name may do better: no server, one that starts, or a reader.

    Never after a login was refused: it would be refused again, and counted.
    """
    if isinstance(error, psycopg.errors.ConnectionTimeout):
        return True
    if (code := _code(error)) is not None:
        return code == NOT_READY.sqlstate
    return _NETWORK.search(_text(error)) is not None or _by_text(_text(error)) in {NOT_READY, READ_ONLY}


def may_be_behind(error: BaseException) -> bool:
    """Return whether a server let the login in and has no such database: a standby learns of one a moment later."""
    return _meaning(error, _code(error), connecting=True) is NO_DATABASE


def tells_most(errors: list[psycopg.Error]) -> psycopg.Error:
    """Return the one to tell of, where every address failed: a reader says more than a server that is away, and a
    database that is missing is looked for by way of another one, which finds the reader then."""
    meanings = (NO_DATABASE, READ_ONLY, NOT_READY)
    for meaning in meanings:
        for error in errors:
            if _meaning(error, _code(error), connecting=True) is meaning:
                return error
    return errors[-1]


def reached_server(error: BaseException) -> bool:
    """Return whether a connection was made before it failed."""
    return _code(error) is not None or not (
        isinstance(error, psycopg.errors.ConnectionTimeout) or _NETWORK.search(_text(error))
    )


def refuses_tls(error: BaseException) -> bool:
    """Return whether the server said that it has no TLS."""
    return _REFUSES_TLS.search(_text(error)) is not None


def refuses_plaintext(error: BaseException) -> bool:
    """Return whether the server said that it wants TLS, or may have said so.

    A server that keeps us out by its pg_hba.conf does not say, in a language that the table does not know, for which
    reason: its SQLSTATE counts.
    """
    meaning = _by_text(_text(error))
    return meaning is NO_TLS_REFUSED or (meaning is None and _code(error) == NO_TLS_REFUSED.sqlstate)


def _text(error: BaseException) -> str:
    return str(error)[:_MAX_READ]


def _code(error: BaseException) -> str | None:
    if isinstance(error, Refused):
        return error.code
    return error.sqlstate if isinstance(error, psycopg.Error) else None


def _meaning(error: BaseException, code: str | None, *, connecting: bool) -> Meaning:
    if isinstance(error, (psycopg.errors.ConnectionTimeout, TimeoutError)):
        return UNANSWERED if isinstance(error, Unanswered) else TIMEOUT
    text = _text(error)
    if code is not None and isinstance(error, psycopg.Error) and (meaning := _by_source(error, code)) is not None:
        return meaning
    if code is not None and code in SQLSTATES:
        # A name in the text may look like the words of another meaning, so the code counts where it says enough.
        if connecting and code in _SAY_LITTLE and (meaning := _by_text(text, code) or _by_text(text)) is not None:
            return meaning
        return _in_words(code, text, connecting=connecting)
    if code is not None and code.startswith("08"):
        return LOST
    return _by_text(text) or _by_class(error, code)


def _by_source(error: psycopg.Error, code: str) -> Meaning | None:
    """Return what a SQLSTATE means by the place in the server's source that reports it."""
    diag = error.diag
    places = (error.file,) if isinstance(error, Refused) else (diag.source_function, diag.source_file)
    return next((SOURCES[code, place] for place in places if place and (code, place) in SOURCES), None)


def _by_text(text: str, code: str | None = None) -> Meaning | None:
    """Return the first meaning whose text occurs, of those with the SQLSTATE if one is given."""
    return next(
        (meaning for pattern, meaning in TEXTS if code in {None, meaning.sqlstate} and pattern.search(text)), None
    )


def _of_function(meaning: Meaning, function: ForeignFunction, code: str | None) -> Meaning:
    """Return the meaning of an error inside a function of this database that our statement set off."""
    if meaning.reason is Reason.UNKNOWN or code == FENCE:
        return Meaning(Reason.UNKNOWN, function.happened + "{failed}", function.remedy(code))
    remedy = function.remedy(code) if code == "42501" else meaning.remedy
    return Meaning(meaning.reason, function.happened + "{failed}", remedy)


def _by_class(error: BaseException, code: str | None) -> Meaning:
    if isinstance(error, OSError):
        return LOST
    if isinstance(error, psycopg.ProgrammingError) and code is None:
        return Meaning(Reason.INVALID_URL, "libpq does not take one of the connection parameters.")
    if isinstance(error, Refused) and (code or "")[:2] in _OF_STATEMENTS:
        return ENDED_AT_LOGIN
    if is_race(error):
        return Meaning(
            Reason.UNKNOWN,
            "Others write the same objects at the same time.",
            "Wait: it is tried again. If it lasts, look at the server's log.",
        )
    return UNKNOWN


def _in_words(code: str, text: str, *, connecting: bool) -> Meaning:
    """Return the meaning of a SQLSTATE that stands for more than one thing: the text decides, if it is known.

    Where it is not, the server may speak another language, and the likeliest meaning counts.
    """
    if (meaning := _by_text(text, code)) is not None:
        return meaning
    if code == "08P01":
        return UNKNOWN if connecting else LOST
    if code == "55000" and not connecting:
        return UNKNOWN
    if code in {"0A000", "58P01"} and "extension" not in text:
        return LIBRARY if connecting and code == "58P01" else UNKNOWN
    if code == "57014" and "user request" in text:
        return Meaning(Reason.DISCONNECTED, "The statement was cancelled.")
    return SQLSTATES[code]


def _advice(reason: Reason, facts: Attempt) -> str:
    if reason is Reason.AUTHENTICATION_FAILED and facts.app_login:
        return IN_ITS_LISTS
    if reason is Reason.READ_ONLY_SERVER and facts.several:
        return SEVERAL_ADDRESSES
    return reason.advice


def _fill(template: str, facts: Attempt, said: str) -> str:
    login = f" `{_shown(facts.login)}`" if facts.login else ""
    who = f"the published login{login}" if facts.app_login else f"the admin login{login}"
    database = _shown(facts.database) if facts.database else ""
    values = {
        "{who}": who,
        "{Who}": who[0].upper() + who[1:],
        "{database}": f"`{database}`" if database else "named in the spec",
        "{database_sql}": _identifier(facts.database) if facts.database else "<database>",
        "{login_sql}": _identifier(facts.login) if facts.login else "<login>",
        "{trusted}": "the one in `spec.connection.caRef`" if facts.ca_given else "known to the operator",
        "{said}": f" The server says: {said}." if said else "",
        "{failed}": f" failed: {said}." if said else " failed.",
    }
    return re.sub(r"\{[A-Za-z_]+\}", lambda match: values.get(match[0], match[0]), template)


def _shown(name: str) -> str:
    return "".join(char for char in name if char.isprintable() and char != "`")[:63]


def _identifier(name: str) -> str:
    return sql.Identifier("".join(char for char in name if char.isprintable())).as_string(None)
