"""What the API server says about a Secret that it refuses: its words, without any value that was sent."""

import base64
import json

import pytest

from cipher_operator.kube.answers import decode_answer
from cipher_operator.kube.port import ApiError, ApiUnavailable
from cipher_operator.kube.redaction import MAX_READ, MAX_SAID
from cipher_operator.kube.refusals import Refusal, refusal

PASSWORD, URL = "Qx7mT2vK9pLd4sWz8aYb", "postgresql://app:Qx7mT2vK9pLd4sWz8aYb@db.example.com:5432/chat"
PLAIN = {"password": PASSWORD, "CIPHER_PG_URL": URL, "host": "db.example.com", "port": "5432"}
DATA = {key: base64.b64encode(value.encode()).decode() for key, value in PLAIN.items()}
REQUEST = {"kind": "Secret", "metadata": {"name": "chat-cipher"}, "data": DATA}
WORDS = "label team is required"
AWAY = 'Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: '


def refused(status: int, message: str, reason: str = "Invalid") -> ApiError:
    body = json.dumps({"kind": "Status", "reason": reason, "message": message}).encode()
    with pytest.raises(ApiError) as raised:
        decode_answer(status, {}, body, REQUEST)
    return raised.value


@pytest.mark.parametrize(
    "quoted",
    [
        PASSWORD,
        DATA["password"],
        URL,
        DATA["CIPHER_PG_URL"],
        DATA["CIPHER_PG_URL"][:40],
        DATA["CIPHER_PG_URL"][20:],
        PASSWORD[:14],
        f"got={PASSWORD}.",
        json.dumps(PLAIN),
        json.dumps(DATA),
        "x" * (MAX_READ - 50) + DATA["CIPHER_PG_URL"],
    ],
    ids=[
        "a password",
        "a password as it is stored",
        "a URL",
        "a URL as it is stored",
        "the begin of one",
        "the end of one",
        "the begin of a password",
        "between other characters",
        "all of it",
        "all of it as it is stored",
        "where the message is cut",
    ],
)
def test_no_value_that_was_sent_is_repeated(quoted: str) -> None:
    error = refused(422, f"{WORDS}; data was {quoted}")
    assert WORDS in error.message and len(error.message) <= MAX_SAID
    for value in (*PLAIN.values(), *DATA.values()):
        for at in range(0, len(value) - 12):
            assert value[at : at + 12] not in error.message


def test_the_words_themselves_stay() -> None:
    said = f"secrets \"chat-cipher\" is forbidden: ValidatingAdmissionPolicy 'require-team' denied request: {WORDS}"
    assert refused(403, said, "Forbidden").message == said


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (422, f"ValidatingAdmissionPolicy 'require-team' with binding 'x' denied request: {WORDS}", Refusal.ADMISSION),
        (400, f'admission webhook "check.example.com" denied the request: {WORDS}', Refusal.ADMISSION),
        (403, "secrets is forbidden: exceeded quota: few, requested: secrets=1", Refusal.QUOTA),
        (500, AWAY + 'Post "https://x.y.svc:443/": dial tcp 10.0.0.1:443: connection refused', Refusal.WEBHOOK_AWAY),
        (504, AWAY + "context deadline exceeded", Refusal.WEBHOOK_AWAY),
        (503, AWAY + "no endpoints available", Refusal.WEBHOOK_AWAY),
    ],
)
def test_a_refusal_of_one_secret_is_told_from_an_outage(status: int, message: str, kind: Refusal) -> None:
    assert refusal(refused(status, message)) is kind


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_an_outage_is_told_from_a_refusal(status: int) -> None:
    body = json.dumps({"kind": "Status", "message": "etcdserver: request timed out"}).encode()
    with pytest.raises(ApiUnavailable):
        decode_answer(status, {}, body, REQUEST)


NO_OBJECT = {
    "a page of a gateway": b"<html>welcome</html>",
    "half of an object": b'{"metadata":{"uid":"1"',
    "nothing": b"",
    "an array": b"[]",
    "no UTF-8": b'{"a":"\xfc"}',
}


@pytest.mark.parametrize("case", NO_OBJECT)
@pytest.mark.parametrize("status", [200, 201])
def test_a_success_that_is_no_object_is_no_answer(case: str, status: int) -> None:
    """A run that took it for an object ended in a KeyError, and said that the server or the operator is broken."""
    with pytest.raises(ApiUnavailable, match="the answer is no object"):
        decode_answer(status, {}, NO_OBJECT[case], REQUEST)
