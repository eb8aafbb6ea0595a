"""kopf as informer on a real API server: what starts a run, what does not, and that nothing is written.

The operator is started inside each test, never in a fixture: when kopf stops, it cancels every task that was made
after its start, and a test that has an operator as fixture is such a task.
"""

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import aiohttp
import pytest

from cipher_operator.kube.access import MANAGER
from cipher_operator.reconcile.contents import version
from cipher_operator.runtime import informer
from cipher_operator.runtime import operator as module
from cipher_operator.runtime.operator import StartError
from devcluster import ControlPlane
from support.cluster import Namespace
from support.nesting import create_nested
from support.stand_in import running

QUIET = 0.7
"""Seconds after which a run that something should not start has not started."""


async def test_a_storage_is_run_for_what_it_wants_and_not_for_what_is_written_to_it(
    account: Path, namespace: Namespace
) -> None:
    async with running(account) as operator:
        await operator.ready()
        key, runs = (namespace.name, "chat"), operator.stand_in
        namespace.storage("chat")
        await operator.until(lambda: runs.count(key) == 1)
        path = namespace.path("cipherstorages", "chat")

        def write_status(database: str, *flags: str) -> None:
            namespace.plane.kubectl(
                "patch", "--subresource=status", "cstore", "chat", "-n", namespace.name, "--type=merge", *flags,
                "-p", json.dumps({"status": {"database": database}}),
            )  # fmt: skip

        write_status("a", f"--field-manager={MANAGER}")
        namespace.patch("chat", {"metadata": {"labels": {"a": "b"}, "annotations": {"example.com/x": "y"}}})
        namespace.patch("chat", {"metadata": {"finalizers": ["storage.cipher.dev/finalizer"]}})
        await asyncio.sleep(QUIET)
        assert runs.count(key) == 1
        namespace.patch("chat", {"spec": {"interval": "10m"}})
        await operator.until(lambda: runs.count(key) == 2)
        namespace.annotate("chat", "reconcile-requested-at", "1")
        await operator.until(lambda: runs.count(key) == 3)
        write_status("b")
        await operator.until(lambda: runs.count(key) == 4)

        metadata = namespace.request("GET", path)["metadata"]
        assert metadata["finalizers"] == ["storage.cipher.dev/finalizer"]
        assert set(metadata["annotations"]) == {"example.com/x", "storage.cipher.dev/reconcile-requested-at"}
        writers = {field["manager"] for field in metadata["managedFields"]}
        assert writers <= {"kubectl-patch", "test-client", MANAGER}

        namespace.delete("cipherstorages", "chat")
        await operator.until(lambda: runs.count(key) == 5)
        namespace.patch("chat", {"metadata": {"finalizers": []}})
        await operator.until(lambda: runs.uids[-1] is None)


async def test_a_storage_that_was_there_before_the_operator_is_run_once(account: Path, namespace: Namespace) -> None:
    namespace.secret("pg-admin", {"a": "1"})
    namespace.storage("chat")
    async with running(account) as operator:
        await operator.ready()
        await asyncio.sleep(QUIET)
        assert operator.stand_in.count((namespace.name, "chat")) == 1


async def test_a_storage_made_again_at_once_is_run_as_the_new_one(account: Path, namespace: Namespace) -> None:
    async with running(account) as operator:
        await operator.ready()
        namespace.storage("chat")
        await operator.until(lambda: operator.stand_in.count((namespace.name, "chat")) == 1)
        namespace.delete("cipherstorages", "chat")
        uid = namespace.storage("chat")["metadata"]["uid"]
        await operator.until(lambda: operator.stand_in.uids[-1] == uid)


async def test_a_secret_that_comes_later_changes_and_goes(account: Path, namespace: Namespace) -> None:
    async with running(account) as operator:
        await operator.ready()
        key, runs = (namespace.name, "chat"), operator.stand_in
        namespace.storage("chat")
        await operator.until(lambda: runs.count(key) == 1)
        namespace.secret("unrelated", {"a": "1"})
        namespace.secret("pg-admin", {"a": "1"})
        await operator.until(lambda: runs.count(key) == 2)
        namespace.plane.kubectl("-n", namespace.name, "label", "secret", "pg-admin", "x=y")
        await asyncio.sleep(QUIET)
        assert runs.count(key) == 2
        namespace.secret("pg-admin", {"a": "2"})
        await operator.until(lambda: runs.count(key) == 3)
        namespace.delete("secrets", "pg-admin")
        await operator.until(lambda: runs.count(key) == 4)


async def test_objects_that_nest_deep_end_no_watch(account: Path, namespace: Namespace) -> None:
    def make(name: str) -> None:
        create_nested(namespace, "secrets", f"{name}-secret", stringData={"a": "1"})
        create_nested(namespace, "cipherstorages", name, spec={"connection": {"secretRef": {"name": "pg-admin"}}})

    make("listed")
    async with running(account) as operator:
        await operator.ready()
        make("watched")
        namespace.storage("chat")
        keys = [(namespace.name, name) for name in ("listed", "watched", "chat")]
        await operator.until(lambda: [operator.stand_in.count(key) for key in keys] == [1, 1, 1])
        namespace.secret("pg-admin", {"a": "1"})
        await operator.until(lambda: [operator.stand_in.count(key) for key in keys] == [2, 2, 2])


async def test_a_secret_whose_deletion_waits_is_looked_at_once(account: Path, namespace: Namespace) -> None:
    """A person waits at `kubectl delete secret`, and only a run can say why."""
    async with running(account) as operator:
        await operator.ready()
        key, runs = (namespace.name, "chat"), operator.stand_in
        namespace.secret("pg-admin", {"a": "1"})
        namespace.storage("chat")
        await operator.until(lambda: runs.count(key) == 1)
        path, hold = namespace.path("secrets", "pg-admin"), {"metadata": {"finalizers": ["example.com/hold"]}}
        namespace.request("PATCH", path, hold)
        await asyncio.sleep(QUIET)
        assert runs.count(key) == 1
        namespace.delete("secrets", "pg-admin")
        await operator.until(lambda: runs.count(key) == 2)
        await asyncio.sleep(QUIET)
        assert runs.count(key) == 2
        namespace.request("PATCH", path, {"metadata": {"finalizers": None}})
        await operator.until(lambda: runs.count(key) == 3)


async def test_the_app_secret_is_watched_too(account: Path, namespace: Namespace) -> None:
    async with running(account) as operator:
        await operator.ready()
        key, runs = (namespace.name, "chat"), operator.stand_in
        namespace.storage("chat")
        await operator.until(lambda: runs.count(key) == 1)
        app = ("Secret", namespace.name, "chat-cipher")
        runs.around.inputs.read(key, app, version({"a": b"1"}, "", runs.around.digest))
        namespace.secret("chat-cipher", {"a": "1"})
        await asyncio.sleep(QUIET)
        assert runs.count(key) == 1, "our own write starts nothing"
        namespace.delete("secrets", "chat-cipher")
        await operator.until(lambda: runs.count(key) == 2)


async def test_a_configmap_that_holds_the_ca(account: Path, namespace: Namespace) -> None:
    async with running(account) as operator:
        await operator.ready()
        key, runs = (namespace.name, "chat"), operator.stand_in
        ca = {"kind": "ConfigMap", "name": "ca", "key": "ca.crt"}
        connection = {"secretRef": {"name": "pg-admin"}, "sslMode": "verify-full", "caRef": ca}
        namespace.storage("chat", {"connection": connection, "app": {"caPath": "/ca.crt"}})
        await operator.until(lambda: runs.count(key) == 1)
        body = {"metadata": {"name": "ca"}, "data": {"ca.crt": "1"}}
        namespace.request("POST", namespace.path("configmaps"), body)
        await operator.until(lambda: runs.count(key) == 2)


async def test_secrets_of_helm_are_not_even_sent_to_the_operator(account: Path, namespace: Namespace) -> None:
    async with running(account) as operator:
        await operator.ready()
        key, runs = (namespace.name, "chat"), operator.stand_in
        namespace.storage("chat")
        await operator.until(lambda: runs.count(key) == 1)
        body = {"metadata": {"name": "pg-admin"}, "type": "helm.sh/release.v1", "stringData": {"a": "1"}}
        namespace.request("POST", namespace.path("secrets"), body)
        await asyncio.sleep(QUIET)
        assert runs.count(key) == 1


async def test_a_selector_narrows_the_watch_of_secrets(account: Path, namespace: Namespace) -> None:
    key = (namespace.name, "chat")
    namespace.storage("chat")
    async with running(account, "--secret-selector", "watched=yes") as operator:
        await operator.until(lambda: operator.stand_in.count(key) == 1, 10)
        await operator.ready()
        namespace.secret("pg-admin", {"a": "1"})
        await asyncio.sleep(QUIET)
        assert operator.stand_in.count(key) == 1
        namespace.plane.kubectl("-n", namespace.name, "label", "secret", "pg-admin", "watched=yes")
        await operator.until(lambda: operator.stand_in.count(key) == 2)


async def test_sigterm_lets_the_runs_under_way_finish(account: Path, namespace: Namespace) -> None:
    async with running(account) as operator:
        await operator.ready()
        operator.stand_in.seconds = 1.5
        for name in "abc":
            namespace.storage(name)
        await operator.until(lambda: len(operator.stand_in.uids) == 3)
        started = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(operator.task, 10) == 0
        assert len(operator.stand_in.ended) == 3
        assert time.monotonic() - started < 3.5


async def test_a_second_signal_does_not_wait(account: Path, namespace: Namespace) -> None:
    async with running(account) as operator:
        await operator.ready()
        operator.stand_in.seconds = 60
        namespace.storage("chat")
        await operator.until(lambda: len(operator.stand_in.uids) == 1)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.2)
        assert not operator.task.done()
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(operator.task, 5) == 0
        assert operator.stand_in.ended == []


async def _scraped(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as response:
        return await response.text()


async def test_an_idle_operator_ends_at_once_even_with_a_scraper_that_keeps_its_connection(account: Path) -> None:
    async with running(account) as operator:
        await operator.ready()
        metrics = operator.operator.health.addresses["metrics"]
        async with aiohttp.ClientSession() as session:
            async with asyncio.timeout(20):
                while "cipher_operator_workers_busy 0.0" not in await _scraped(session, f"http://{metrics}/metrics"):
                    await asyncio.sleep(0.05)
            started = time.monotonic()
            os.kill(os.getpid(), signal.SIGTERM)
            assert await asyncio.wait_for(operator.task, 10) == 0
            assert time.monotonic() - started < 2.5


async def test_a_watch_that_gives_up_ends_the_process(
    plane: ControlPlane, namespace: Namespace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(informer.Backoffs, "__iter__", lambda self: iter([0.1]))
    plane.kubectl("-n", namespace.name, "create", "serviceaccount", "nobody")
    config = plane.kubeconfig_for_service_account(namespace.name, "nobody")
    async with running(config, "--instance-id", "x") as operator:
        assert await asyncio.wait_for(operator.task, 10) == 1
    assert "the watch of the cluster gave up" in caplog.text


async def test_a_cluster_that_was_restored_ends_the_process(account: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing that it has learnt, or watches, can be believed any more."""
    async with running(account) as operator:
        await operator.ready()
        secrets = operator.operator._parts.reflectors[0]
        secrets._reached, secrets._version = f"{secrets._reached}0", None
        # As where the API server is started again after the restore.
        await secrets.stop()
        secrets.start()
        assert await asyncio.wait_for(operator.task, 15) == 1
    assert "the cluster was restored from a backup" in caplog.text


async def test_the_instance_is_the_uid_of_kube_system(account: Path, plane: ControlPlane) -> None:
    async with running(account) as operator:
        await operator.ready()
        uid = plane.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
        assert operator.stand_in.instance_id == uid


async def test_without_the_right_to_it_the_flag_is_named(
    plane: ControlPlane, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFUSED_SECONDS", 1.5)
    plane.kubectl("-n", namespace.name, "create", "serviceaccount", "nobody")
    config = plane.kubeconfig_for_service_account(namespace.name, "nobody")
    async with running(config) as operator:
        with pytest.raises(StartError, match="allow `get` on it, or set --instance-id"):
            await asyncio.wait_for(operator.task, 10)


async def test_namespaced_mode_needs_rights_in_its_namespaces_only(plane: ControlPlane, namespace: Namespace) -> None:
    other = Namespace(plane, f"{namespace.name}-other")
    plane.kubectl("-n", namespace.name, "create", "serviceaccount", "operator")
    for verbs, resource in (
        ("get,list,watch,patch", "cipherstorages.storage.cipher.dev"),
        ("get,list,watch", "secrets,configmaps"),
    ):
        name = resource.split(".")[0].split(",")[0]
        plane.kubectl("-n", namespace.name, "create", "role", name, f"--verb={verbs}", f"--resource={resource}")
        account = f"--serviceaccount={namespace.name}:operator"
        plane.kubectl("-n", namespace.name, "create", "rolebinding", name, f"--role={name}", account)
    config = plane.kubeconfig_for_service_account(namespace.name, "operator")
    async with running(config, "--namespace", namespace.name, "--instance-id", "x") as operator:
        await operator.ready()
        other.storage("chat")
        namespace.storage("chat")
        key, runs = (namespace.name, "chat"), operator.stand_in
        await operator.until(lambda: runs.count(key) == 1)
        namespace.secret("pg-admin", {"a": "1"})
        await operator.until(lambda: runs.count(key) == 2)
        assert set(runs.runs) == {key}
    other.delete("cipherstorages", "chat")
