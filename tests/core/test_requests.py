"""Requests: each value acts once, whatever asks."""

from typing import Any

import pytest

from cipher_operator.api.spec import parse_resource
from cipher_operator.core.requests import MAX_VALUE, Requests
from cipher_operator.reconcile.report.status import next_status
from cipher_operator.reconcile.result import Result

SOURCE = {"instance": "one", "namespace": "team", "name": "chat"}
ROTATE = "storage.cipher.dev/rotate-requested-at"

Case = tuple[dict[str, str], dict[str, Any], dict[str, str], dict[str, str]]
CASES: dict[str, Case] = {
    "nothing is asked": ({}, {}, {}, {}),
    "a new value": ({ROTATE: "2"}, {}, {"rotate": "1"}, {"rotate": "2"}),
    "a handled value": ({ROTATE: "1"}, {}, {"rotate": "1"}, {}),
    "an empty value asks nothing": ({ROTATE: ""}, {}, {}, {}),
    "a long value is cut as its copy is": ({ROTATE: "x" * 300}, {}, {"rotate": "x" * MAX_VALUE}, {}),
    "a stranger's annotation": ({"example.com/rotate-requested-at": "1"}, {}, {}, {}),
    "an owner to take over from": ({}, {"adoptFrom": SOURCE}, {}, {"adoptFrom": "one/team/chat"}),
    "the owner that was taken over from": ({}, {"adoptFrom": SOURCE}, {"adoptFrom": "one/team/chat"}, {}),
    "another owner": (
        {},
        {"adoptFrom": {**SOURCE, "instance": "two"}},
        {"adoptFrom": "one/team/chat"},
        {"adoptFrom": "two/team/chat"},
    ),
    "the field is taken away": ({}, {}, {"adoptFrom": "one/team/chat"}, {"adoptFrom": ""}),
}


@pytest.mark.parametrize("case", list(CASES))
def test_new_requests(case: str) -> None:
    annotations, spec, handled, expected = CASES[case]
    body = {
        "metadata": {"name": "chat", "namespace": "team", "uid": "u", "annotations": annotations},
        "spec": spec,
        "status": {"handledRequests": handled},
    }
    requests = Requests.of(parse_resource(body))
    assert requests.new == expected
    assert requests.adopt == bool(expected.get("adoptFrom"))


def test_a_field_that_was_taken_away_is_forgotten_so_that_it_can_ask_again() -> None:
    previous = {"handledRequests": {"adoptFrom": "one/team/chat", "rotate": "1"}}
    result = Result(handled={"adoptFrom": ""})
    status = next_status(result, previous, 2, "2026-01-01T00:00:00Z", progress_deadline=600)
    assert status["handledRequests"] == {"rotate": "1"}
