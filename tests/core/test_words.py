"""What a server says, before it is in a status: any length, any characters, any address."""

import time

import pytest

from cipher_operator.core.words import MAX_SAID, without_addresses

TABLE = {
    "plain words": ('relation "ddl_log" does not exist.', 'relation "ddl_log" does not exist'),
    "a name in a schema": ("permission denied for function public.log_ddl()", "permission denied for function "
                           "public.log_ddl()"),
    "lines and tabs": ("one\n two\r\n\tthree", "one two three"),
    "colours of a terminal": ("\x1b[31mred\x1b[0m", "[31mred [0m"),
    "NUL and others": ("a\0b\x07c\x9bd", "a b c d"),
    "writing backwards": ("abc\u202edef\u2066ghi", "abc def ghi"),
    "line separators": ("a\u2028b\u2029c\x85d", "a b c d"),
    "URL": ("see postgres://u:s3cr3t@h/d now", "see … now"),
    "login": ("for u:s3cr3t@h now", "for … now"),
    "IPv4": ("from 10.1.2.3, port", "from …, port"),
    "IPv6": ("from fe80::1 now", "from … now"),
    "host and port": ("to db:6543 now", "to … now"),
    "host name": ("to db-1.abc.eu-west-1.rds.amazonaws.com now", "to … now"),
    "verifier": ("is SCRAM-SHA-256$4096:abc$def:ghi now", "is … now"),
    "nothing": ("", ""),
    "None": (None, ""),
}  # fmt: skip


@pytest.mark.parametrize(("said", "shown"), TABLE.values(), ids=TABLE)
def test_one_printable_line_without_addresses(said: str | None, shown: str) -> None:
    assert without_addresses(said) == shown


def test_it_is_cut() -> None:
    assert without_addresses("x " * 500) == ("x " * 500)[:MAX_SAID].rstrip()
    assert without_addresses("word " * 500, most=10) == "word word"


@pytest.mark.parametrize(
    "said",
    ["x" * 4_000_000, "x@" * 2_000_000, "a.b.c:" * 700_000, "\0" * 4_000_000, '"' * 4_000_000, "1.2.3.4 " * 500_000],
    ids=["one word", "logins", "hosts", "NUL", "quotes", "addresses"],
)
def test_megabytes_cost_nothing(said: str) -> None:
    begin = time.process_time()
    shown = without_addresses(said)
    assert time.process_time() - begin < 0.5
    assert len(shown) <= MAX_SAID


@pytest.mark.parametrize("part", ["a", "a-", "1", "a..", "a" * 159 + " "])
def test_a_word_that_is_no_name_is_not_looked_through(part: str) -> None:
    """That takes the square of its length, and whoever raises errors by the thousand would keep all others waiting."""
    said = (part * 2_000)[:1_990] + "~"
    begin = time.process_time()
    for _ in range(10):
        without_addresses(said)
    assert time.process_time() - begin < 0.5
    assert without_addresses("x" * 161 + " is no name") == "… is no name"
    assert without_addresses(f'"{"x" * 63}"."{"y" * 63}"') == f'"{"x" * 63}"."{"y" * 63}"'


@pytest.mark.parametrize("filler", ["a@b ", "xxxx "], ids=["words that become short", "words"])
def test_an_address_that_is_cut_in_two_is_not_shown(filler: str) -> None:
    for position in range(1900, 2001):
        text = (filler * 600)[:position] + " u:s3cr3t@db.example.com and more"
        assert "s3cr3t" not in without_addresses(text, most=10_000)


HIDDEN = {
    "password": ("the password word-s3cr3t is too weak", ("word-s3cr3t",), "the password … is too weak"),
    "inside another word": ("xword-s3cr3tx", ("word-s3cr3t",), "x…x"),
    "host": ("cannot reach db.internal or db", ("db", "db.internal"), "cannot reach … or …"),
    "short ones as words only": ("database db of debt and odb", ("db",), "database … of debt and odb"),
    "characters of patterns": ("is a.*[b now, not axx", ("a.*[b",), "is … now, not axx"),
    "an empty one": ("as it is", ("",), "as it is"),
}


@pytest.mark.parametrize(("said", "hidden", "shown"), HIDDEN.values(), ids=HIDDEN)
def test_what_is_known_to_be_secret_is_never_shown(said: str, hidden: tuple[str, ...], shown: str) -> None:
    assert without_addresses(said, hidden) == shown
