"""From an exception to a Failure: a fixed sentence, the remedy and the SQLSTATE, nothing of host or password."""

import re
from dataclasses import dataclass

import psycopg
from psycopg import sql

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.postgres.error_table import LOST, NO_TLS_REFUSED, SOURCES, SQLSTATES, TEXTS, TIMEOUT, Meaning

RACES = frozenset({"42710", "42P04", "42P06", "42P07", "23505", "40001", "40P01", "42704", "42P01", "3F000", "3D000"})
"""What a server says to the later of two writers: what is to be made stands, or what was seen is gone. Not 22012, the
fence: a marker that is no longer the one observed ends the run."""
RACES_WITHOUT_CODE = ("tuple concurrently", "cache lookup failed", "could not open relation with OID")
"""The same as internal errors (XX000), which no server translates."""
MAX_SAID = 200

_SERVER_WORDS = frozenset({"42501", "2BP01", "58P01", "0A000"})
_NETWORK = re.compile(
    r"Connection refused|Network is unreachable|No route to host|Cannot assign requested address"
    r"|timeout expired|Connection timed out|Connection reset|server closed the connection"
)
_REFUSES_TLS = re.compile(r"server does not support SSL")
_NOT_FOR_STATUS = re.compile(r"\S*(?:://|@|\$)\S*|\b\d{1,3}(?:\.\d{1,3}){3}\b|\S*:\S*:\S*")
_NOT_YET = "The server reports an error that the operator does not know."


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was tried, for the wording. `app_login` says that it was the published login, not the admin's."""

    database: str | None = None
    login: str | None = None
    app_login: bool = False
    ca_given: bool = False


def classify(error: BaseException, attempt: Attempt | None = None, *, sqlstate: str | None = None) -> Failure:
    """Return the Failure for an error while connecting or in a session.

    While connecting, libpq gives a text and no SQLSTATE; `sqlstate` is for a caller that learnt it otherwise.
    The stage is CONNECTED where no session existed, else left open. A Failure comes back as it is.
    """
    if isinstance(error, Failure):
        return error
    facts = attempt or Attempt()
    code = sqlstate or (error.sqlstate if isinstance(error, psycopg.Error) else None)
    in_session = isinstance(error, psycopg.Error) and error.sqlstate is not None
    meaning = _meaning(error, code, connecting=attempt is not None and not in_session)
    code = code or meaning.sqlstate
    happened = _fill(meaning.happened, facts, server_words(error) if code in _SERVER_WORDS else "")
    remedy = _fill(meaning.remedy or _advice(meaning.reason, facts), facts, "")
    connecting = attempt is not None and not in_session
    return Failure(
        meaning.reason,
        f"{happened} {remedy}" + (f" (SQLSTATE {code})" if code else ""),
        stage=ConditionType.CONNECTED if connecting else None,
        sqlstate=code,
    )


def is_race(error: BaseException) -> bool:
    """Return whether another writer was faster: observe again and try at once."""
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate == "XX000":
        return any(words in str(error) for words in RACES_WITHOUT_CODE)
    return error.sqlstate in RACES


def is_network_error(error: BaseException) -> bool:
    """Return whether a connection failed before the server said a word: another address may do better."""
    return isinstance(error, psycopg.errors.ConnectionTimeout) or _NETWORK.search(str(error)) is not None


def refuses_tls(error: BaseException) -> bool:
    """Return whether the server said that it has no TLS."""
    return _REFUSES_TLS.search(str(error)) is not None


def refuses_plaintext(error: BaseException, sqlstate: str | None = None) -> bool:
    """Return whether the server said that it wants TLS, or may have said so.

    `sqlstate` is for a text that `is_known` does not know: that of a server which keeps us out by its pg_hba.conf
    does not say for which reason.
    """
    return _by_text(str(error)) is NO_TLS_REFUSED or (sqlstate == NO_TLS_REFUSED.sqlstate and not is_known(error))


def is_known(error: BaseException) -> bool:
    """Return whether an error while connecting has a text of the table; a server's own words in German have not."""
    return _by_text(str(error)) is not None


def _meaning(error: BaseException, code: str | None, *, connecting: bool) -> Meaning:
    if isinstance(error, (psycopg.errors.ConnectionTimeout, TimeoutError)):
        return TIMEOUT
    text = str(error)
    if code == "42501" and isinstance(error, psycopg.Error) and error.diag.source_function in SOURCES:
        return SOURCES[error.diag.source_function]
    if code is not None and code in SQLSTATES:
        return _in_words(code, text, connecting=connecting)
    if code is not None and code.startswith("08"):
        return LOST
    return _by_text(text) or _by_class(error, code)


def _by_text(text: str, code: str | None = None) -> Meaning | None:
    """Return the first meaning whose text occurs, of those with the SQLSTATE if one is given."""
    return next(
        (meaning for pattern, meaning in TEXTS if code in {None, meaning.sqlstate} and pattern.search(text)), None
    )


def _by_class(error: BaseException, code: str | None) -> Meaning:
    if isinstance(error, OSError):
        return LOST
    if isinstance(error, psycopg.ProgrammingError) and code is None:
        return Meaning(Reason.INVALID_URL, "libpq does not take one of the connection parameters.")
    if is_race(error):
        return Meaning(Reason.UNKNOWN, "Others write the same objects at the same time.", "Wait: it is tried again.")
    return Meaning(Reason.UNKNOWN, _NOT_YET)


def _in_words(code: str, text: str, *, connecting: bool) -> Meaning:
    """Return the meaning of a SQLSTATE that stands for more than one thing: the text decides, if it is known.

    Where it is not, the server may speak another language, and the likeliest meaning counts.
    """
    if (meaning := _by_text(text, code)) is not None:
        return meaning
    if code == "55000" and (not connecting or "invalid database" in text):
        return Meaning(Reason.UNKNOWN, _NOT_YET)
    if code in {"0A000", "58P01"} and "extension" not in text:
        return Meaning(Reason.UNKNOWN, _NOT_YET)
    if code == "57014" and "user request" in text:
        return Meaning(Reason.DISCONNECTED, "The statement was cancelled.")
    return SQLSTATES[code]


def _advice(reason: Reason, facts: Attempt) -> str:
    if reason is Reason.AUTHENTICATION_FAILED and facts.app_login:
        return "The operator sets the password again where the app Secret is its own."
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
    }
    return re.sub(r"\{[A-Za-z_]+\}", lambda match: values[match[0]], template)


def server_words(error: BaseException) -> str:
    """Return the server's own words, cut to one printable line without anything that looks like an address."""
    return without_addresses(error.diag.message_primary if isinstance(error, psycopg.Error) else None)


def without_addresses(text: str | None) -> str:
    """Return text of a server as what may stand in a status: 200 printable characters, and nothing like an address."""
    line = "".join(char if char.isprintable() else " " for char in text or "")
    return _NOT_FOR_STATUS.sub("…", line)[:MAX_SAID].rstrip(". ")


def _shown(name: str) -> str:
    return "".join(char for char in name if char.isprintable() and char != "`")[:63]


def _identifier(name: str) -> str:
    return sql.Identifier("".join(char for char in name if char.isprintable())).as_string(None)
