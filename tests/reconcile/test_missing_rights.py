"""An operator that may not read what a storage names says so, once it is no start of an API server; and so where that
cannot be read by anybody."""

import pytest

from cipher_operator.kube.port import ApiUnavailable
from cipher_operator.reconcile.conclude import REFUSED_FOR
from support.runs import NAMESPACE, SERVERS
from support.tenants import PROD, Tenants

OPERATOR = "system:serviceaccount:cipher-system:cipher-operator"


def forbid(tenants: Tenants, namespace: str, resource: str = "secrets") -> None:
    """Refuse to read a kind in a namespace, in the API server's words."""
    said = f'{resource} "x" is forbidden: User "{OPERATOR}" cannot get resource "{resource}" in API group ""'
    path = f"/namespaces/{namespace}/{resource}/"
    tenants.api.answer(403, "Forbidden", message=f'{said} in the namespace "{namespace}"', verb="GET", path=path)


CASES = {
    "in the storage's namespace": (
        NAMESPACE,
        f"the operator may not get secrets in namespace '{NAMESPACE}': whoever installed it must give it that right",
    ),
    "in the operator's own": (SERVERS, "the Kubernetes API refused a request of the operator: Forbidden"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("before", ["new", "Ready"])
async def test_it_is_said_once_it_lasts(tenants: Tenants, case: str, before: str) -> None:
    namespace, said = CASES[case]
    tenants.platform()
    if before == "Ready":
        await tenants.ready_tenant()
    else:
        tenants.tenant()
    forbid(tenants, namespace)
    first = await tenants.look()
    assert first == (("True", "Ready") if before == "Ready" else ("", "")), "an API server that starts refuses anybody"
    tenants.seconds += REFUSED_FOR
    assert await tenants.look() == ("False", "Unknown")
    message = tenants.api.condition("chat")["message"]
    assert said in message
    assert OPERATOR not in message and (namespace == NAMESPACE or namespace not in message)
    tenants.api.mend()
    for _ in range(4):
        await tenants.look()
    assert tenants.told() == ("True", "Ready")
    forbid(tenants, namespace)
    assert await tenants.look() == ("True", "Ready"), "it begins to count anew"


BROKEN = "the Kubernetes API fails on an object that the spec names, or that is kept for it (500 InternalError)"


@pytest.mark.parametrize("namespace", [NAMESPACE, SERVERS], ids=["in the storage's namespace", "in the operator's own"])
async def test_so_is_a_secret_that_the_api_server_cannot_decrypt(
    tenants: Tenants, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The storage stayed Ready with nothing said, or without any word, and its run closed the API server's lane."""
    said = "Internal error occurred: unable to transform key"
    tenants.platform()
    await tenants.ready_tenant()
    tenants.api.answer(500, "InternalError", message=said, verb="GET", path=f"/namespaces/{namespace}/secrets/")
    assert await tenants.look() == ("True", "Ready")
    assert "the Kubernetes API failed: 500 InternalError; trying again" in caplog.messages
    tenants.seconds += REFUSED_FOR
    assert await tenants.look() == ("False", "Unknown")
    assert tenants.api.condition("chat")["message"].startswith(BROKEN)
    assert tenants.lanes.reachable, "others are run"
    if namespace == SERVERS:
        await tenants.look_at_server()
        tenants.seconds += REFUSED_FOR
        await tenants.look_at_server()
        assert tenants.server_ready()["message"].startswith(BROKEN)
    tenants.api.mend()
    tenants.seconds += 60
    assert await tenants.look() == ("True", "Ready")


async def test_a_server_s_secret_that_cannot_be_decrypted_holds_up_none_but_its_tenants(tenants: Tenants) -> None:
    """It is one object, whoever reads it: as many namespaces closed the API server's lane for everybody."""
    tenants.platform()
    for number in range(20):
        tenants.tenant(namespace=f"team-{number}")
    tenants.api.answer(500, "InternalError", verb="GET", path=f"/namespaces/{SERVERS}/secrets/")
    for number in range(20):
        await tenants.look(namespace=f"team-{number}")
        assert tenants.lanes.reachable, "others are run"
    assert tenants.outages == []


async def test_so_is_an_app_secret_for_which_an_admission_webhook_hangs(tenants: Tenants) -> None:
    """Its run waited ten seconds, and closed the API server's lane for all, again and again; nothing was said of it."""

    def hang() -> None:
        raise ApiUnavailable("no answer within 10 s", alone=True)

    tenants.platform()
    await tenants.ready_tenant()
    tenants.api.delete("secrets", "chat-cipher")
    tenants.api.fault("POST", "/secrets", act=hang)
    assert await tenants.look() == ("True", "Ready"), "it may be a moment"
    tenants.seconds += REFUSED_FOR
    assert await tenants.look() == ("False", "Unknown")
    assert "an admission webhook that hangs be mended" in tenants.api.condition("chat")["message"]
    assert tenants.lanes.reachable, "others are run"
    tenants.api.mend()
    for _ in range(2):
        await tenants.look()
    assert tenants.told() == ("True", "Ready")
    tenants.api.delete("secrets", "chat-cipher")
    tenants.api.fault("POST", "/secrets", act=hang)
    assert await tenants.look() == ("True", "Ready"), "it begins to count anew"


async def test_an_api_server_that_does_not_answer_says_nothing_of_a_storage(tenants: Tenants) -> None:
    tenants.platform()
    await tenants.ready_tenant()
    tenants.api.answer(503, "ServiceUnavailable", verb="GET", path=f"/namespaces/{NAMESPACE}/secrets/")
    for _ in range(3):
        assert await tenants.look() == ("True", "Ready")
        tenants.seconds += REFUSED_FOR
    assert not tenants.lanes.reachable


async def test_all_that_one_look_lacks_is_said_at_once(tenants: Tenants) -> None:
    spec = {
        "connection": {
            "secretRef": {"name": "pg-admin"},
            "sslMode": "verify-full",
            "caRef": {"kind": "ConfigMap", "name": "ca", "key": "ca.crt"},
        },
        "app": {"caPath": "/etc/ca.crt"},
    }
    tenants.api.storage(spec=spec)
    forbid(tenants, NAMESPACE)
    forbid(tenants, NAMESPACE, "configmaps")
    await tenants.look()
    tenants.seconds += REFUSED_FOR
    assert await tenants.look() == ("False", "Unknown")
    missing = f"get configmaps in namespace '{NAMESPACE}' and get secrets in namespace '{NAMESPACE}'"
    said = f"the operator may not {missing}: whoever installed it must give it these rights (RBAC)"
    assert tenants.api.condition("chat")["message"] == said


@pytest.mark.parametrize("code", [403, 500], ids=["no right", "nobody can read it"])
async def test_force_delete_needs_no_right_to_read_and_is_named(tenants: Tenants, code: int) -> None:
    tenants.platform(limits={"deletionPolicies": ["Delete"]})
    await tenants.ready_tenant(deletionPolicy="Delete")
    tenants.api.answer(code, "InternalError", verb="GET", path=f"/namespaces/{NAMESPACE}/secrets/")
    tenants.api.delete("cipherstorages", "chat")
    await tenants.look()
    assert tenants.api.read("cipherstorages", "chat") is not None
    tenants.seconds += REFUSED_FOR
    assert await tenants.look() == ("False", "Unknown")
    message = tenants.api.condition("chat")["message"]
    assert message.startswith("The deletion waits: the Kubernetes API ")
    assert message.endswith('everything on the server, set annotation `storage.cipher.dev/force-delete: "true"`')
    tenants.api.annotate("chat", "force-delete", "true")
    await tenants.look()
    assert tenants.api.read("cipherstorages", "chat") is None


async def test_what_is_gone_meanwhile_is_forgotten(tenants: Tenants) -> None:
    tenants.platform()
    tenants.tenant()
    forbid(tenants, NAMESPACE)
    await tenants.look()
    tenants.api.delete("cipherstorages", "chat")
    assert (await tenants.run()).gone


@pytest.mark.parametrize("used", [False, True], ids=["used by nobody", "used"])
async def test_a_server_says_it_too(tenants: Tenants, used: bool) -> None:
    """Whoever runs the platform looks there first, and his alert is about what it says."""
    tenants.platform()
    if used:
        await tenants.ready_tenant()
    await tenants.look_at_server()
    assert tenants.server_ready()["status"] == "True"
    forbid(tenants, SERVERS)
    assert (await tenants.look_at_server()).failed
    assert tenants.server_ready()["status"] == "True", "an API server that starts refuses anybody"
    tenants.seconds += REFUSED_FOR
    await tenants.look_at_server()
    ready = tenants.server_ready()
    assert (ready["status"], ready["reason"]) == ("False", "Unknown")
    assert f"the operator may not get secrets in namespace '{SERVERS}'" in ready["message"]
    assert OPERATOR not in ready["message"]
    assert tenants.server_status()["storages"] == int(used)
    assert tenants.held("cipherservers", PROD) is used, "what is not known is not let go"
    tenants.api.mend()
    tenants.seconds += 60
    await tenants.look_at_server()
    assert tenants.server_ready()["status"] == "True"
    forbid(tenants, SERVERS)
    await tenants.look_at_server()
    assert tenants.server_ready()["status"] == "True", "it begins to count anew"
