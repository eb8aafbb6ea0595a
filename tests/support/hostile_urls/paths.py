"""Database names, percent-encoding, control characters, fragments, and what is too long."""

from support.hostile_urls.authority import SPACE
from support.hostile_urls.parts import DATABASE, HOST, LOGIN, PASSWORD, USER, Refused, at_host, url

SECOND_SLASH = "a second '/' after the host. Percent-encode a '/' in the database name as %2F"
DATABASE_LIMITS = "a database that is longer than 63 bytes or not printable"
NOT_UTF8 = "the percent-encoded bytes are not UTF-8"
NUL = "%00 (NUL) cannot stand in it"
PERCENT = "a '%' that is not followed by two hexadecimal digits"
FRAGMENT = "an unencoded '#'. If it belongs to the password, percent-encode it as %23"
NOT_TEXT = "is not UTF-8 text without NUL bytes. Write it again as plain text"
TOO_LONG = "longer than 8192 characters"

DATABASES: list[Refused] = [
    ("slash before", at_host(f"//{DATABASE}"), SECOND_SLASH),
    ("slash after", at_host(f"/{DATABASE}/"), SECOND_SLASH),
    ("three slashes", at_host("///"), SECOND_SLASH),
    ("path upwards", at_host(f"/{DATABASE}/../otherzq"), SECOND_SLASH),
    ("schema behind the database", at_host(f"/{DATABASE}/public?sslmode=require"), SECOND_SLASH),
    ("slash behind template1", at_host("/template1/"), SECOND_SLASH),
    ("template1, every letter encoded", at_host("/%74%65%6d%70%6c%61%74%65%31"), "`template1`"),
    ("cloudsqladmin", at_host("/cloudsqladmin"), "`cloudsqladmin`"),
    ("alloydbadmin", at_host("/alloydbadmin"), "`alloydbadmin`"),
    ("azure_maintenance", at_host("/azure_maintenance"), "`azure_maintenance`"),
    ("azure_sys", at_host("/azure%5fsys"), "`azure_sys`, which belongs to the server itself. Name another"),
    ("a whole URL", at_host("/postgres:%2F%2Fuserzq%40otherzq%2Fx"), "the name of the database belongs"),
    ("64 bytes", at_host(f"/{DATABASE}{'d' * (64 - len(DATABASE))}"), DATABASE_LIMITS),
    ("64 bytes in 32 characters", at_host(f"/{'%C3%A4' * 32}"), DATABASE_LIMITS),
    ("64 bytes in 16 characters", at_host(f"/{'🦀' * 16}"), DATABASE_LIMITS),
    ("template1 beyond 63 bytes", at_host(f"/template1{'%20' * 60}"), DATABASE_LIMITS),
    ("CRLF", at_host(f"/{DATABASE}%0d%0aDROP"), DATABASE_LIMITS),
    ("tab", at_host(f"/{DATABASE}%09"), DATABASE_LIMITS),
    ("escape sequence", at_host(f"/{DATABASE}%1b%5B31m"), DATABASE_LIMITS),
    ("right-to-left override", at_host(f"/{DATABASE}\u202e"), DATABASE_LIMITS),
    ("zero width space", at_host(f"/{DATABASE}%E2%80%8B"), DATABASE_LIMITS),
    ("byte order mark", at_host(f"/%EF%BB%BF{DATABASE}"), DATABASE_LIMITS),
    ("line separator, encoded", at_host(f"/{DATABASE}%E2%80%A8"), DATABASE_LIMITS),
    ("NUL at the beginning", at_host(f"/%00{DATABASE}"), NUL),
    ("NUL behind template1", at_host(f"/template1%00{DATABASE}"), NUL),
]

ENCODINGS: list[Refused] = [
    ("lone byte", at_host(f"/{DATABASE}%80"), NOT_UTF8),
    ("byte order mark of UTF-16", at_host(f"/%FF%FE{DATABASE}"), NOT_UTF8),
    ("overlong NUL", at_host(f"/{DATABASE}%C0%80"), NOT_UTF8),
    ("character cut short", at_host(f"/{DATABASE}%E2%82"), NOT_UTF8),
    ("beyond Unicode", at_host(f"/{DATABASE}%F5%80%80%80"), NOT_UTF8),
    ("Latin-1 in the user", f"postgresql://{USER}%E4:{PASSWORD}@{HOST}/d", NOT_UTF8),
    ("overlong @ in the user", f"postgresql://{USER}%C1%80:{PASSWORD}@{HOST}/d", NOT_UTF8),
    ("surrogate pair in the password", f"postgresql://{LOGIN}%ED%A0%BD%ED%B8%80@{HOST}/d", NOT_UTF8),
    ("half a surrogate in a value", at_host("/d?application_name=%ED%A0%80"), NOT_UTF8),
    ("bytes in a parameter's name", at_host("/d?ssl%FFmode=require"), NOT_UTF8),
    ("NUL in a parameter's name", at_host("/d?sslmode%00=disable"), NUL),
    ("NUL in a value", at_host("/d?sslmode=require%00disable"), NUL),
    ("JavaScript's encoding", f"postgresql://{LOGIN}%u0040@{HOST}/d", PERCENT),
    ("percent twice", f"postgresql://{LOGIN}%%40@{HOST}/d", PERCENT),
    ("percent at the end of the user", f"postgresql://{USER}%:{PASSWORD}@{HOST}/d", PERCENT),
    ("percent at the very end", at_host(f"/{DATABASE}%"), PERCENT),
    ("one digit at the very end", at_host(f"/{DATABASE}%2"), PERCENT),
    ("percent in a value", at_host("/d?application_name=100%"), PERCENT),
    ("percent and a sign", at_host(f"/{DATABASE}%+1"), PERCENT),
    ("percent and fullwidth digits", at_host(f"/{DATABASE}%\uff14\uff11"), PERCENT),
    ("raw byte", f"postgresql://{LOGIN}".encode() + b"\xff@" + HOST.encode() + b"/d", NOT_TEXT),
    ("raw Latin-1", at_host("/münchen").encode("latin-1"), NOT_TEXT),
    ("raw half surrogate", at_host("/\ud800").encode("utf-8", "surrogatepass"), NOT_TEXT),
    ("raw overlong slash", at_host("").encode() + b"\xc0\xafd", NOT_TEXT),
    ("UTF-16 without a mark", at_host("/d").encode("utf-16-le"), NOT_TEXT),
]

CHARACTERS: list[Refused] = [
    ("NUL at the end", at_host("/d\0"), NOT_TEXT),
    ("bell", f"postgresql://{LOGIN}\a@{HOST}/d", SPACE),
    ("escape", at_host("/d\x1b[2J"), SPACE),
    ("delete", f"postgresql://{USER}\x7f:{PASSWORD}@{HOST}/d", SPACE),
    ("vertical tab", at_host("\v/d"), SPACE),
    ("form feed", at_host("/d?sslmode=require\f"), SPACE),
    ("last C1 control", at_host("/d\x9f"), SPACE),
    ("paragraph separator", at_host("/d\u2029"), SPACE),
    ("CRLF and a header", at_host("/d\r\nHost: otherzq.example"), SPACE),
    ("two newlines at the end", at_host("/d\n\n"), SPACE),
    ("carriage return at the end", at_host("/d\r"), SPACE),
    ("wrapped line", f"postgresql://{LOGIN}@\n{HOST}/d", SPACE),
    ("space after the host", at_host(" /d"), SPACE),
    ("space before the port", at_host(": 5432/d"), SPACE),
    ("comment after", at_host("/d # production"), SPACE),
]

FRAGMENTS: list[Refused] = [
    ("nothing behind #", at_host("/d#"), FRAGMENT),
    ("# before the path", at_host("#/d"), FRAGMENT),
    ("# and another authority", f"postgresql://{USER}:#{PASSWORD}@{HOST}/d", FRAGMENT),
    ("# in the user", f"postgresql://{USER}#:{PASSWORD}@{HOST}/d", FRAGMENT),
    ("# in the query", at_host("/d?sslmode=require#sslmode=disable"), FRAGMENT),
    ("host behind #", f"postgresql://otherzq.example#@{HOST}/d", FRAGMENT),
    ("Markdown heading", at_host("/d#zq"), FRAGMENT),
]

OVERLONG: list[Refused] = [
    ("8193 characters", at_host("/".ljust(8193 - len(at_host("")), "d")), TOO_LONG),
    ("100 kB of password", f"postgresql://{USER}:{PASSWORD * 14_000}@{HOST}/d", TOO_LONG),
    ("1 MB of @", f"postgresql://{LOGIN}{'@' * 1_000_000}{HOST}/d", TOO_LONG),
    ("1 MB of percent signs", at_host(f"/{'%' * 1_000_000}"), TOO_LONG),
    ("1 MB of parameters", at_host(f"/d?{'sslmode=require&' * 60_000}"), TOO_LONG),
    ("1 MB of slashes", url("/" * 1_000_000), TOO_LONG),
    ("5000 opening brackets", url(f"{'[' * 5_000}::1]/d"), "a host that cannot be read"),
    ("2000 parameters", at_host(f"/d?{'&'.join(f'p{n}=' for n in range(1_000))}"), "a query parameter `p0`"),
    ("1000 colons", url(f"[{':' * 1_000}]/d"), "is not a host name"),
    ("4000 digits", at_host(f":{'1' * 4_000}/d"), "from 1 to 65535"),
    ("7000 commas", url(f"{',' * 7_000}{HOST}/d"), "lists several hosts"),
]
