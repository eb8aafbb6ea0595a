"""An API server that goes, a kind that comes, a right that is missing: on a control plane of these tests' own."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from devcluster import ControlPlane
from support.cluster import ROOT, Namespace, install
from support.front import front
from support.stand_in import OWN, running

pytestmark = pytest.mark.cluster

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with ControlPlane(controller_manager=False) as own:
        install(own)
        yield own


@pytest.fixture
def account(plane: ControlPlane) -> Path:
    return plane.kubeconfig_for_service_account("cipher-system", "cipher-operator")


@pytest.fixture
def namespace(plane: ControlPlane) -> Namespace:
    return Namespace(plane, f"{OWN}outage-{next(_numbers)}")


async def kubectl(plane: ControlPlane, *arguments: str) -> str:
    return await asyncio.to_thread(plane.kubectl, *arguments)


@pytest.mark.parametrize("namespaced", [False, True], ids=["all namespaces", "one namespace"])
async def test_the_kind_comes_later_goes_and_comes_again(
    plane: ControlPlane, account: Path, namespace: Namespace, namespaced: bool
) -> None:
    crds = str(ROOT / "crds")
    await kubectl(plane, "delete", "-k", crds)
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
            await kubectl(plane, "delete", "-k", crds)
            await asyncio.sleep(1)
    await kubectl(plane, "apply", "-k", crds)
    await kubectl(plane, "wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")


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
async def test_the_api_server_is_away(plane: ControlPlane, account: Path, namespace: Namespace, seconds: float) -> None:
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
