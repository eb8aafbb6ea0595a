"""A proof is one of the terms it was made on: what the spec or the connection says otherwise counts at once."""

import pytest

from support.runs import Runs

NOT_READY, READY = ("False", "ConnectionRefused"), ("True", "Ready")
UNTESTED = "the pods' door could not be tested from here"
TURNS: dict[str, list[tuple[str, tuple[str, str], bool]]] = {
    "an answer is asked for": [("IfReachable", READY, True), ("Always", NOT_READY, False)],
    "and not any more": [("IfReachable", READY, True), ("Always", NOT_READY, False), ("IfReachable", READY, True)],
    "it is tried": [("Never", READY, False), ("IfReachable", READY, True)],
    "an answer is asked for, of what was not tried": [("Never", READY, False), ("Always", NOT_READY, False)],
    "what the warning asks for is done": [("IfReachable", READY, True), ("Never", READY, False)],
}


@pytest.mark.parametrize("case", list(TURNS))
async def test_how_the_pods_door_is_verified_counts_at_once(runs: Runs, case: str) -> None:
    """Nobody listens at that door."""
    runs.admin_secret()
    runs.storage(app={"host": "127.0.0.1", "port": 1})
    for verify, says, warned in TURNS[case]:
        runs.spec(app={"verify": verify})
        for _ in range(2):
            await runs.run()
            assert (runs.says(), UNTESTED in runs.message()) == (says, warned), (verify, runs.message())
        body = runs.api.read("cipherstorages", "chat")
        assert says != READY or (body and body["status"]["observedGeneration"] == body["metadata"]["generation"])


@pytest.mark.parametrize("term", ["target_session_attrs=read-write", "channel_binding=disable"])
async def test_a_login_is_tested_on_the_terms_that_the_connection_has_now(runs: Runs, term: str) -> None:
    await runs.ready()
    await runs.run()
    tests = runs.counts.connections["login"]
    name, _, value = term.partition("=")
    runs.admin_secret(**{name: value})
    for _ in range(2):
        await runs.run()
    assert runs.says() == READY, runs.message()
    assert runs.counts.connections["login"] == tests + 1, "once"
