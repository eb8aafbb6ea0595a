"""Hostile and odd URLs as they lie in a Secret: what is refused and how, and that nothing comes back out of them."""

import time
import traceback
from collections.abc import Callable

import pytest

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import DEFAULT_KEYS, Connection
from cipher_operator.core.connection.admin import AdminConnection, read_admin_connection
from cipher_operator.core.connection.url import MAX_URL, parse_url
from support.hostile_urls import ACCEPTED, MARK, REFUSED

ROWS = [(f"{attack}: {reason}", value, said) for attack, rows in REFUSED.items() for reason, value, said in rows]


def read(value: str | bytes) -> AdminConnection:
    data = {DEFAULT_KEYS.url: value if isinstance(value, bytes) else value.encode()}
    return read_admin_connection(data, Connection("pg-admin", DEFAULT_KEYS, None, None), None)


@pytest.mark.parametrize(("value", "said"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_is_refused_and_says_what_to_do(value: str | bytes, said: str) -> None:
    with pytest.raises(Failure) as caught:
        read(value)
    failure = caught.value
    assert (failure.reason, failure.stage) == (Reason.INVALID_URL, ConditionType.CONNECTED)
    assert said in failure.message, failure.message
    assert f"Secret key `{DEFAULT_KEYS.url}`" in failure.message
    assert failure.message.isprintable()
    assert len(failure.message) < 400
    shown = f"{failure!r} {failure} {failure.args} {''.join(traceback.format_exception(failure))}"
    assert MARK not in shown.lower()


@pytest.mark.parametrize(("url", "parts"), [row[1:] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED])
def test_is_read_as_what_it_says(url: str, parts: tuple[str, str, str, int, str | None, str]) -> None:
    admin = read(url)
    read_parts = (admin.user, admin.password.reveal(), admin.host, admin.port, admin.database, admin.ssl_mode.value)
    assert read_parts == parts
    assert MARK not in f"{admin!r} {admin} {admin.warnings} {parse_url(url)!r}"


def test_the_rows_can_fail() -> None:
    marked = MARK.encode()
    for value in [value for _, value, _ in ROWS] + [url for _, url, _ in ACCEPTED]:
        raw = value if isinstance(value, bytes) else value.encode()
        assert marked in raw.replace(b"\0", b"").lower(), value
    assert MARK not in " ".join(said for _, _, said in ROWS)


def test_there_are_many_and_none_twice() -> None:
    values = [value for _, value, _ in ROWS] + [url for _, url, _ in ACCEPTED]
    assert len(values) >= 320
    assert len(values) == len(set(values))
    assert len({name for name, _, _ in ROWS}) == len(ROWS)


class OnlyItsLength(str):
    """A text that can be asked how long it is, and nothing else."""

    def __getitem__(self, key: object) -> str:
        raise AssertionError("was looked into")

    def startswith(self, *_: object) -> bool:
        raise AssertionError("was looked into")

    partition = rpartition = split = encode = __contains__ = __iter__ = count = startswith  # type: ignore[assignment]


def test_what_is_too_long_is_not_looked_into() -> None:
    with pytest.raises(Failure, match=str(MAX_URL)):
        parse_url(OnlyItsLength("x" * (MAX_URL + 1)))
    with pytest.raises(AssertionError, match="was looked into"):
        parse_url(OnlyItsLength("x" * MAX_URL))


def _cpu_seconds(work: Callable[[], object]) -> float:
    """Return the least of several tries: processor time of this thread, so that a busy machine counts for nothing."""
    tries = []
    for _ in range(7):
        begin = time.thread_time()
        for _ in range(20):
            work()
        tries.append(time.thread_time() - begin)
    return min(tries)


GROWING = {
    "letters": "postgresql://u:p@h/d?application_name={}",
    "percent-encoded": "postgresql://u:{}@h/d",
    "colons": "postgresql://u:p@[{}]/d",
    "dots": "postgresql://u:p@h{}/d",
    "parameters": "postgresql://u:p@h/d?{}",
    "newlines": "{}",
}
PIECES = {"percent-encoded": "%41", "colons": ":", "dots": ".", "parameters": "&", "newlines": "\n"}


@pytest.mark.parametrize("shape", GROWING)
def test_eight_times_as_much_takes_no_more_than_linear_time(shape: str) -> None:
    piece = PIECES.get(shape, "x")

    def work(length: int) -> Callable[[], object]:
        value = GROWING[shape].format(piece * (length // len(piece))).encode()

        def once() -> None:
            try:
                read(value)
            except Failure:
                return

        return once

    # Quadratic would be 64 times.
    assert _cpu_seconds(work(8_000)) < 24 * _cpu_seconds(work(1_000))
