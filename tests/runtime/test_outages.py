"""An API server that goes, a kind that comes, a right that is missing: on a control plane of these tests' own."""

import asyncio
import itertools
import json
import logging
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from aiohttp import web

from cipher_operator import __version__
from cipher_operator.api.names import GROUP
from devcluster import ControlPlane
from support.cluster import PATIENCE, ROOT, Namespace
from support.crd import KINDS
from support.front import front
from support.stand_in import OWN, running

pytestmark = pytest.mark.cluster

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def plane(own_plane: ControlPlane) -> ControlPlane:
    return own_plane


@pytest.fixture
def account(plane: ControlPlane) -> Path:
    return plane.kubeconfig_for_service_account("cipher-system", "cipher-operator")


@pytest.fixture
def namespace(plane: ControlPlane) -> Namespace:
    return Namespace(plane, f"{OWN}outage-{next(_numbers)}")


async def kubectl(plane: ControlPlane, *arguments: str) -> str:
    return await asyncio.to_thread(plane.kubectl, *arguments)


async def delete_kinds(plane: ControlPlane) -> None:
    """Delete both CRDs and return when they are gone.

    The API server's finalizer of a kind fails while the storage of that kind is being made ready, and then waits twice
    as long each time: five minutes have been seen. A change of the CRD makes it look again.
    """
    await kubectl(plane, "delete", "-k", str(ROOT / "crds"), "--wait=false")
    for number in itertools.count():
        touch = {"metadata": {"annotations": {"tests/looked-at": str(number)}}}
        left = [kind for kind in KINDS if await asyncio.to_thread(_is_there, plane, f"{CRDS}/{kind}.{GROUP}", touch)]
        if not left:
            return
        assert number < PATIENCE, f"the CRDs of {left} are not gone"
        await asyncio.sleep(1)


CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def _is_there(plane: ControlPlane, path: str, change: dict[str, Any]) -> bool:
    try:
        plane.client().request("PATCH", path, change)
    except HTTPError as error:
        if error.code == 404:
            return False
        raise
    return True


@pytest.mark.parametrize("namespaced", [False, True], ids=["all namespaces", "one namespace"])
async def test_the_kind_comes_later_goes_and_comes_again(
    plane: ControlPlane, account: Path, namespace: Namespace, namespaced: bool
) -> None:
    crds = str(ROOT / "crds")
    await delete_kinds(plane)
    flags = ("--namespace", namespace.name, "--instance-id", "x") if namespaced else ()
    async with running(account, *flags) as operator:
        if not namespaced:
            await operator.until(lambda: "is not installed" in (operator.not_ready or ""))
        for number in range(3):
            await kubectl(plane, "apply", "-k", crds)
            await kubectl(plane, "wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
            namespace.storage(f"chat-{number}")
            key = namespace.name, f"chat-{number}"
            await operator.until(lambda: operator.stand_in.count(key) >= 1)  # noqa: B023
            await operator.ready()
            await delete_kinds(plane)
            await asyncio.sleep(1)
    await kubectl(plane, "apply", "-k", crds)
    await kubectl(plane, "wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")


OLD = ROOT / "tests" / "crd" / "earlier" / "cipherstorages_before_servers.yaml"


async def test_crds_that_are_older_than_the_operator_are_said_with_what_mends_them(
    plane: ControlPlane, account: Path, namespace: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cipher_operator")
    crds = str(ROOT / "crds")
    await delete_kinds(plane)
    await kubectl(plane, "apply", "-f", str(OLD))
    await kubectl(plane, "wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
    lacking = (
        "the CRD cipherservers.storage.cipher.dev is not installed; the CRD cipherstorages.storage.cipher.dev is older "
        f"than this operator and lacks `spec.connection.serverRef`. Apply the CRDs of {__version__}: `kubectl apply -k "
        "crds`, or `helm upgrade`"
    )
    async with running(account, "--server-secrets-namespace", "cipher-system") as operator:
        await operator.until(lambda: lacking in caplog.text)
        await operator.ready()
        assert "the CRDs are as" not in caplog.text
        await kubectl(plane, "apply", "-k", crds)
        await operator.until(lambda: f"the CRDs are as cipher-operator {__version__} needs them" in caplog.text)
        namespace.storage("chat")
        await operator.until(lambda: operator.stand_in.count((namespace.name, "chat")) >= 1)
    assert caplog.text.count("Apply the CRDs") == 1
    away = "the watch of cipherservers is interrupted: the CRD cipherservers.storage.cipher.dev is not installed"
    assert caplog.text.count(away) == 1
    assert "404 404" not in caplog.text


async def test_all_rights_that_are_missing_are_said_together_with_what_grants_them(
    plane: ControlPlane, namespace: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    """The manifests are there, and the Pod runs as another ServiceAccount than theirs."""
    caplog.set_level(logging.INFO, "cipher_operator")
    await kubectl(plane, "-n", namespace.name, "create", "serviceaccount", "other")
    other = plane.kubeconfig_for_service_account(namespace.name, "other")
    flags = ("--instance-id", "x", "--leader-election", "--leader-election-namespace", namespace.name)
    async with running(other, *flags) as operator:
        await operator.until(lambda: "lacks rights" in caplog.text)
        (line,) = [each.getMessage() for each in caplog.records if "lacks rights" in each.getMessage()]
        assert line.startswith(f"system:serviceaccount:{namespace.name}:other lacks rights: ")
        for right in (
            "get/list/watch/create/update/patch secrets",
            "get/list/watch/patch cipherstorages.storage.cipher.dev",
            "patch cipherstorages.storage.cipher.dev/status in the whole cluster",
            f"get/update leases.coordination.k8s.io 'cipher-operator' in namespace {namespace.name}",
        ):
            assert right in line
        assert "`kubectl apply -k manifests/base`" in line
        refused = "the watch of secrets is interrupted: the operator may not list secrets in the whole cluster (403"
        assert refused in caplog.text
        admin = ("--clusterrole", "cluster-admin", "--serviceaccount", f"{namespace.name}:other")
        await kubectl(plane, "create", "clusterrolebinding", namespace.name, *admin)
        await operator.until(lambda: "the operator has all of its rights" in caplog.text)
        await operator.ready()
        namespace.storage("chat")
        await operator.until(lambda: operator.stand_in.count((namespace.name, "chat")) >= 1)
    await kubectl(plane, "delete", "clusterrolebinding", namespace.name)


async def test_the_right_to_watch_secrets_comes_later(plane: ControlPlane, account: Path, namespace: Namespace) -> None:
    rules = json.loads(await kubectl(plane, "get", "clusterrole", "cipher-operator", "-o", "json"))["rules"]
    at = next(number for number, rule in enumerate(rules) if rule["resources"] == ["secrets"])
    steps = [{"op": "replace", "path": f"/rules/{at}/verbs", "value": ["get", "create", "update", "patch"]}]
    await kubectl(plane, "patch", "clusterrole", "cipher-operator", "--type=json", "-p", json.dumps(steps))
    async with running(account) as operator:
        key, runs = (namespace.name, "chat"), operator.stand_in
        await operator.ready()
        namespace.storage("chat")
        await operator.until(lambda: runs.count(key) == 1)
        namespace.secret("pg-admin", {"a": "1"})
        await asyncio.sleep(6)
        assert (runs.count(key), operator.task.done()) == (1, False)
        await kubectl(plane, "apply", "-k", str(ROOT / "manifests" / "base"))
        await operator.until(lambda: runs.count(key) == 2)


@pytest.mark.parametrize("seconds", [25])
async def test_the_api_server_is_away(
    plane: ControlPlane, account: Path, namespace: Namespace, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cipher_operator")
    async with running(account) as operator:
        key, runs = (namespace.name, "chat"), operator.stand_in
        await operator.ready()
        namespace.storage("chat")
        await operator.until(lambda: runs.count(key) == 1)
        await asyncio.to_thread(plane.stop_apiserver)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(plane.start_apiserver)
        before = runs.count(key)
        await asyncio.to_thread(namespace.patch, "chat", {"spec": {"interval": "10m"}})
        await operator.until(lambda: runs.count(key) > before)
        before = runs.count(key)
        await asyncio.to_thread(namespace.secret, "pg-admin", {"a": "1"})
        await operator.until(lambda: runs.count(key) > before)
        assert operator.operator._alive() is None
        await operator.until(lambda: "answers again" in caplog.text)
    told = [each.getMessage() for each in caplog.records if "outage" in each.name]
    assert [line.partition(":")[0].partition(",")[0] for line in told] == [
        "the Kubernetes API does not answer",
        "the Kubernetes API answers again",
    ]


async def test_an_api_server_that_is_away_at_the_start(plane: ControlPlane, account: Path) -> None:
    await asyncio.to_thread(plane.stop_apiserver)
    async with running(account) as operator:
        await operator.until(lambda: operator.not_ready == "the Kubernetes API does not answer")
        await asyncio.to_thread(plane.start_apiserver)
        await operator.ready()


PAGE = 100
"""How many storages the informer lists at once."""
LOST = {
    "a list that lasted longer than the server remembers its beginning": ("continue", 410),
    "a watch whose place is lost": ("watch", 410),
    "a watch that is refused as bad": ("watch", 400),
}


@pytest.mark.parametrize("case", LOST)
async def test_a_refused_list_or_watch_begins_anew(
    plane: ControlPlane, account: Path, namespace: Namespace, tmp_path: Path, case: str
) -> None:
    parameter, status = LOST[case]
    refused: list[str] = []

    def judge(request: web.Request) -> int | None:
        # kopf's alone: the reflectors have tests of their own.
        mine = request.path.endswith("/cipherstorages") and "PartialObjectMetadata" not in request.headers.get(
            "Accept", ""
        )
        if mine and parameter in request.query and len(refused) < 2:
            refused.append(request.path_qs)
            return status
        return None

    names = [f"chat-{number:03d}" for number in range(PAGE + 1)]
    await asyncio.to_thread(lambda: [namespace.storage(name) for name in names])
    async with front(account, judge, tmp_path / "kubeconfig") as door, running(door) as operator:
        await operator.ready()
        await operator.until(lambda: all(operator.stand_in.count((namespace.name, name)) for name in names))
        namespace.storage("later")
        await operator.until(lambda: operator.stand_in.count((namespace.name, "later")) == 1)
    assert len(refused) == 2
    await kubectl(plane, "-n", namespace.name, "delete", "cstore", "--all", "--wait=false")
