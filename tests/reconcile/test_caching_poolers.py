"""A pooler refuses a login whose password was just set: it is tested again after a moment, set again once at most, and
then only tested, however often it is refused (review: finding 8)."""

from collections.abc import Iterator
from typing import Any

import pytest

from cipher_operator.reconcile.conclude import GAP_SECONDS
from cipher_operator.reconcile.prove import GAPS
from support.caching_pooler import CachingPooler
from support.runs import Runs

NEVER_LEARNS = 1_000
REFUSED, READY = ("False", "AuthenticationFailed"), ("True", "Ready")


@pytest.fixture
def pooler(runs: Runs) -> Iterator[CachingPooler]:
    with CachingPooler(runs.server, f"app_{runs.database}") as running:
        yield running


@pytest.fixture(params=["the operator's own door", "the pods' door"])
def spec(request: pytest.FixtureRequest, runs: Runs, pooler: CachingPooler) -> dict[str, Any]:
    """Have the operator, or pods alone, go through the pooler; give the storage's spec."""
    if request.param == "the pods' door":
        runs.admin_secret()
        return {"app": {"host": pooler.host, "port": pooler.port}}
    url = runs.server.admin_url(sslmode="disable")
    runs.api.secret("pg-admin", {"CIPHER_PG_URL": url.replace(f":{runs.server.port}/", f":{pooler.port}/")})
    return {}


def passwords_set(runs: Runs) -> int:
    """Return how often one was since the log was marked: in CREATE ROLE and ALTER ROLE alike."""
    return runs.server.log_text().count("PASSWORD 'SCRAM")


def a_minute_passes(runs: Runs) -> None:
    """Let what was refused be tried again."""
    for lane in runs.lanes._lanes.values():
        for known in lane.credentials.values():
            known.cause = None


async def test_a_first_password_is_tested_until_the_pooler_knows_it(
    runs: Runs, pooler: CachingPooler, spec: dict[str, Any]
) -> None:
    runs.server.mark_log()
    runs.storage(**spec)
    pooler.stale = GAPS - 1
    for _ in range(GAPS - 1):
        following = await runs.run()
        assert runs.says() == REFUSED
        assert following.after == GAP_SECONDS
        assert runs.api.data("chat-cipher") is None
    await runs.run()
    assert runs.says() == READY, "the verdict of a moment ago was forgotten at this door"
    assert (passwords_set(runs), pooler.tried) == (1, GAPS)


async def test_a_new_password_is_published_when_the_pooler_knows_it(
    runs: Runs, pooler: CachingPooler, spec: dict[str, Any]
) -> None:
    await runs.ready(**spec)
    before, tried = runs.secret(), pooler.tried
    runs.server.mark_log()
    runs.ask("rotate")
    pooler.stale = GAPS - 1
    for _ in range(GAPS - 1):
        assert (await runs.run()).after == GAP_SECONDS
        assert runs.says() == READY, "pods have the login before, which works"
        assert runs.secret() == before
    await runs.run()
    assert runs.says() == READY
    assert runs.secret()["password"] != before["password"]
    assert (passwords_set(runs), pooler.tried - tried) == (1, GAPS)


async def test_one_that_never_learns_is_tested_seldom_and_written_to_once(
    runs: Runs, pooler: CachingPooler, spec: dict[str, Any]
) -> None:
    runs.server.mark_log()
    runs.storage(**spec)
    pooler.stale = NEVER_LEARNS
    for _ in range(2 * GAPS):
        await runs.run()
    assert runs.says() == REFUSED
    assert (passwords_set(runs), pooler.tried) == (1, GAPS), "after the gaps a verdict is remembered for a minute"
    for minute in range(1, 4):
        a_minute_passes(runs)
        for _ in range(2):
            await runs.run()
        assert pooler.tried == GAPS + minute, "one more refusal, by the server itself"
        assert passwords_set(runs) == 1, "and no more writes"
    pooler.stale = 0
    a_minute_passes(runs)
    await runs.run()
    assert runs.says() == READY


async def test_a_published_login_that_is_refused_is_set_again_once(
    runs: Runs, pooler: CachingPooler, spec: dict[str, Any]
) -> None:
    await runs.ready(**spec)
    own = "app" not in spec
    tried = pooler.tried
    runs.server.mark_log()
    pooler.stale = NEVER_LEARNS
    runs.ask()
    for _ in range(2 * GAPS):
        await runs.run()
    assert runs.says() == REFUSED
    # What only the pods' door says is nothing that the server's password mends.
    assert passwords_set(runs) == int(own)
    refused = pooler.tried - tried
    for minute in range(1, 4):
        a_minute_passes(runs)
        for _ in range(2):
            await runs.run()
        assert (pooler.tried - tried, passwords_set(runs)) == (refused + minute, int(own))


async def test_a_refusal_that_is_only_remembered_writes_nothing(runs: Runs, pooler: CachingPooler) -> None:
    """Whoever leads again, a moment later, has forgotten that the password was set again, and not the verdict."""
    runs.api.secret(
        "pg-admin",
        {
            "CIPHER_PG_URL": runs.server.admin_url(sslmode="disable").replace(
                f":{runs.server.port}/", f":{pooler.port}/"
            )
        },
    )
    await runs.ready()
    pooler.stale = NEVER_LEARNS
    runs.ask()
    for _ in range(2 * GAPS):
        await runs.run()
    await runs.reconciler.reset()
    runs.server.mark_log()
    tried = pooler.tried
    for _ in range(3):
        await runs.run()
        assert runs.says() == REFUSED
    assert (pooler.tried - tried, passwords_set(runs)) == (0, 0)
