"""Our own parser of connection URLs: an allow-list, because libpq's URL language reads files and runs options.

One host, percent-encoded user and password, no fragment, known query parameters only. Messages never contain a
part of the URL, except the name of a query parameter.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import quote as _quote
from urllib.parse import unquote_to_bytes

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import MAX_NAME
from cipher_operator.api.reasons import Reason

SCHEMES = ("postgresql://", "postgres://")
DEFAULT_PORT = 5432
MAX_URL = 8192
MAX_LOGIN = 255

PARAMETERS = frozenset(
    {
        "sslmode",
        "channel_binding",
        "sslnegotiation",
        "require_auth",
        "connect_timeout",
        "max_connections",
        "application_name",
        "target_session_attrs",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "ssl",
        "schema",
        "pgbouncer",
        "connection_limit",
        "pool_timeout",
        "pool_mode",
        "uselibpqcompat",
        "supa",
        "statement_cache_size",
        "socket_timeout",
    }
)
"""Query parameters that people's URLs carry. Every other name is refused."""

UNUSABLE_DATABASES = frozenset(
    {"template0", "template1", "rdsadmin", "cloudsqladmin", "alloydbadmin", "azure_maintenance", "azure_sys"}
)
"""Databases that nobody may log in to, or where a session blocks every CREATE DATABASE."""

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_WITH_PORT = re.compile(r"(?:\[[^\[\]]*\]|[^:\[\]/]+):[0-9]*")
_PRINTABLE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f\x80-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class ParsedURL:
    """The parts of a connection URL, decoded. `parameters` holds the query; only names of PARAMETERS."""

    user: str
    password: str
    host: str
    port: int
    database: str | None
    parameters: Mapping[str, str]

    def __repr__(self) -> str:
        return "ParsedURL(***)"


def quote(text: str) -> str:
    """Return the text percent-encoded for any place in a URL: libpq and node-pg both decode it to the same."""
    return _quote(text, safe="")


def unquote(text: str) -> str:
    """Return the percent-decoded text; ValueError for a lone `%`, bytes that are no UTF-8, or a NUL."""
    if _BAD_PERCENT.search(text):
        raise ValueError("'%' must be followed by two hexadecimal digits; write a plain '%' as %25")
    try:
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeError:
        raise ValueError("the percent-encoded bytes are not UTF-8") from None
    if "\0" in decoded:
        raise ValueError("%00 (NUL) cannot stand in it")
    return decoded


def parse_url(url: str, key: str = "CIPHER_PG_URL") -> ParsedURL:
    """Return the parts of a `postgresql://user:password@host[:port][/database][?parameters]` URL.

    `key` is the Secret key it came from; messages name it. Raises Failure(INVALID_URL).
    """
    where = f"The URL in Secret key `{key}`"
    authority, path, query = _split(url, where)
    userinfo, _, endpoint = authority.rpartition("@")
    user, password = _login(userinfo, where)
    host, port = _endpoint(endpoint, where)
    return ParsedURL(user, password, host, port, _database(path, where), _query(query, where))


def parse_host(text: str, what: str) -> str:
    """Return a host name or an IP address without brackets; `what` begins the message of the Failure."""
    if not text:
        _refuse(f"{what} is empty. Write the name or the IP address of the server.")
    if text.startswith(("/", "%2F", "%2f")):
        _refuse(f"{what} is a path. Unix sockets are not supported; write a name or an IP address.")
    if "," in text:
        _refuse(f"{what} lists several hosts. Write one host, the writer endpoint.")
    if _WITH_PORT.fullmatch(text):
        _refuse(f"{what} has a port behind it. Write the name or the IP address alone; the port has a key of its own.")
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare or bare != text:
        address = _ipv6(bare)
        if address is None:
            _refuse(f"{what} is not a host name, an IPv4 address or an IPv6 address in brackets without a zone.")
        return address
    if not _HOST.fullmatch(text) or ".." in text:
        _refuse(
            f"{what} may have only letters, digits, '.', '-' and '_', and begins and ends with a letter or a "
            "digit (an international name is written as xn--…)."
        )
    return text


def parse_port(text: str, what: str) -> int:
    """Return a port from 1 to 65535; `what` begins the message of the Failure."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        _refuse(f"{what} must be a whole number from 1 to 65535.")
    return int(text)


def check_login(user: str, what: str) -> str:
    """Return the user name, refused where it is empty, too long or not printable."""
    if not user:
        _refuse(f"{what} has no user name. Write it as postgresql://USER:PASSWORD@HOST/DATABASE.")
    if "://" in user:
        _refuse(f"{what} has a URL where the user name belongs. Write the name alone.")
    if len(user.encode("utf-8", "replace")) > MAX_LOGIN or not user.isprintable():
        _refuse(f"{what} has a user name that is longer than {MAX_LOGIN} bytes or not printable.")
    return user


def check_database(database: str, what: str) -> str:
    """Return the database name, refused where no storage can live in it."""
    if database in UNUSABLE_DATABASES:
        _refuse(
            f"{what} names the database `{database}`, which belongs to the server itself. "
            "Name another one, for example `postgres`."
        )
    if "://" in database:
        # Names of databases stand in status and events, where a password in such a URL would be read.
        _refuse(f"{what} has a URL where the name of the database belongs. Write the name alone.")
    if len(database.encode("utf-8", "replace")) > MAX_NAME or not database.isprintable():
        _refuse(f"{what} names a database that is longer than {MAX_NAME} bytes or not printable.")
    return database


def printable_name(name: str) -> str:
    """Return a query parameter's name, cut and quoted for a message, or words instead of an odd one."""
    cut = name[:40]
    return f"`{cut}`" if _PRINTABLE_NAME.fullmatch(cut) else "with an unusual name"


def _split(url: str, where: str) -> tuple[str, str | None, str | None]:
    """Return authority, path and query; everything a person gets wrong most often is caught here."""
    if len(url) > MAX_URL:
        _refuse(f"{where} is longer than {MAX_URL} characters.")
    if url[:1] in {'"', "'"}:
        _refuse(f"{where} stands in quotes. Remove them: a Secret's value is taken as it is.")
    if not url.strip(" \t\r\n").startswith(SCHEMES):
        _refuse(f"{where} must begin with postgresql:// or postgres://.")
    if _UNPRINTABLE.search(url):
        _refuse(
            f"{where} has a space, a line break or a control character in it. "
            "Remove it, or percent-encode it if it belongs to the password (a space is %20)."
        )
    scheme = next(scheme for scheme in SCHEMES if url.startswith(scheme))
    rest = url[len(scheme) :]
    if "#" in rest:
        _refuse(f"{where} has an unencoded '#'. If it belongs to the password, percent-encode it as %23.")
    if rest.count("@") > 1:
        _refuse(f"{where} has more than one '@'. Percent-encode the one in the password or user name as %40.")
    if _BAD_PERCENT.search(rest):
        _refuse(
            f"{where} has a '%' that is not followed by two hexadecimal digits. "
            "If it belongs to the password, percent-encode it as %25."
        )
    before_query, mark, query = rest.partition("?")
    authority, slash, path = before_query.partition("/")
    if "@" not in authority:
        if "@" in rest:
            _refuse(
                f"{where} has an unencoded '/' or '?' before the '@'. "
                "If it belongs to the password, percent-encode it: '/' is %2F, '?' is %3F."
            )
        _refuse(f"{where} has no user name. Write it as postgresql://USER:PASSWORD@HOST/DATABASE.")
    return authority, path if slash else None, query if mark else None


def _login(userinfo: str, where: str) -> tuple[str, str]:
    if userinfo.count(":") > 1:
        _refuse(f"{where} has an unencoded ':' in the password. Percent-encode it as %3A.")
    if "[" in userinfo or "]" in userinfo:
        _refuse(f"{where} has an unencoded '[' or ']' in the password. Percent-encode them as %5B and %5D.")
    raw_user, _, raw_password = userinfo.partition(":")
    user = check_login(_decode(raw_user, where, "user name"), where)
    password = _decode(raw_password, where, "password")
    if not password:
        _refuse(f"{where} has no password. Write it as postgresql://USER:PASSWORD@HOST/DATABASE.")
    return user, password


def _endpoint(endpoint: str, where: str) -> tuple[str, int]:
    if "," in endpoint:
        _refuse(f"{where} lists several hosts. Write one host, the writer endpoint.")
    if _ipv6(endpoint) is not None:
        _refuse(f"{where} has an IPv6 address without brackets. Write it as [2001:db8::1]:5432.")
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::(.*))?", endpoint)
    if match is None:
        _refuse(f"{where} has a host that cannot be read. An IPv6 address stands in brackets: [2001:db8::1]:5432.")
    host, port = match[1], match[2]
    if not host:
        _refuse(f"{where} has no host. Write it as postgresql://USER:PASSWORD@HOST/DATABASE.")
    return parse_host(host, f"{where}: the host"), (
        DEFAULT_PORT if port is None else parse_port(port, f"{where}: the port")
    )


def _database(path: str | None, where: str) -> str | None:
    if not path:
        return None
    if "/" in path:
        _refuse(f"{where} has a second '/' after the host. Percent-encode a '/' in the database name as %2F.")
    return check_database(_decode(path, where, "database name"), where)


def _query(query: str | None, where: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for item in (query or "").split("&"):
        if not item:
            continue
        raw_name, equals, raw_value = item.partition("=")
        name = _decode(raw_name, where, "query")
        if name not in PARAMETERS:
            _refuse(
                f"{where} has a query parameter {printable_name(name)} that is not allowed. Remove it. What counts "
                "there: sslmode, channel_binding, sslnegotiation, require_auth, connect_timeout, max_connections."
            )
        if not equals:
            _refuse(f"{where} has the query parameter `{name}` without a value.")
        if name in parameters:
            _refuse(f"{where} has the query parameter `{name}` twice. Remove one.")
        parameters[name] = _decode(raw_value, where, "query")
    return parameters


def _ipv6(text: str) -> str | None:
    try:
        return None if "%" in text else str(ipaddress.IPv6Address(text))
    except ValueError:
        return None


def _decode(text: str, where: str, part: str) -> str:
    try:
        return unquote(text)
    except ValueError as error:
        message = f"{where} has a {part} that cannot be decoded: {error}."
    _refuse(message)


def _refuse(message: str) -> NoReturn:
    raise Failure(Reason.INVALID_URL, message, stage=ConditionType.CONNECTED)
