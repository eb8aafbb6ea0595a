"""Two replicas: whatever befalls the one that leads, the other ends its work, and the pods see nothing of it."""

from collections.abc import Iterator
from random import Random

import pytest

from devcluster import PostgresServer
from support.takeover import BUSY, LIMITS, SETTINGS, Pair, play


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(16, settings=SETTINGS) as running:
        yield running


def test_the_follower_is_ready_and_says_that_it_does_not_lead(both: Pair) -> None:
    leader, follower = both.leader(), both.follower()
    assert (leader.asked("health", "/readyz"), follower.asked("health", "/readyz")) == ("ok\n", "ok\n")
    for each, leads in ((leader, "1.0"), (follower, "0.0")):
        status = f'leader_election_master_status{{name="cipher-operator"}} {leads}'
        assert status in each.asked("metrics", "/metrics").splitlines()
    runs = [line for line in follower.asked("metrics", "/metrics").splitlines() if "connections_total{" in line]
    assert runs and all(line.endswith(" 0.0") for line in runs), "it makes no connection to a server"


@pytest.mark.parametrize("kind", LIMITS)
def test_the_other_one_takes_over(both: Pair, moments: Random, kind: str) -> None:
    outcome = play(both, kind, moments)
    took = f"{outcome.lease:.1f} s, {outcome.reaction:.1f} s to a status"
    print(f"takeover, {kind}: {took}, {outcome.under_way} of 4 under way, {outcome.requests} uses")
    assert outcome.stale == (), "who was stopped changes nothing when it goes on"
    assert outcome.refused == (), "the published login works at every moment"
    assert (outcome.lease if outcome.handover is None else outcome.handover) <= LIMITS[kind] + BUSY
