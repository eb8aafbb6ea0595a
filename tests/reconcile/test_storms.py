"""What a tenant asks for without end: it is bounded, and in the end what he asked for last is done."""

from support.runs import Runs

EVERY = 10.0
"""Seconds between two rotations."""


def rotations(runs: Runs) -> int:
    return sum(reason == "PasswordRotated" for reason, _ in runs.api.events())


async def test_a_password_that_is_rotated_all_the_time_changes_now_and_then(runs: Runs) -> None:
    await runs.ready()
    seen = {runs.secret()["password"]}
    for number in range(30):
        runs.ask("rotate", str(number))
        await runs.run()
        seen.add(runs.secret()["password"])
        runs.seconds += 0.9
    assert len(seen) == 1 + 1 + 27 // EVERY
    assert runs.condition()["status"] == "True"
    following = await runs.run()
    assert following.after is not None and 0 < following.after <= EVERY, "what is asked for is not forgotten"
    assert runs.api.status()["handledRequests"] != {"rotate": "29"}
    runs.seconds += following.after
    last = runs.secret()["password"]
    await runs.run()
    assert runs.secret()["password"] != last
    assert runs.api.status()["handledRequests"] == {"rotate": "29"}
    writes = runs.writes()
    await runs.run()
    assert runs.writes() == writes


async def test_an_age_of_the_password_that_others_change_in_the_secret_rotates_no_faster(runs: Runs) -> None:
    await runs.ready(passwordRotation={"interval": "24h"})
    seen = {runs.secret()["password"]}
    for _ in range(20):
        stale = {"metadata": {"annotations": {"storage.cipher.dev/password-set-at": "2020-01-01T00:00:00+00:00"}}}
        runs.api.change("secrets", "chat-cipher", stale)
        await runs.run()
        seen.add(runs.secret()["password"])
        runs.seconds += 0.9
    assert len(seen) == 1 + 1 + 18 // EVERY


async def test_a_rotation_waits_for_no_first_password_and_for_no_other_request(runs: Runs) -> None:
    await runs.ready()
    runs.ask("rotate")
    await runs.run()
    assert runs.api.status()["handledRequests"] == {"rotate": "1"}, "at once after the first"
    runs.ask("rotate", "2")
    runs.ask("reconcile", "2")
    await runs.run()
    assert runs.api.status()["handledRequests"] == {"rotate": "1", "reconcile": "2"}
