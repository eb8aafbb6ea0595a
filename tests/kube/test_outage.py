"""What is said of an API server that does not answer: once when it begins and once when it ends, whoever asks it."""

import logging

import pytest

from cipher_operator.kube import outage
from cipher_operator.kube.outage import ApiOutage, Outage

AWAY = "the Kubernetes API does not answer: 429; trying again"
BACK = "the Kubernetes API answers again, after 0 s"
B_OUT, B_BACK = "b is interrupted: 429; trying again", "b goes on after 0 s"

# who is refused (+) or answered (-) one after the other, what is said
STORIES = {
    "one": ("+a -a", [AWAY, BACK]),
    "one, again and again": ("+a +a +a -a -a", [AWAY, BACK]),
    "three that come and go at different moments": ("+a +b +c -b -c -a", [AWAY, BACK]),
    "one that is answered all the time": ("-a -b +a -b -a -b", [AWAY, BACK]),
    "one that was not told before is told apart after the others are back": (
        "+a +b -a +b +b -b",
        [AWAY, BACK, B_OUT, B_BACK],
    ),
    "the next outage": ("+a +b -b -a +b +a -a -b", [AWAY, BACK, AWAY, BACK]),
    "one stays out alone, and then all are": ("+a +b -a +b -b +a -a", [AWAY, BACK, B_OUT, B_BACK, AWAY, BACK]),
}


@pytest.mark.parametrize("case", STORIES)
async def test_an_outage_is_said_once(case: str, caplog: pytest.LogCaptureFixture) -> None:
    story, said = STORIES[case]
    caplog.set_level(logging.INFO)
    api = ApiOutage()
    for each in story.split():
        if each[0] == "+":
            api.begin(each[1:], "429")
        else:
            api.end(each[1:])
    assert caplog.messages == said


async def test_a_watch_tells_its_own_trouble_beside_the_api_servers(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    api = ApiOutage()
    secrets, configmaps = Outage("secrets", api), Outage("configmaps", api)
    for watch in (secrets, configmaps, secrets, configmaps):
        watch.note("429", everybody=True)
    assert caplog.messages == [], "what lasts a moment is no outage"
    monkeypatch.setattr(outage, "LASTS", 0.0)
    for watch in (secrets, configmaps):
        watch.note("429", everybody=True)
    configmaps.note("403 Forbidden")
    assert caplog.messages == [AWAY], "an API server that begins knows no rights for a moment"
    secrets.note("403 Forbidden")
    secrets.note("403 Forbidden")
    configmaps.end()
    secrets.end()
    assert caplog.messages == [
        AWAY,
        "the watch of secrets is interrupted: 403 Forbidden; trying again",
        BACK,
        "the watch of secrets goes on after 0 s",
    ]
