"""A text that is longer than what may be said ends with a clause, never in the midst of SQL that somebody runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipher_operator.api.conditions import MAX_MESSAGE, Draft, merge
from cipher_operator.api.failures import MAX_TEXT, ConditionType, Failure
from cipher_operator.api.printable import shortened
from cipher_operator.api.reasons import Reason

SQL = "table 'cipher_store' was changed: run `ALTER TABLE public.cipher_store DROP CONSTRAINT \"longer than that\"`; "
ROWS = {
    "shorter": ("one; two", 8, "one; two"),
    "cut after a clause": ("one two; three", 13, "one two; …"),
    "cut after a sentence": ("One two. Three", 13, "One two. …"),
    "no clause ends in its second half": ("a; aaaaaaaaaaaaaa", 12, "a; aaaaaaa …"),
}


@pytest.mark.parametrize(("text", "most", "said"), ROWS.values(), ids=ROWS)
def test_shortened(text: str, most: int, said: str) -> None:
    assert shortened(text, most) == said


@given(st.text(), st.integers(2, 60))
def test_no_text_is_longer_and_none_that_fits_is_changed(text: str, most: int) -> None:
    said = shortened(text, most)
    assert len(said) <= most
    assert said == text or len(text) > most


def test_a_condition_and_a_failure_are_cut_so() -> None:
    draft = Draft(ConditionType.READY, "False", Reason.CONFLICT, SQL * 40)
    (condition,) = merge((), (draft,), 1, "2026-01-01T00:00:00Z")
    failure = Failure(Reason.CONFLICT, SQL * 80)
    for said, most in ((condition.message, MAX_MESSAGE), (failure.message, MAX_TEXT)):
        assert said.endswith("`; …") and most - len(SQL) - 2 < len(said) <= most
