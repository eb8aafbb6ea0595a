"""What an answer becomes: the kind of a refusal, its sentence without a Secret's content, how long to wait."""

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from cipher_operator.kube.access import load_access
from cipher_operator.kube.answers import decode_answer
from cipher_operator.kube.client import KubeClient
from cipher_operator.kube.port import JSON_PATCH, ApiError, ApiUnavailable, Json, Kube
from cipher_operator.kube.redaction import MAX_SAID
from cipher_operator.kube.refusals import Refusal, refusal
from devcluster import ControlPlane
from support.cluster import Namespace
from support.memory_api import MemoryApi

PASSWORD = "kW7pQ2xV9mTz4RbN8sLd1FgH6jYc3ZaE"
SHORT = "hunter2"
PEM = "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUJm3bq0f5\n-----END CERTIFICATE-----\n"


def encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


SENT: Json = {
    "metadata": {"name": "chat-cipher", "labels": {"team": "search"}},
    "data": {"password": encoded(PASSWORD), "short": encoded(SHORT), "ca": encoded(PEM), "port": encoded("5432")},
    "stringData": {"CIPHER_PG_URL": f"postgresql://app:{PASSWORD}@db.internal:5432/chat", "quoted": 'so "secret" ü\n'},
}


def refused(status: int, message: str, *, reason: str = "", sent: Any = None) -> ApiError:
    body = {"kind": "Status", "reason": reason, "message": message, "code": status}
    with pytest.raises(ApiError) as error:
        decode_answer(status, {}, json.dumps(body).encode(), sent)
    return error.value


FRAME = (
    "secrets \"chat-cipher\" is forbidden: ValidatingAdmissionPolicy 'need-team' with binding 'all' denied request: "
)
WEBHOOK = 'admission webhook "validate.kyverno.svc-fail" denied the request: '
KINDS: dict[str, tuple[int, str, Refusal]] = {
    "a policy": (422, FRAME + "label team is required", Refusal.ADMISSION),
    "a policy that answers Forbidden": (403, FRAME + "label team is required", Refusal.ADMISSION),
    "a policy that answers with a size": (413, FRAME + "label team is required", Refusal.ADMISSION),
    "a policy that speaks of quotas": (422, FRAME + "exceeded quota", Refusal.ADMISSION),
    "a policy of a long name": (422, FRAME.replace("need-team", "n" * 253), Refusal.ADMISSION),
    "a webhook": (400, WEBHOOK + "label team is required", Refusal.ADMISSION),
    "a webhook that answers 409": (409, WEBHOOK + "not now", Refusal.ADMISSION),
    "a plug-in of the API server": (403, 'secrets "a" is forbidden: not in this cluster', Refusal.ADMISSION),
    "an immutable Secret": (
        422,
        'Secret "a" is invalid: data: Forbidden: field is immutable when `immutable` is set',
        Refusal.IMMUTABLE,
    ),
    "a type that cannot change": (
        422,
        'Secret "a" is invalid: type: Invalid value: "b": field is immutable',
        Refusal.INVALID,
    ),
    "the schema": (422, 'CipherStorage "a" is invalid: status.database: Invalid value', Refusal.INVALID),
    "a test of a patch": (422, "the server rejected our request due to an error in our request", Refusal.CONFLICT),
    "a stale version": (409, 'Operation cannot be fulfilled on secrets "a": …', Refusal.CONFLICT),
    "a name that is taken": (409, 'secrets "a" already exists', Refusal.CONFLICT),
    "nothing there": (404, 'secrets "a" not found', Refusal.GONE),
    "a quota": (403, 'secrets "a" is forbidden: exceeded quota: q, requested: secrets=1', Refusal.QUOTA),
    "a namespace that goes": (
        403,
        'secrets "a" is forbidden: unable to create new content in namespace ns because it is being terminated',
        Refusal.TERMINATING,
    ),
    "no right": (
        403,
        'secrets is forbidden: User "system:serviceaccount:a:b" cannot create resource "secrets" in API group ""',
        Refusal.FORBIDDEN,
    ),
    "no right to block an owner": (
        403,
        'secrets "a" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you can\'t '
        "set finalizers on: , <nil>",
        Refusal.FORBIDDEN,
    ),
    "a token that has expired": (401, "Unauthorized", Refusal.FORBIDDEN),
    "what cannot be read": (400, 'Secret in version "v1" cannot be handled as a Secret: …', Refusal.INVALID),
}


@pytest.mark.parametrize("case", KINDS)
def test_kinds(case: str) -> None:
    status, message, expected = KINDS[case]
    assert refusal(refused(status, message)) is expected


QUOTES: dict[str, str] = {
    "base64": f"{FRAME}found {encoded(PASSWORD)} in data",
    "base64 without its end": f"{FRAME}found {encoded(PASSWORD).rstrip('=')}, which is no good",
    "itself": f"{FRAME}the password {PASSWORD} is known",
    "a short one": f"{FRAME}the password is {SHORT}!",
    "quoted": f'{FRAME}Invalid value: "{SHORT}"',
    "a URL": f"{FRAME}postgresql://app:{PASSWORD}@db.internal:5432/chat is not allowed",
    "a port": f"{FRAME}port 5432 is closed",
    "a line of a certificate": f"{FRAME}MIIBszCCAVmgAwIBAgIUJm3bq0f5 has expired",
    "escaped": f'{FRAME}value "so \\"secret\\" ü\\n" is odd',
    "within a sentence of lines": f"{FRAME}first\n{PASSWORD}\r\nlast",
    "of a webhook": f"{WEBHOOK}{encoded(PASSWORD)}",
}
CONTENT = (PASSWORD, encoded(PASSWORD)[:-2], SHORT, "5432", "MIIBszCC", "secret\\", "db.internal")


@pytest.mark.parametrize("case", QUOTES)
def test_nothing_of_a_secret_that_was_sent_is_repeated(case: str) -> None:
    message = refused(422, QUOTES[case], sent=SENT).message
    assert not [content for content in CONTENT if content in message], message
    assert "***" in message and "\n" not in message
    assert "need-team" in message or "kyverno" in message


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(FRAME + f"existing value {PASSWORD}", id="a password that was not sent"),
        pytest.param(FRAME + "see https://admin:pw@db.internal/x", id="a URL"),
        pytest.param(FRAME + "password=open", id="an assignment"),
        pytest.param(FRAME + encoded("something that is a secret 1"), id="base64"),
    ],
)
def test_what_looks_like_a_credential_is_not_repeated(message: str) -> None:
    said = refused(422, message).message
    assert said.startswith(FRAME) and said.endswith("***")


def test_the_texts_of_a_patch_are_not_repeated() -> None:
    patch = [{"op": "add", "path": "/metadata/labels", "value": {"x": "s3cr3t-label!"}}]
    said = refused(422, 'metadata.labels: Invalid value: "s3cr3t-label!": a label must …', sent=patch).message
    assert said == 'metadata.labels: Invalid value: "***": a label must …'


@pytest.mark.parametrize(
    "message",
    [
        FRAME + "label team is required (see runbook-17, ask team platform-eu1)",
        WEBHOOK + "Policy require-labels-v2: spec.app.labels must have team",
        'Secret "chat-cipher" is invalid: data: Forbidden: field is immutable when `immutable` is set',
        'secrets "chat-cipher" is forbidden: exceeded quota: q, requested: secrets=1, used: secrets=3',
    ],
)
def test_what_a_person_needs_is_left(message: str) -> None:
    assert refused(422, message, sent=SENT).message == message


@pytest.mark.parametrize("piece", ['error found in #10 byte of ...|"passw0rd-in-p|...', f"illegal: {PASSWORD[:9]}"])
def test_what_a_decoder_could_not_read_is_not_repeated(piece: str) -> None:
    assert refused(400, piece, sent=SENT).message == ""


@pytest.mark.parametrize("word", ["a" * 8_000, "aA" * 4_000, ":" * 8_000, "1" * 8_000])
def test_a_word_that_is_none_is_not_looked_through(word: str) -> None:
    """A policy may quote what a tenant has written; to look for credentials takes the square of a word's length."""
    begin = time.process_time()
    assert refused(422, FRAME + word).message == (FRAME + "***").strip()
    assert time.process_time() - begin < 0.4


def test_a_long_sentence_is_cut() -> None:
    assert len(refused(422, FRAME + "word " * 500).message) == MAX_SAID


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-1", 0.0),
        ("86400", 60.0),
        ("inf", 60.0),
        ("soon", None),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
        (timedelta(seconds=30), 30.0),
        (timedelta(seconds=-30), 0.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_how_long_the_server_asks_to_wait(status: int, header: str | timedelta | None, expected: float | None) -> None:
    if isinstance(header, timedelta):
        header = format_datetime(datetime.now(UTC) + header, usegmt=True)
    headers = {"Retry-After": header} if header is not None else {}
    with pytest.raises(ApiUnavailable) as error:
        decode_answer(status, headers, b"{}")
    assert error.value.status == status
    assert error.value.retry_after == (None if expected is None else pytest.approx(expected, abs=5))


def test_a_webhook_that_does_not_answer_is_named_without_its_address() -> None:
    text = (
        'Internal error occurred: failed calling webhook "validate.kyverno.svc-fail": failed to call webhook: Post '
        '"https://kyverno-svc.kyverno.svc:443/validate/fail?timeout=10s": dial tcp 10.96.7.1:443: connect: refused'
    )
    assert refused(500, text).message == 'failed calling webhook "validate.kyverno.svc-fail"'


# The same refusals, from a real API server and from the one in memory.


async def the_refusal(kube: Kube, namespace: str, name: str = "a", **fields: Any) -> ApiError | None:
    body = {"metadata": {"name": name}, "data": {"k": encoded(PASSWORD)}, **fields}
    try:
        await kube.post(f"/api/v1/namespaces/{namespace}/secrets", body)
    except ApiError as error:
        return error
    return None


async def until_refused(kube: Kube, namespace: str) -> ApiError:
    """Return the first refusal: policies and quotas come into force a moment after they are made."""
    for number in range(100):
        if (error := await the_refusal(kube, namespace, f"a{number}")) is not None:
            return error
        await asyncio.sleep(0.1)
    raise AssertionError("nothing was refused")


@pytest.fixture
def policy(plane: ControlPlane, namespace: Namespace) -> Iterator[str]:
    """A policy for the Secrets of the test's namespace that quotes what it refuses."""
    name = f"need-team-{namespace.name}"
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}]
    validation = {"expression": "false", "messageExpression": "'label team is required, not ' + string(object.data.k)"}
    spec: Json = {"matchConstraints": {"resourceRules": rules}, "validations": [validation]}
    where = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}}
    bound: Json = {"policyName": name, "validationActions": ["Deny"], "matchResources": where}
    for kind, content in (("ValidatingAdmissionPolicy", spec), ("ValidatingAdmissionPolicyBinding", bound)):
        body = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": content,
        }
        plane.kubectl("apply", "-f", "-", input=json.dumps(body))
    yield name
    plane.kubectl("delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", name)


async def test_a_policy(kube: KubeClient, namespace: Namespace, policy: str) -> None:
    real = await until_refused(kube, namespace.name)
    memory = MemoryApi()
    memory.policy("secrets", policy, f"label team is required, not {encoded(PASSWORD)}")
    remembered = await until_refused(memory, "ns")
    assert refusal(real) is refusal(remembered) is Refusal.ADMISSION
    assert real.message.endswith(f"ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: "
                                 "label team is required, not ***")  # fmt: skip
    name = real.message.split('"')[1]
    assert remembered.message == real.message.replace(name, "a0")


async def test_a_quota(plane: ControlPlane, kube: KubeClient, namespace: Namespace) -> None:
    plane.kubectl("-n", namespace.name, "create", "quota", "few", "--hard=secrets=2")
    error = await until_refused(kube, namespace.name)
    assert (refusal(error), "exceeded quota: few" in error.message) == (Refusal.QUOTA, True)


async def test_no_right(plane: ControlPlane, namespace: Namespace) -> None:
    plane.kubectl("-n", namespace.name, "create", "serviceaccount", "nobody")
    config = plane.kubeconfig_for_service_account(namespace.name, "nobody")
    async with KubeClient(await load_access({"KUBECONFIG": str(config)})) as nobody:
        error = await the_refusal(nobody, namespace.name)
    assert error is not None and refusal(error) is Refusal.FORBIDDEN


async def test_a_namespace_that_goes(kube: KubeClient, namespace: Namespace) -> None:
    namespace.request(
        "POST", namespace.path("secrets"), {"metadata": {"name": "held", "finalizers": ["example.com/a"]}}
    )
    namespace.request("DELETE", f"/api/v1/namespaces/{namespace.name}")
    real = await until_refused(kube, namespace.name)
    namespace.request("PATCH", namespace.path("secrets", "held"), {"metadata": {"finalizers": None}})
    memory = MemoryApi()
    memory.delete("namespaces", "ns")
    remembered = await until_refused(memory, "ns")
    assert refusal(real) is refusal(remembered) is Refusal.TERMINATING
    assert remembered.message.replace('"a0"', '"a"') == (
        real.message.replace(namespace.name, "ns").replace(real.message.split('"')[1], "a")
    )


async def test_an_immutable_secret(kube: KubeClient, namespace: Namespace) -> None:
    memory = MemoryApi()

    async def changed(api: Kube, where: str) -> ApiError | None:
        assert await the_refusal(api, where, immutable=True) is None
        try:
            step = {"op": "add", "path": "/data/k", "value": encoded("another")}
            await api.patch(f"/api/v1/namespaces/{where}/secrets/a", [step], JSON_PATCH)
        except ApiError as error:
            return error
        return None

    for error in (await changed(kube, namespace.name), await changed(memory, "ns")):
        assert error is not None and refusal(error) is Refusal.IMMUTABLE
