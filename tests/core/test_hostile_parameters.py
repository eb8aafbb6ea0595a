"""The individual parameters as they lie in a Secret: each value is refused with its key's name, or taken as it is."""

import traceback

import pytest

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import DEFAULT_KEYS, Connection, SSLMode
from cipher_operator.core.connection.admin import AdminConnection, Password, read_admin_connection

MARK = "zq"
"""In every value that has room for it, and in none of the operator's own words."""
GOOD = {DEFAULT_KEYS.host: b"hostzq.example", DEFAULT_KEYS.user: b"userzq", DEFAULT_KEYS.password: b"passzq"}

TEXT = "is not UTF-8 text without NUL bytes. Write it again as plain text"
NO_ADDRESS = "is not a host name, an IPv4 address or an IPv6 address in brackets without a zone"
LETTERS = "may have only letters, digits, '.', '-' and '_', and begins and ends with a letter or a digit"
WITH_PORT = "has a port behind it. Write the name or the IP address alone"
SOCKET = "Unix sockets are not supported; write a name or an IP address"
SEVERAL = "lists several hosts. Write one host"
PORT = "must be a whole number from 1 to 65535"
USER = "a user name that is longer than 255 bytes or not printable"
DATABASE = "names a database that is longer than 63 bytes or not printable"
SSL = 'must be "true" (TLS, as sslMode require) or "false" (no TLS, as disable)'
URL_AS_NAME = "a URL where the"

REFUSED: dict[str, list[tuple[str, str | bytes, str]]] = {
    "host": [
        ("a port behind it", "hostzq:5432", WITH_PORT),
        ("an empty port behind it", "hostzq:", WITH_PORT),
        ("a port behind an address", "[2001:db8::1]:5432", WITH_PORT),
        ("scheme before it", "postgresql://hostzq", NO_ADDRESS),
        ("another scheme", "tcp://hostzq:5432", NO_ADDRESS),
        ("a whole URL", "postgresql://u:passzq@hostzq/d", NO_ADDRESS),
        ("a login before it", "userzq@hostzq", LETTERS),
        ("a path behind it", "hostzq/d", LETTERS),
        ("a query behind it", "hostzq?sslmode=disable", LETTERS),
        ("keywords behind it", "hostzq port=1", LETTERS),
        ("quoted keyword", "hostzq' hostaddr='127.0.0.1", LETTERS),
        ("a list", "hostzq,otherzq", SEVERAL),
        ("a list with ports", "hostzq:1,otherzq:2", SEVERAL),
        ("a socket", "/var/run/zq", SOCKET),
        ("an encoded socket", "%2Fvar%2Frun%2Fzq", SOCKET),
        ("an abstract socket", "@zq", LETTERS),
        ("a newline inside", "hostzq\nother", LETTERS),
        ("a header behind it", "hostzq\r\nHost: other", NO_ADDRESS),
        ("a tab behind it", "hostzq\t", LETTERS),
        ("a space before it", " hostzq", LETTERS),
        ("a no-break space behind it", "hostzq\u00a0", LETTERS),
        ("a dot behind it", "hostzq.", LETTERS),
        ("dots within it", "hostzq..example", LETTERS),
        ("an option", "-hostzq", LETTERS),
        ("quotes around it", '"hostzq"', LETTERS),
        ("NUL behind it", "hostzq\0", TEXT),
        ("no UTF-8", b"hostzq\xff", TEXT),
        ("a fullwidth dot", "hostzq\uff0eexample", LETTERS),
        ("an international name", "hostzqü.example", "an international name is written as xn--"),
        ("a zone", "fe80::1%eth0", NO_ADDRESS),
        ("half a bracket", "[2001:db8::1", NO_ADDRESS),
        ("a name in brackets", "[hostzq]", NO_ADDRESS),
        ("a prefix length", "10.0.0.0/8", LETTERS),
        ("a template that nobody filled in", "${HOSTZQ}", LETTERS),
        ("254 characters", "h" * 252 + MARK, LETTERS),
        ("1 MB", MARK * 500_000, LETTERS),
        ("1 MB of colons", ":" * 1_000_000, NO_ADDRESS),
    ],
    "port": [
        ("zero", "0", PORT),
        ("too large", "65536", PORT),
        ("negative", "-5432", PORT),
        ("plus sign", "+5432", PORT),
        ("space before", " 5432", PORT),
        ("space behind", "5432 ", PORT),
        ("two newlines", "5432\n\n", PORT),
        ("newline before", "\n5432", PORT),
        ("tab", "5432\t", PORT),
        ("fraction", "5432.0", PORT),
        ("hexadecimal", "0x1538", PORT),
        ("exponent", "5e3", PORT),
        ("underscore", "5_432", PORT),
        ("fullwidth digits", "\uff15\uff14\uff13\uff12", PORT),
        ("Arabic digits", "\u0665\u0664\u0663\u0662", PORT),
        ("a list", "5432,5433", PORT),
        ("an environment variable of a Service", "tcp://10.0.0.1:5432", PORT),
        ("quotes", '"5432"', PORT),
        ("statement", "5432; DROP TABLE zq", PORT),
        ("2^64 too many", "18446744073709557048", PORT),
        ("NUL behind it", "5432\0", TEXT),
        ("1 MB of digits", "5" * 1_000_000, PORT),
    ],
    "user": [
        ("256 bytes", "u" * 254 + MARK, USER),
        ("256 bytes in 128 characters", "ä" * 127 + MARK, USER),
        ("newline inside", "userzq\npassword", USER),
        ("two newlines behind it", "userzq\n\n", USER),
        ("escape sequence", "userzq\x1b[2J", USER),
        ("right-to-left override", "userzq\u202e", USER),
        ("zero width space", "userzq\u200b", USER),
        ("byte order mark", "\ufeffuserzq", USER),
        ("NUL inside", "user\0zq", TEXT),
        ("no UTF-8", b"userzq\xe4", TEXT),
        ("a whole URL", "postgresql://userzq:passzq@hostzq/d", URL_AS_NAME),
    ],
    "password": [
        ("NUL inside", "pass\0zq", TEXT),
        ("no UTF-8", b"passzq\xff\xfe", TEXT),
        ("UTF-16", "passzq".encode("utf-16"), TEXT),
        ("half a surrogate", b"passzq\xed\xa0\x80", TEXT),
    ],
    "database": [
        ("64 bytes", "d" * 62 + MARK, DATABASE),
        ("64 bytes in 32 characters", "ä" * 31 + MARK, DATABASE),
        ("64 bytes in 17 characters", "🦀" * 15 + "ä" + MARK, DATABASE),
        ("newline inside", "dbzq\nx", DATABASE),
        ("newline before", "\ndbzq", DATABASE),
        ("escape sequence", "dbzq\x1b]0;x\x07", DATABASE),
        ("right-to-left override", "dbzq\u202e", DATABASE),
        ("next line", "dbzq\u0085", DATABASE),
        ("a no-break space", "dbzq\u00a0", DATABASE),
        ("NUL inside", "db\0zq", TEXT),
        ("no UTF-8", b"dbzq\xc0\x80", TEXT),
        ("a whole URL", "postgresql://userzq:passzq@hostzq/d", URL_AS_NAME),
        ("template0", "template0", "`template0`, which belongs to the server itself. Name another one"),
        ("template1 and a newline", "template1\n", "`template1`, which belongs to the server itself"),
        ("rdsadmin", "rdsadmin", "`rdsadmin`, which belongs to the server itself"),
        ("1 MB", MARK * 500_000, DATABASE),
    ],
    "ssl": [
        *(
            (repr(word), word, SSL)
            for word in ("True", "TRUE", "1", "0", "yes", "on", "require", "disable", "no-verify", "true ", " false")
        ),
        ("two newlines", "true\n\n", SSL),
        ("words", "false and zq", SSL),
        ("fullwidth", "\uff54rue", SSL),
        ("JSON", '{"rejectUnauthorized":false}', SSL),
        ("NUL behind it", "true\0", TEXT),
        ("no UTF-8", b"true\xff", TEXT),
    ],
}
ROWS = [(field, *row) for field, rows in REFUSED.items() for row in rows]


def read(field: str, value: str | bytes) -> AdminConnection:
    raw = value if isinstance(value, bytes) else value.encode()
    data = GOOD | {getattr(DEFAULT_KEYS, field): raw}
    return read_admin_connection(data, Connection("pg-admin", DEFAULT_KEYS, None, None), None)


@pytest.mark.parametrize(
    ("field", "value", "said"), [(row[0], *row[2:]) for row in ROWS], ids=[f"{row[0]}: {row[1]}" for row in ROWS]
)
def test_is_refused_with_the_name_of_its_key(field: str, value: str | bytes, said: str) -> None:
    with pytest.raises(Failure) as caught:
        read(field, value)
    failure = caught.value
    assert (failure.reason, failure.stage) == (Reason.INVALID_URL, ConditionType.CONNECTED)
    assert f"Secret key `{getattr(DEFAULT_KEYS, field)}`" in failure.message
    assert said in failure.message, failure.message
    assert failure.message.isprintable()
    assert len(failure.message) < 300
    shown = f"{failure!r} {failure.args} {''.join(traceback.format_exception(failure))}"
    assert MARK not in shown
    # The words for ssl and the reserved databases are the operator's own.
    if isinstance(value, str) and field != "ssl" and not said.startswith("`"):
        assert value not in failure.message


ACCEPTED: list[tuple[str, str, str, object]] = [
    ("host", "a newline behind it", "hostzq\n", "hostzq"),
    ("host", "CRLF behind it", "hostzq\r\n", "hostzq"),
    ("host", "underscores within", "my_hostzq.svc", "my_hostzq.svc"),
    ("host", "253 characters", "h" * 251 + MARK, "h" * 251 + MARK),
    ("host", "punycode", "xn--mnchenzq-q2a.example", "xn--mnchenzq-q2a.example"),
    ("host", "bare IPv6", "2001:DB8::1", "2001:db8::1"),
    ("host", "bare IPv6 that ends like a port", "2001:db8::5432", "2001:db8::5432"),
    ("host", "IPv6 in brackets", "[2001:db8::1]", "2001:db8::1"),
    ("host", "a number, which the dialler judges", "2130706433", "2130706433"),
    ("port", "leading zero is decimal", "05432", 5432),
    ("port", "a newline behind it", "6543\n", 6543),
    ("port", "the last", "65535", 65535),
    ("port", "empty is the default", "", 5432),
    ("user", "255 bytes", "u" * 253 + MARK, "u" * 253 + MARK),
    ("user", "Azure's form", "userzq@serverzq", "userzq@serverzq"),
    ("user", "quotes and a statement", "userzq\"; DROP ROLE x; --'", "userzq\"; DROP ROLE x; --'"),
    ("user", "keywords", "userzq host=other", "userzq host=other"),
    ("user", "percent-encoding is none here", "userzq%40", "userzq%40"),
    ("user", "spaces are its own", " userzq ", " userzq "),
    ("database", "63 bytes", "d" * 61 + MARK, "d" * 61 + MARK),
    ("database", "63 bytes in 21 characters", "日" * 21, "日" * 21),
    ("database", "quotes and a statement", "dbzq\"; DROP DATABASE x; --'", "dbzq\"; DROP DATABASE x; --'"),
    ("database", "keywords", "host=otherzq dbname=x", "host=otherzq dbname=x"),
    ("database", "a path", "../../zq", "../../zq"),
    ("database", "empty is none", "", None),
    ("database", "a newline behind it", "dbzq\n", "dbzq"),
    ("password", "anything but NUL", "\x01\x7f\u202e zq\t'\"\\%00@:/", Password("\x01\x7f\u202e zq\t'\"\\%00@:/")),
    ("password", "one newline is the editor's", "passzq\n\n", Password("passzq\n")),
    ("password", "100 kB", MARK * 50_000, Password(MARK * 50_000)),
    ("ssl", "true", "true", SSLMode.REQUIRE),
    ("ssl", "false and a newline", "false\r\n", SSLMode.DISABLE),
    ("ssl", "empty is the default", "", SSLMode.REQUIRE),
]


@pytest.mark.parametrize(
    ("field", "value", "taken"),
    [(row[0], *row[2:]) for row in ACCEPTED],
    ids=[f"{row[0]}: {row[1]}" for row in ACCEPTED],
)
def test_is_taken_as_it_is(field: str, value: str, taken: object) -> None:
    admin = read(field, value)
    assert getattr(admin, {"ssl": "ssl_mode"}.get(field, field)) == taken
    assert MARK not in f"{admin!r} {admin} {admin.warnings} {admin.password}"
