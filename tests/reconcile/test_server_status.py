"""The status of a CipherServer: kstatus's and Flux's rules hold for every one that a run can write."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.observed import Admin
from cipher_operator.reconcile.report.server import ServerResult, only_counted, server_status
from support.kstatus import server_violations

DEADLINE = 600.0
NOT_FAILURES = {Reason.READY, Reason.OBSERVED, Reason.CHANGES_PENDING, Reason.PROGRESSING, Reason.DELETING}
REASONS = [each for each in Reason if each not in NOT_FAILURES | {Reason.PROGRESS_DEADLINE_EXCEEDED}]

failures = st.builds(Failure, st.sampled_from(REASONS), st.text(max_size=40).map("it is so: {}".format))
admins = st.builds(Admin, st.text(min_size=1, max_size=8), *[st.booleans()] * 3)
results = st.builds(
    ServerResult,
    storages=st.integers(0, 3),
    failure=st.none() | failures.map(lambda failure: failure.at(ConditionType.CONNECTED)),
    version=st.sampled_from([0, 160_004]),
    admin=st.none() | admins,
    warnings=st.lists(st.just("a warning"), max_size=1).map(tuple),
    held=st.booleans(),
)
runs = st.lists(st.tuples(results, st.booleans(), st.integers(0, 900)), min_size=1, max_size=6)


@given(runs)
def test_every_status_keeps_the_rules(history: list[tuple[ServerResult, bool, int]]) -> None:
    status: dict[str, Any] = {"observedGeneration": -1}
    generation, now, before = 1, datetime(2026, 1, 1, tzinfo=UTC), None
    for result, changed, seconds in history:
        generation, now = generation + changed, now + timedelta(seconds=seconds)
        written = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        status = server_status(result, status, generation, written, progress_deadline=DEADLINE)
        body = {"metadata": {"generation": generation}, "status": status}
        assert server_violations(body, before) == []
        assert server_status(result, status, generation, written, progress_deadline=DEADLINE) == status
        before = body


def test_a_number_alone_is_told_from_news() -> None:
    standing = server_status(ServerResult(1), {}, 1, "2026-01-01T00:00:00Z", progress_deadline=DEADLINE)
    assert only_counted({**standing, "storages": 2}, standing)
    assert not only_counted(standing, standing)
    assert not only_counted({**standing, "storages": 2, "serverVersion": "16.4"}, standing)
