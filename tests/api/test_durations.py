"""Durations: what is read, in seconds, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipher_operator.api.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0),
        ("30s", 30),
        ("5m", 300),
        ("12h", 43_200),
        ("1h30m", 5_400),
        ("1h1s", 3_601),
        ("90m", 5_400),
        ("007s", 7),
        ("8784h", 31_622_400),
        ("99999h999999m9999999s", 99_999 * 3_600 + 999_999 * 60 + 9_999_999),
    ],
)
def test_reads(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "5",
        "s",
        "1d",
        "500ms",
        "1.5h",
        "+5m",
        "-5m",
        "5 m",
        " 5m",
        "5m\n",
        "30s5m",
        "5M",
        "1h1h",
        "٣s",
        "100000h",
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration such as 30s, 5m, 12h or 1h30m"):
        parse_duration(text)


@given(st.integers(0, 99_999), st.integers(0, 999_999), st.integers(0, 9_999_999))
def test_is_the_sum_of_its_parts(hours: int, minutes: int, seconds: int) -> None:
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == hours * 3_600 + minutes * 60 + seconds


@given(st.text())
def test_any_other_text_is_a_value_error(text: str) -> None:
    try:
        assert parse_duration(text) >= 0
    except ValueError as error:
        assert str(error).startswith("must be a duration")
