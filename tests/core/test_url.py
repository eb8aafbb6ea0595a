"""The URL parser: what it refuses and says, and that it never repeats what it was given."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.connection.url import parse_url, quote, unquote
from support.names_in_urls import DATABASE_NAMES, LOGINS, TEXT

# Every part of these URLs that must not come back carries this word.
CANARY = "s3cr3t"
KEY = "CIPHER_PG_URL"

ACCEPTED = [
    ("postgresql://u:p@h/d", ("u", "p", "h", 5432, "d")),
    ("postgres://u:p@h/d", ("u", "p", "h", 5432, "d")),
    ("postgres://u:p@h", ("u", "p", "h", 5432, None)),
    ("postgres://u:p@h/", ("u", "p", "h", 5432, None)),
    ("postgres://u:p@h:6543/d", ("u", "p", "h", 6543, "d")),
    ("postgres://u:p@h?sslmode=require", ("u", "p", "h", 5432, None)),
    ("postgres://u:p@h/d?", ("u", "p", "h", 5432, "d")),
    ("postgres://user%40server:p@h/d", ("user@server", "p", "h", 5432, "d")),
    ("postgres://u:p%40%23%2F%3F%3A%25%20%5B@h/d", ("u", "p@#/?:% [", "h", 5432, "d")),
    ("postgres://u:p%C3%A4@h/d", ("u", "pä", "h", 5432, "d")),
    ("postgres://u:pä@h/d", ("u", "pä", "h", 5432, "d")),
    ("postgres://u:a+b!$&'()*,;=@h/d", ("u", "a+b!$&'()*,;=", "h", 5432, "d")),
    ("postgres://u:p@[2001:db8::1]:5433/d", ("u", "p", "2001:db8::1", 5433, "d")),
    ("postgres://u:p@[::1]/d", ("u", "p", "::1", 5432, "d")),
    ("postgres://u:p@10.0.0.1/d", ("u", "p", "10.0.0.1", 5432, "d")),
    ("postgres://u:p@my_db.svc-1.example.com/d", ("u", "p", "my_db.svc-1.example.com", 5432, "d")),
    ("postgres://postgres.abcdef:p@aws-0.pooler.supabase.com:6543/postgres",
     ("postgres.abcdef", "p", "aws-0.pooler.supabase.com", 6543, "postgres")),
    ("postgres://u:p@h/My-DB%2Fx", ("u", "p", "h", 5432, "My-DB/x")),
]  # fmt: skip


@pytest.mark.parametrize(("url", "parts"), ACCEPTED)
def test_accepts(url: str, parts: tuple[str, str, str, int, str | None]) -> None:
    parsed = parse_url(url)
    assert (parsed.user, parsed.password, parsed.host, parsed.port, parsed.database) == parts


C = CANARY
# reason for the row, URL, what the message must say
REFUSED = [
    ("empty", "", "must begin with postgresql://"),
    ("no scheme", f"u:{C}@h/d", "must begin with postgresql://"),
    ("mysql", f"mysql://u:{C}@h/d", "must begin with postgresql://"),
    ("jdbc", f"jdbc:postgresql://h/d?password={C}", "must begin with postgresql://"),
    ("upper-case scheme", f"POSTGRES://u{C}:{C}@{C}h/d", "must begin with postgresql://"),
    ("keyword string", f"host=h password={C}", "must begin with postgresql://"),
    ("double quotes", f'"postgres://u{C}:{C}@{C}h/d"', "stands in quotes"),
    ("single quotes", f"'postgres://u{C}:{C}@{C}h/d'", "stands in quotes"),
    ("leading space", f" postgres://u{C}:{C}@{C}h/d", "a space"),
    ("trailing space", f"postgres://u{C}:{C}@{C}h/d ", "a space"),
    ("second trailing newline", f"postgres://u{C}:{C}@{C}h/d\n", "a line break"),
    ("space in password", f"postgres://u{C}:{C} x@{C}h/d", "%20"),
    ("tab", f"postgres://u{C}:{C}\t@{C}h/d", "control character"),
    ("NUL", f"postgres://u{C}:{C}\0@{C}h/d", "control character"),
    ("carriage return", f"postgres://u{C}:{C}\r@{C}h/d", "control character"),
    ("line separator", f"postgres://u{C}:{C}\u2028@{C}h/d", "control character"),
    ("next line C1", f"postgres://u{C}:{C}\x85@{C}h/d", "control character"),
    ("scheme alone", "postgres://", "no user name"),
    ("no user, no password", f"postgres://{C}/d", "no user name"),
    ("no user, colon", f"postgres://:{C}@{C}h/d", "no user name"),
    ("empty userinfo", f"postgres://@{C}/d", "no user name"),
    ("user decodes to nothing printable", f"postgres://%0A:{C}@{C}h/d", "not printable"),
    ("user too long", f"postgres://{'u' * 300}:{C}@{C}h/d", "longer than 255"),
    ("no password", f"postgres://u{C}@{C}/d", "no password"),
    ("empty password", f"postgres://u{C}:@{C}/d", "no password"),
    ("@ in password", f"postgres://u{C}:{C}@{C}@{C}h/d", "%40"),
    ("@ at the end of password", f"postgres://u{C}:{C}@@{C}h/d", "%40"),
    ("@ then ? in password", f"postgres://u{C}:{C}@w?{C}=x@{C}h/d", "%40"),
    ("@ in user", f"postgres://u{C}@{C}:{C}@{C}h/d", "%40"),
    ("# in password", f"postgres://u{C}:{C}#{C}@{C}h/d", "%23"),
    ("fragment", f"postgres://u{C}:{C}@{C}h/d#x", "%23"),
    ("/ in password", f"postgres://u{C}:{C}/{C}@{C}h/d", "%2F"),
    ("? in password", f"postgres://u{C}:{C}?{C}@{C}h/d", "%3F"),
    (": in password", f"postgres://u{C}:{C}:{C}@{C}h/d", "%3A"),
    ("[ in password", f"postgres://u{C}:{C}[@{C}h/d", "%5B"),
    ("lone %", f"postgres://u{C}:{C}%@{C}h/d", "%25"),
    ("% and one digit", f"postgres://u{C}:{C}%4@{C}h/d", "%25"),
    ("% and no hex", f"postgres://u{C}:{C}%zz@{C}h/d", "%25"),
    ("%00 in password", f"postgres://u{C}:{C}%00@{C}h/d", "NUL"),
    ("%00 in user", f"postgres://{C}%00:{C}@{C}h/d", "NUL"),
    ("%00 in database", f"postgres://u{C}:{C}@{C}h/d%00", "NUL"),
    ("not UTF-8", f"postgres://u{C}:{C}%FF@{C}h/d", "not UTF-8"),
    ("overlong UTF-8", f"postgres://u{C}:{C}%C0%AF@{C}h/d", "not UTF-8"),
    ("encoded surrogate", f"postgres://u{C}:{C}%ED%A0%80@{C}h/d", "not UTF-8"),
    ("no host", f"postgres://u{C}:{C}@/d", "no host"),
    ("no host, port", f"postgres://u{C}:{C}@:5432/d", "no host"),
    ("two hosts", f"postgres://u{C}:{C}@{C}1,{C}2/d", "several hosts"),
    ("two hosts with ports", f"postgres://u{C}:{C}@{C}1:1,{C}2:2/d", "several hosts"),
    ("unix socket", f"postgres://u{C}:{C}@%2Ftmp%2F{C}/d", "Unix sockets"),
    ("encoded host", f"postgres://u{C}:{C}@{C}%2Eexample/d", "letters, digits"),
    ("host with two dots", f"postgres://u{C}:{C}@{C}..example/d", "letters, digits"),
    ("host begins with a dash", f"postgres://u{C}:{C}@-{C}/d", "letters, digits"),
    ("host with a trailing dot", f"postgres://u{C}:{C}@{C}./d", "letters, digits"),
    ("international host", f"postgres://u{C}:{C}@{C}ü.example/d", "xn--"),
    ("host with backslash", f"postgres://u{C}:{C}@{C}\\x/d", "letters, digits"),
    ("host too long", f"postgres://u{C}:{C}@{'h' * 300}{C}/d", "letters, digits"),
    ("IPv6 without brackets", f"postgres://u{C}:{C}@2001:db8::1/d", "[2001:db8::1]:5432"),
    ("IPv6 without brackets, port", f"postgres://u{C}:{C}@::1:5432/d", "without brackets"),
    ("IPv6 half a bracket", f"postgres://u{C}:{C}@[::1/d", "brackets"),
    ("IPv6 nonsense", f"postgres://u{C}:{C}@[12345::]/d", "not a host name"),
    ("IPv6 zone", f"postgres://u{C}:{C}@[fe80::1%25eth0]/d", "without a zone"),
    ("brackets around a name", f"postgres://u{C}:{C}@[{C}]/d", "not a host name"),
    ("IPv6 then text", f"postgres://u{C}:{C}@[::1]{C}/d", "cannot be read"),
    ("port 0", f"postgres://u{C}:{C}@{C}h:0/d", "1 to 65535"),
    ("port 65536", f"postgres://u{C}:{C}@{C}h:65536/d", "1 to 65535"),
    ("port empty", f"postgres://u{C}:{C}@{C}h:/d", "1 to 65535"),
    ("port with sign", f"postgres://u{C}:{C}@{C}h:+5/d", "1 to 65535"),
    ("port is a word", f"postgres://u{C}:{C}@{C}h:{C}/d", "1 to 65535"),
    ("port in Arabic digits", f"postgres://u{C}:{C}@{C}h:٥٤٣٢/d", "1 to 65535"),
    ("port huge", f"postgres://u{C}:{C}@{C}h:{'9' * 400}/d", "1 to 65535"),
    ("template0", f"postgres://u{C}:{C}@{C}h/template0", "`template0`"),
    ("template1", f"postgres://u{C}:{C}@{C}h/template1", "`template1`"),
    ("encoded template0", f"postgres://u{C}:{C}@{C}h/template%30", "`template0`"),
    ("rdsadmin", f"postgres://u{C}:{C}@{C}h/rdsadmin", "`rdsadmin`"),
    ("database too long", f"postgres://u{C}:{C}@{C}h/{'d' * 64}", "longer than 63"),
    ("database with a newline", f"postgres://u{C}:{C}@{C}h/d%0Ax", "not printable"),
    ("second path part", f"postgres://u{C}:{C}@{C}h/d/{C}", "second '/'"),
    ("parameter without value", f"postgres://u{C}:{C}@{C}h/d?sslmode", "`sslmode` without a value"),
    ("parameter twice", f"postgres://u{C}:{C}@{C}h/d?sslmode=require&sslmode=disable", "`sslmode` twice"),
    ("parameter twice, encoded", f"postgres://u{C}:{C}@{C}h/d?sslmode=require&ssl%6Dode=disable", "`sslmode` twice"),
    ("odd parameter name", f"postgres://u{C}:{C}@{C}h/d?{C}%0A=1", "with an unusual name"),
    ("markup as parameter name", f"postgres://u{C}:{C}@{C}h/d?<script>=1", "with an unusual name"),
    ("parameter with an empty name", f"postgres://u{C}:{C}@{C}h/d?=1", "with an unusual name"),
    ("upper-case parameter", f"postgres://u{C}:{C}@{C}h/d?SSLMODE=require", "`SSLMODE`"),
    ("long parameter name", f"postgres://u{C}:{C}@{C}h/d?{'k' * 90}=1", f"`{'k' * 40}`"),
    ("URL too long", f"postgres://u{C}:{C * 3000}@{C}h/d", "longer than 8192"),
]

LIBPQ_WORDS = """
sslkeylogfile options service servicefile host hostaddr port user password passfile dbname sslrootcert sslcert
sslkey sslpassword sslcrl sslcrldir sslcertmode gssencmode krbsrvname gsslib gssdelegation requirepeer
replication fallback_application_name client_encoding scram_client_key scram_server_key oauth_issuer
oauth_client_id load_balance_hosts min_protocol_version ssl_min_protocol_version requiressl sslcompression
"""

REFUSED += [(f"parameter {name}", f"postgres://u:{C}@h/d?{name}={C}", f"`{name}`") for name in LIBPQ_WORDS.split()]


@pytest.mark.parametrize(("url", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refuses_and_says_what_to_do(url: str, said: str) -> None:
    with pytest.raises(Failure) as caught:
        parse_url(url, KEY)
    failure = caught.value
    assert failure.reason is Reason.INVALID_URL
    assert failure.stage is ConditionType.CONNECTED
    assert said in failure.message
    assert f"`{KEY}`" in failure.message
    assert CANARY in url or url in {"", "postgres://"}
    assert CANARY not in f"{failure.message} {failure!r}"
    assert failure.__cause__ is None
    assert failure.__context__ is None or CANARY not in str(failure.__context__)


def test_a_parsed_url_is_not_printed() -> None:
    assert repr(parse_url(f"postgres://u:{C}@h/d")) == "ParsedURL(***)"


@given(
    user=LOGINS,
    password=TEXT,
    database=DATABASE_NAMES,
    port=st.integers(1, 65535),
    host=st.sampled_from(["h", "db.example.com", "10.1.2.3", "[2001:db8::1]"]),
)
@example(user="u", password="%", database="d", port=1, host="h")
def test_round_trip(user: str, password: str, database: str, port: int, host: str) -> None:
    parsed = parse_url(f"postgresql://{quote(user)}:{quote(password)}@{host}:{port}/{quote(database)}")
    assert (parsed.user, parsed.password, parsed.database, parsed.port) == (user, password, database, port)
    assert parsed.host == host.strip("[]")


@given(TEXT)
def test_quote_round_trip(value: str) -> None:
    assert unquote(quote(value)) == value


secret = st.text(st.sampled_from("@#/?:%[]&=,\\ \0\n٥ü0aF.-"), max_size=12)


@given(st.lists(secret, min_size=1, max_size=6), st.sampled_from(["postgres://", "postgresql://", "", "http://"]))
def test_garbage_never_crashes_and_never_comes_back(parts: list[str], scheme: str) -> None:
    try:
        parse_url(scheme + CANARY.join(parts))
    except Failure as failure:
        # Names of query parameters are the one thing that may be repeated.
        if "query parameter `" not in failure.message and "names the database" not in failure.message:
            assert CANARY not in failure.message
        assert failure.message.isprintable()


@given(st.text(max_size=60))
def test_any_text_never_crashes(value: str) -> None:
    for prefix in ("", "postgres://", "postgres://u:p@", "postgres://u:p@h/", "postgres://u:p@h/d?"):
        try:
            parse_url(prefix + value)
        except Failure as failure:
            assert failure.message.isprintable()
