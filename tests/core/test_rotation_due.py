"""When a password changes by itself: the law of `passwordRotation.interval`, with a clock."""

from datetime import UTC, datetime, timedelta

import pytest

from cipher_operator.core.requests import Requests
from cipher_operator.core.rotation import (
    ANNOTATION_PASSWORD_SET,
    ANNOTATION_ROTATION,
    password_annotations,
    rotation_due,
    seconds_to_rotation,
)

DAY = 86_400.0
SET_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
WRITTEN = {ANNOTATION_PASSWORD_SET: SET_AT.isoformat(timespec="seconds")}
QUIET, ASKED = Requests({}), Requests({"rotate": "1"})


def after(seconds: float) -> datetime:
    return SET_AT + timedelta(seconds=seconds)


DUE = {
    "no interval, years later": (QUIET, None, WRITTEN, after(900 * DAY), False),
    "interval, just set": (QUIET, DAY, WRITTEN, after(0), False),
    "interval, a second before": (QUIET, DAY, WRITTEN, after(DAY - 1), False),
    "interval, to the second": (QUIET, DAY, WRITTEN, after(DAY), True),
    "interval, long ago: once, not once per day missed": (QUIET, DAY, WRITTEN, after(30 * DAY), True),
    "a clock that went back": (QUIET, DAY, WRITTEN, after(-DAY), False),
    "interval shortened below the age": (QUIET, 2 * DAY, WRITTEN, after(3 * DAY), True),
    "another zone, the same moment": (
        QUIET,
        DAY,
        {ANNOTATION_PASSWORD_SET: "2026-01-01T14:00:00+02:00"},
        after(DAY - 1),
        False,
    ),
    "interval, annotation removed": (QUIET, DAY, {}, after(0), True),
    "interval, annotation is no time": (QUIET, DAY, {ANNOTATION_PASSWORD_SET: "soon"}, after(0), True),
    "interval, a time without zone": (QUIET, DAY, {ANNOTATION_PASSWORD_SET: "2026-01-01T12:00:00"}, after(0), True),
    "no interval, annotation removed": (QUIET, None, {}, after(0), False),
    "asked for": (ASKED, None, WRITTEN, after(0), True),
    "asked for, and the Secret answers it: only the status write was lost": (
        ASKED,
        None,
        {**WRITTEN, ANNOTATION_ROTATION: "1"},
        after(0),
        False,
    ),
    "asked for anew": (Requests({"rotate": "2"}), None, {**WRITTEN, ANNOTATION_ROTATION: "1"}, after(0), True),
}


@pytest.mark.parametrize("case", list(DUE))
def test_due(case: str) -> None:
    requests, interval, annotations, now, due = DUE[case]
    assert rotation_due(requests, interval, annotations, now) is due


def test_a_year_of_checks_rotates_as_often_as_the_interval_fits() -> None:
    annotations, now, rotations = dict(WRITTEN), SET_AT, 0
    while now < SET_AT + timedelta(days=365):
        due = rotation_due(QUIET, 30 * DAY, annotations, now)
        rotations += due
        annotations = password_annotations(QUIET, annotations, now, changed=due)
        wait = seconds_to_rotation(30 * DAY, annotations, now)
        assert wait is not None
        assert wait > 0, "a rotation is not due again at once"
        now += timedelta(seconds=min(wait, 300.0))
    assert rotations == 12


@pytest.mark.parametrize("changed", [True, False], ids=["a new password", "the same password"])
def test_the_time_moves_only_with_the_password(changed: bool) -> None:
    written = password_annotations(QUIET, WRITTEN, after(60), changed=changed)
    assert (written[ANNOTATION_PASSWORD_SET] == WRITTEN[ANNOTATION_PASSWORD_SET]) is not changed
    assert ANNOTATION_ROTATION not in written


def test_the_request_is_written_with_the_password_that_answers_it() -> None:
    assert password_annotations(ASKED, WRITTEN, after(60), changed=True)[ANNOTATION_ROTATION] == "1"
    assert ANNOTATION_ROTATION not in password_annotations(ASKED, WRITTEN, after(60), changed=False)
