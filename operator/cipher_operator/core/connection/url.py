"""Our own parser of connection URLs: an allow-list, because libpq's URL language reads files and runs options.

One host, percent-encoded user and password, no fragment, known query parameters only. Messages never contain a
part of the URL, except the name of a query parameter.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote as _quote
from urllib.parse import unquote_to_bytes

from cipher_operator.core.connection.foreign import is_placeholder, not_a_url
from cipher_operator.core.connection.values import (
    DEFAULT_PORT,
    SCHEMES,
    check_login,
    ipv6_address,
    parse_database,
    parse_host,
    parse_port,
    refuse,
)

MAX_URL = 8192

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


def printable_name(name: str) -> str:
    """Return a query parameter's name, cut and quoted for a message, or words instead of an odd one."""
    cut = name[:40]
    return f"`{cut}`" if _PRINTABLE_NAME.fullmatch(cut) else "with an unusual name"


def _split(url: str, where: str) -> tuple[str, str | None, str | None]:
    """Return authority, path and query; everything a person gets wrong most often is caught here."""
    if len(url) > MAX_URL:
        refuse(f"{where} is longer than {MAX_URL} characters.")
    if url[:1] in {'"', "'"}:
        refuse(f"{where} stands in quotes. Remove them: a Secret's value is taken as it is.")
    if not url.strip(" \t\r\n").startswith(SCHEMES):
        refuse(f"{where} must begin with postgresql:// or postgres://.{not_a_url(url)}")
    if _UNPRINTABLE.search(url):
        refuse(
            f"{where} has a space, a line break or a control character in it. "
            "Remove it, or percent-encode it if it belongs to the password (a space is %20)."
        )
    scheme = next(scheme for scheme in SCHEMES if url.startswith(scheme))
    rest = url[len(scheme) :]
    if "#" in rest:
        refuse(f"{where} has an unencoded '#'. If it belongs to the password, percent-encode it as %23.")
    if rest.count("@") > 1:
        refuse(f"{where} has more than one '@'. Percent-encode the one in the password or user name as %40.")
    if _BAD_PERCENT.search(rest):
        refuse(
            f"{where} has a '%' that is not followed by two hexadecimal digits. "
            "If it belongs to the password, percent-encode it as %25."
        )
    before_query, mark, query = rest.partition("?")
    authority, slash, path = before_query.partition("/")
    if "@" not in authority:
        if "@" in rest:
            refuse(
                f"{where} has an unencoded '/' or '?' before the '@'. "
                "If it belongs to the password, percent-encode it: '/' is %2F, '?' is %3F."
            )
        refuse(f"{where} has no user name. Write it as postgresql://USER:PASSWORD@HOST/DATABASE.")
    return authority, path if slash else None, query if mark else None


def _login(userinfo: str, where: str) -> tuple[str, str]:
    if is_placeholder(userinfo.partition(":")[2]):
        refuse(f"{where} has a placeholder where the password belongs. Put the password there, without brackets.")
    if userinfo.count(":") > 1:
        refuse(f"{where} has an unencoded ':' in the password. Percent-encode it as %3A.")
    if "[" in userinfo or "]" in userinfo:
        refuse(f"{where} has an unencoded '[' or ']' in the password. Percent-encode them as %5B and %5D.")
    raw_user, _, raw_password = userinfo.partition(":")
    user = check_login(_decode(raw_user, where, "user name"), where)
    password = _decode(raw_password, where, "password")
    if not password:
        refuse(f"{where} has no password. Write it as postgresql://USER:PASSWORD@HOST/DATABASE.")
    return user, password


def _endpoint(endpoint: str, where: str) -> tuple[str, int]:
    if "," in endpoint:
        refuse(f"{where} lists several hosts. Write one host, the writer endpoint.")
    if ipv6_address(endpoint) is not None:
        refuse(f"{where} has an IPv6 address without brackets. Write it as [2001:db8::1]:5432.")
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::(.*))?", endpoint)
    if match is None:
        refuse(f"{where} has a host that cannot be read. An IPv6 address stands in brackets: [2001:db8::1]:5432.")
    host, port = match[1], match[2]
    if not host:
        refuse(f"{where} has no host. Write it as postgresql://USER:PASSWORD@HOST/DATABASE.")
    return parse_host(host, f"{where}: the host"), (
        DEFAULT_PORT if port is None else parse_port(port, f"{where}: the port")
    )


def _database(path: str | None, where: str) -> str | None:
    if not path:
        return None
    if "/" in path:
        refuse(f"{where} has a second '/' after the host. Percent-encode a '/' in the database name as %2F.")
    return parse_database(_decode(path, where, "database name"), where)


def _query(query: str | None, where: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for item in (query or "").split("&"):
        if not item:
            continue
        raw_name, equals, raw_value = item.partition("=")
        name = _decode(raw_name, where, "query")
        if name not in PARAMETERS:
            refuse(
                f"{where} has a query parameter {printable_name(name)} that is not allowed. Remove it. What counts "
                "there: sslmode, channel_binding, sslnegotiation, require_auth, target_session_attrs, connect_timeout, "
                f"max_connections.{' Neon finds the endpoint by the host name.' if name == 'options' else ''}"
            )
        if not equals:
            refuse(f"{where} has the query parameter `{name}` without a value.")
        if name in parameters:
            refuse(f"{where} has the query parameter `{name}` twice. Remove one.")
        parameters[name] = _decode(raw_value, where, "query")
    return parameters


def _decode(text: str, where: str, part: str) -> str:
    try:
        return unquote(text)
    except ValueError as error:
        message = f"{where} has a {part} that cannot be decoded: {error}."
    refuse(message)
