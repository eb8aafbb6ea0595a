"""`plan` and `check` of what is in a cluster, with somebody's own rights: what he lacks is said."""

from collections.abc import Callable
from typing import Any

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.names import GROUP
from cipher_operator.kube.port import JSON, ApiError, Json
from cipher_operator.postgres.provision import Report
from cipher_operator.reconcile.live import LookError, Own
from cipher_operator.reconcile.offline import Means
from support.memory_api import MemoryApi
from support.runs import NAMESPACE, SERVERS, Runs
from support.tenants import Tenants

CHAT = (NAMESPACE, "chat")
SELECTS = {"from": "Selector", "selector": {"matchLabels": {"cipher": "yes"}}}


async def look(runs: Runs, key: tuple[str, str] = CHAT) -> Report | Failure:
    own = Own(runs.api, SERVERS)
    await own.instance()
    return (await own.examine(key, Means(runs.around.rules, runs.policy, runs.tokens))).found


def forbidden(api: MemoryApi, path: str) -> None:
    api.answer(403, "Forbidden", message='User "ann" cannot get resource "x" in API group ""', path=path)


REFUSED: dict[str, tuple[Callable[[MemoryApi], object], str]] = {
    "nobody answers": (
        lambda api: api.fault(network=True),
        "the API server cannot be reached (ServerDisconnectedError): look whether it is up, and whether the network or "
        "VPN is; or choose another --context",
    ),
    "a server in trouble": (
        lambda api: api.answer(503, "ServiceUnavailable"),
        "the API server is in trouble (503 ServiceUnavailable): try again later",
    ),
    "too many requests": (
        lambda api: api.answer(429, "TooManyRequests"),
        "the API server is in trouble (429 TooManyRequests): try again later",
    ),
    "an expired login": (
        lambda api: api.answer(401, "Unauthorized"),
        "the cluster does not take this login (401 Unauthorized): log in again, or choose another --context",
    ),
    "no login": (
        lambda api: api.answer(403, "Forbidden", message='User "system:anonymous" cannot get resource "namespaces"'),
        "the cluster does not take this login (403 Forbidden): log in again, or choose another --context",
    ),
    "a request that it does not take": (
        lambda api: api.answer(400, "BadRequest", path="cipherstorages"),
        "the API server does not answer to get cipherstorages 'chat' in namespace 'ns' (400 BadRequest): try again",
    ),
    "not the instance": (
        lambda api: forbidden(api, "namespaces/kube-system$"),
        "this login may not get namespaces 'kube-system' (403 Forbidden): its uid is the default of --instance-id; "
        "give that flag, as whoever runs the operator knows it",
    ),
    "not the storage": (
        lambda api: forbidden(api, "cipherstorages"),
        "this login may not get cipherstorages 'chat' in namespace 'ns' (403 Forbidden): the role `view` in that "
        "namespace has this right",
    ),
    "not the app Secret": (
        lambda api: forbidden(api, "secrets/chat-cipher"),
        "this login may not get secrets 'chat-cipher' in namespace 'ns' (403 Forbidden): ask for this right in that "
        "namespace",
    ),
    "not the CipherServer": (
        lambda api: forbidden(api, "cipherservers"),
        "this login may not get cipherservers 'prod' (403 Forbidden): ask for the ClusterRole cipherserver-viewer by a "
        "ClusterRoleBinding, or have whoever runs it look",
    ),
    "not the Namespace, whose labels a CipherServer asks for": (
        lambda api: forbidden(api, "namespaces/ns$"),
        "this login may not get namespaces 'ns' (403 Forbidden): a CipherServer asks for its labels; the role `view` "
        "in that namespace has this right",
    ),
    "not the administrator's login": (
        lambda api: forbidden(api, "secrets/prod-admin"),
        "this login may not get secrets 'prod-admin' in namespace 'cipher-system' (403 Forbidden): what CipherServers "
        "name is there (--server-secrets-namespace), for whoever runs them; have him look. `kubectl describe cstore` "
        "shows what the operator says",
    ),
    "not the namespace's other storages, which a limit counts": (
        lambda api: api.answer(403, "Forbidden", verb="LIST", path="cipherstorages"),
        "this login may not list cipherstorages in namespace 'ns' (403 Forbidden): the role `view` in that namespace "
        "has this right",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_the_cluster_does_not_give_is_said(tenants: Tenants, case: str) -> None:
    trouble, said = REFUSED[case]
    tenants.platform(allowedNamespaces=SELECTS, limits={"storages": 3})
    tenants.tenant()
    tenants.api.change("namespaces", NAMESPACE, {"metadata": {"labels": {"cipher": "yes"}}}, namespace="")
    trouble(tenants.api)
    with pytest.raises(LookError) as raised:
        await look(tenants)
    assert str(raised.value) == said
    assert tenants.server.password not in str(raised.value)


NOT_INSTALLED = (
    "in this cluster the CRD cipherstorages.storage.cipher.dev is not installed: `kubectl apply -k crds`, or `helm "
    "upgrade`, or choose another --context"
)


class Discovery:
    """The API server in memory, which has no discovery, with one that names these kinds."""

    def __init__(self, api: MemoryApi, *kinds: str) -> None:
        self._api, self._kinds = api, kinds

    async def get(self, path: str, *, accept: str = JSON, **query: str) -> Json:
        if path == "/apis":
            return {"groups": [{"name": GROUP, "versions": [{"version": "v1alpha1"}]}] if self._kinds else []}
        if path == f"/apis/{GROUP}/v1alpha1":
            return {"resources": [{"name": each} for each in self._kinds]}
        if path.startswith("/apis/") and not any(each in path for each in self._kinds):
            raise ApiError(404, "NotFound")
        return await self._api.get(path, accept=accept, **query)


@pytest.mark.parametrize(
    ("kinds", "namespace", "trouble", "said"),
    [
        pytest.param((), NAMESPACE, None, NOT_INSTALLED, id="no group"),
        pytest.param(("x",), NAMESPACE, None, NOT_INSTALLED, id="no kind"),
        pytest.param(
            ("cipherstorages",), "shopp", None, "there is no namespace 'shopp' in this cluster; -n", id="no namespace"
        ),
        pytest.param(
            ("cipherstorages",), NAMESPACE, None, "there is no CipherStorage ns/chat; -n or --context", id="no storage"
        ),
        pytest.param(
            ("cipherstorages",), "shopp", "/shopp$", "there is no CipherStorage shopp/chat; -n", id="not to be seen"
        ),
    ],
)
async def test_why_there_is_no_such_storage(
    runs: Runs, kinds: tuple[str, ...], namespace: str, trouble: str | None, said: str
) -> None:
    if trouble is not None:
        forbidden(runs.api, trouble)
    own = Own(Discovery(runs.api, *kinds), SERVERS)
    with pytest.raises(LookError) as raised:
        await own.examine((namespace, "chat"), Means(runs.around.rules, runs.policy, runs.tokens))
    assert str(raised.value).startswith(said)


async def test_a_cluster_without_kube_system_needs_the_flag(runs: Runs) -> None:
    runs.api.answer(404, "NotFound", path="kube-system")
    with pytest.raises(LookError, match="give the flag"):
        await Own(runs.api, SERVERS).instance()


OFFERS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "open to all": ({}, set()),
    "open to named namespaces": ({"allowedNamespaces": {"from": "Selector", "names": ["ns"]}}, set()),
    "open by labels": ({"allowedNamespaces": SELECTS}, {"/api/v1/namespaces/ns"}),
    "open by names or labels": ({"allowedNamespaces": {**SELECTS, "names": ["ns"]}}, set()),
}


@pytest.mark.parametrize("case", OFFERS)
async def test_the_namespace_is_read_only_where_its_labels_decide(tenants: Tenants, case: str) -> None:
    """Nor are a namespace's objects listed, except for the one limit that counts them."""
    offer, expected = OFFERS[case]
    tenants.platform(**offer)
    tenants.tenant()
    tenants.api.change("namespaces", NAMESPACE, {"metadata": {"labels": {"cipher": "yes"}}}, namespace="")
    tenants.api.requests.clear()
    own = Own(tenants.api, SERVERS)
    found = (await own.examine(CHAT, Means(tenants.around.rules, tenants.policy, tenants.tokens))).found
    assert isinstance(found, Report), found
    assert {
        path for _, path in tenants.api.requests if path.startswith("/api/v1/namespaces/") and path.count("/") == 4
    } == expected
    assert tenants.api.count("LIST") == 0
    assert tenants.api.count("POST", "PUT", "PATCH") == 0


async def test_whoever_may_read_the_login_is_told_the_cause(tenants: Tenants) -> None:
    tenants.platform()
    wrong = tenants.server.admin_url(sslmode="disable", password="wrong")
    tenants.api.secret("prod-admin", {"CIPHER_PG_URL": wrong}, namespace=SERVERS)
    tenants.tenant()
    found = await look(tenants)
    assert isinstance(found, Failure)
    assert found.message.startswith("CipherServer 'prod': The server refused user or password of the admin login")
    await tenants.look()
    assert "admin login" not in tenants.text(), "a status keeps it from the tenant"
