"""What was checked is what would be dialled: the parser and libpq never read two things out of one URL.

And for any value at all in a Secret: an answer or a Failure, and nothing of the value in either.
"""

import ipaddress
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg import pq

from cipher_operator.api.failures import Failure
from cipher_operator.api.spec import DEFAULT_KEYS, App, Connection, SSLMode
from cipher_operator.core.connection.admin import AdminConnection, Password, read_admin_connection
from cipher_operator.core.connection.url import PARAMETERS, parse_url, quote, unquote
from cipher_operator.core.connection.values import parse_host
from cipher_operator.core.secret import AppCredentials, app_door, app_secret_data
from support.hostile_urls import ACCEPTED, REFUSED

LIBPQ = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
IN_BOTH = {
    *("sslmode", "channel_binding", "sslnegotiation", "require_auth", "connect_timeout", "application_name"),
    *("target_session_attrs", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
}


def read(data: Mapping[str, bytes]) -> AdminConnection | None:
    try:
        return read_admin_connection(data, Connection("pg-admin", DEFAULT_KEYS, None, None), None)
    except Failure:
        return None


def by_libpq(url: str) -> dict[str, str] | None:
    """Return what libpq reads in a URL, by keyword; None where it takes no such URL."""
    try:
        options = pq.Conninfo.parse(url.encode("utf-8", "surrogatepass"))
    except (psycopg.Error, ValueError):
        return None
    found = {option.keyword.decode(): option.val for option in options if option.val is not None}
    return {keyword: value.decode("utf-8", "surrogateescape") for keyword, value in found.items()}


def without_the_rest(url: str) -> str:
    """Return the URL without the parameters that libpq does not know and the operator drops."""
    head, _, query = url.partition("?")
    kept = [item for item in query.split("&") if unquote(item.partition("=")[0]) in LIBPQ | {"ssl"}]
    return f"{head}?{'&'.join(kept)}" if kept else head


def compare(url: str) -> bool:
    """Return whether both take the URL; fails where they then do not agree."""
    ours = read({DEFAULT_KEYS.url: url.encode("utf-8", "surrogatepass")})
    if ours is None:
        return False
    # One line break at the end belongs to whoever wrote the Secret, not to the URL.
    url = re.sub(r"\r?\n\Z", "", url)
    views = [view for view in (by_libpq(url), by_libpq(without_the_rest(url))) if view is not None]
    for theirs in views:
        host = parse_host(f"[{theirs['host']}]" if ":" in theirs["host"] else theirs["host"], "the host")
        assert host == ours.host
        assert (theirs["user"], theirs["password"]) == (ours.user, ours.password.reveal())
        assert (int(theirs.get("port", 5432)), theirs.get("dbname")) == (ours.port, ours.database)
        assert theirs.keys() <= IN_BOTH | {"host", "user", "password", "port", "dbname"}
        if not {"ssl", "sslmode"} <= parse_url(url).parameters.keys():
            assert theirs.get("sslmode", "require") == ours.ssl_mode
    return bool(views)


@pytest.mark.parametrize(("reason", "url"), [row[:2] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED])
def test_libpq_reads_the_same(reason: str, url: str) -> None:
    # libpq takes no second `=` in a parameter.
    assert compare(url) is (reason != "? and = in a value")


def test_every_keyword_of_libpq_is_refused_by_name_or_known_to_be_harmless() -> None:
    assert LIBPQ & PARAMETERS == IN_BOTH
    for keyword in LIBPQ - PARAMETERS:
        with pytest.raises(Failure, match=f"a query parameter `{keyword}` that is not allowed"):
            parse_url(f"postgresql://u:p@h/d?{keyword}=1")


# What two parsers may cut a URL by, and what they may put in its place.
PIECES = [
    *"@:/?#[]%&=,;\\.+~ '\"", "//", "%40", "%3A", "%2F", "%3F", "%23", "%25", "%5B", "%00", "%0A", "%20",
    "%c3%a4", "%FF", "ä", "\u3000", "\uff20", "\u200b", "127.0.0.1", "[::1]", "::1", "h2.example", "5433", "0",
    "u2", "p2", "template1", "?sslmode=disable", "&sslmode=prefer", "&ssl=true", "ssl=true", "&host=h3", "&user=u3",
    "&hostaddr=1.2.3.4", "&application_name=", "&keepalives=1", "&max_connections=3", "postgres://", "\x00", "\n", "",
]  # fmt: skip
BASES = [
    "postgresql://u:p@h/d",
    "postgres://user:pass@host.example:5432/database?sslmode=require",
    "postgresql://u%40v:p%3Aq@10.0.0.1/a%2Fb",
    "postgresql://u:p@[2001:db8::1]:5432/d?sslmode=verify-full&application_name=x",
    "postgresql://u:p@h?ssl=true",
]


def mutated(random_source: random.Random) -> str:
    """Return a good URL with one to three pieces put in or taken out."""
    url = random_source.choice(BASES)
    for _ in range(random_source.randint(1, 3)):
        place = random_source.randint(0, len(url))
        cut = random_source.choice((0, 0, 0, 1, 2))
        url = url[:place] + random_source.choice(PIECES) + url[place + cut :]
    return url


def _mutants(count: int) -> Iterator[str]:
    source = random.Random(20)
    for _ in range(count):
        yield mutated(source)


def test_libpq_reads_the_same_in_what_is_left_of_mutated_urls() -> None:
    both = sum(compare(url) for url in _mutants(20_000))
    assert both > 1_000, "the comparison has something to compare"


@given(st.randoms(use_true_random=False))
def test_libpq_reads_the_same_in_any_mutated_url(source: random.Random) -> None:
    compare(mutated(source))


def test_libpq_alone_would_take_most_of_what_is_refused() -> None:
    taken = [value for rows in REFUSED.values() for _, value, _ in rows if isinstance(value, str) and by_libpq(value)]
    assert len(taken) > 250


def rebuilt(url: str) -> str:
    """Return the URL put together again from what was read."""
    parsed = parse_url(url)
    host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
    query = "&".join(f"{quote(name)}={quote(value)}" for name, value in parsed.parameters.items())
    database = "" if parsed.database is None else f"/{quote(parsed.database)}"
    return f"postgresql://{quote(parsed.user)}:{quote(parsed.password)}@{host}:{parsed.port}{database}?{query}"


def test_what_was_read_can_be_written_and_read_again() -> None:
    accepted = [url for _, url, _ in ACCEPTED]
    accepted += [url for url in _mutants(5_000) if url.isprintable() and read({DEFAULT_KEYS.url: url.encode()})]
    assert len(accepted) > 400
    for url in accepted:
        assert parse_url(rebuilt(url)) == parse_url(url)
        assert rebuilt(rebuilt(url)) == rebuilt(url)


def test_the_uri_that_the_operator_publishes_is_read_as_the_same_place() -> None:
    app = App("chat-cipher", {}, {}, None, None, None, None)
    for _, url, _ in ACCEPTED:
        admin = read({DEFAULT_KEYS.url: url.encode()})
        assert admin is not None
        database = admin.database or "postgres"
        endpoint = app_door(replace(admin, ssl_mode=SSLMode.REQUIRE), app, database, ssl_in_use=True)
        data = app_secret_data(endpoint, AppCredentials("cipher", Password("pä@:/?#%"))).data
        again = read({DEFAULT_KEYS.url: data["uri"].encode()})
        assert again is not None, data["uri"]
        assert (again.host, again.port, again.database) == (admin.host, admin.port, database)
        assert (again.user, again.password) == (data["username"], Password("pä@:/?#%"))


SENTINEL = "s3cr3tzq"
TEXT_KEYS = (
    *(DEFAULT_KEYS.host, DEFAULT_KEYS.port, DEFAULT_KEYS.database),
    *(DEFAULT_KEYS.user, DEFAULT_KEYS.password, DEFAULT_KEYS.ssl),
)
GOOD = {
    DEFAULT_KEYS.host: b"h",
    DEFAULT_KEYS.user: b"u",
    DEFAULT_KEYS.password: b"p",
}
odd_bytes = st.binary(max_size=40) | st.text(max_size=40).map(str.encode) | st.sampled_from(PIECES).map(str.encode)


def check_nothing_comes_back(data: Mapping[str, bytes]) -> None:
    try:
        admin = read_admin_connection(data, Connection("pg-admin", DEFAULT_KEYS, None, None), None)
    except Failure as failure:
        assert SENTINEL not in f"{failure.message} {failure!r} {failure.__cause__} {failure.__context__}"
        assert failure.message.isprintable()
    else:
        assert SENTINEL not in f"{admin!r} {admin.warnings}"


@given(st.dictionaries(st.sampled_from(TEXT_KEYS), st.tuples(odd_bytes, odd_bytes), min_size=1))
def test_any_bytes_in_the_keys(odd: dict[str, tuple[bytes, bytes]]) -> None:
    values = {key: before + SENTINEL.encode() + after for key, (before, after) in odd.items()}
    check_nothing_comes_back(values)
    for key, value in values.items():
        check_nothing_comes_back(GOOD | {key: value})


@given(odd_bytes, odd_bytes)
@example(b"", b"\xff")
@example(b"", b"@h/d")
def test_any_bytes_in_the_url(before: bytes, after: bytes) -> None:
    odd = before + SENTINEL.encode() + after
    for url in (b"%b", b"postgres://%b", b"postgres://%b:p@h/d", b"postgres://u:%b@h/d", b"postgres://u:p@%b/d"):
        # The name of a query parameter is the one thing that may be repeated.
        if b"?" not in before:
            check_nothing_comes_back({DEFAULT_KEYS.url: url % odd})
    for url in (b"postgres://u:p@h:%b", b"postgres://u:p@h/%b", b"postgres://u:p@h/d?sslmode=%b", b"%b\n"):
        if not {b"?"[0], b"&"[0]} & set(before):
            check_nothing_comes_back({DEFAULT_KEYS.url: url % odd})


@given(st.text(st.characters(), max_size=40))
@example("\ud800")
def test_any_text_at_all_never_crashes_the_parser(text: str) -> None:
    # Lone surrogates do not come out of a Secret, but the parser does not rely on it.
    for prefix in (
        "",
        "postgres://",
        "postgres://u:",
        "postgres://u:p@",
        "postgres://u:p@h/",
        "postgres://u:p@h/d?ssl=",
    ):
        try:
            parsed = parse_url(prefix + text)
        except Failure as failure:
            assert failure.message.isprintable()
        else:
            assert ipaddress.ip_address(parsed.host) if ":" in parsed.host else parsed.host.isascii()
