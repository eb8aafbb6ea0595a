"""The dev cluster itself, on the real programs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from devcluster import ControlPlane, FaultProxy, KubectlError, PostgresServer
from devcluster.postgres_programs import available_majors
from devcluster.processes import Process, ProcessError
from devcluster.tls import CertificateAuthority, self_signed


def wait_for(what: str, condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


# --- the control plane


def test_a_configmap_is_created_read_changed_and_deleted(control_plane: ControlPlane) -> None:
    kubectl = control_plane.kubectl
    kubectl("create", "configmap", "crud", "--from-literal=a=1")
    assert kubectl("get", "configmap", "crud", "-o", "jsonpath={.data.a}") == "1"
    kubectl("patch", "configmap", "crud", "-p", '{"data":{"a":"2"}}')
    assert kubectl("get", "configmap", "crud", "-o", "jsonpath={.data.a}") == "2"
    kubectl("delete", "configmap", "crud")
    with pytest.raises(KubectlError, match="NotFound"):
        kubectl("get", "configmap", "crud")


def test_a_service_account_may_only_what_rbac_grants(control_plane: ControlPlane) -> None:
    kubectl = control_plane.kubectl
    kubectl("create", "serviceaccount", "reader")
    kubectl("create", "role", "reader", "--verb=list", "--resource=configmaps")
    kubectl("create", "rolebinding", "reader", "--role=reader", "--serviceaccount=default:reader")
    config = control_plane.kubeconfig_for_service_account("default", "reader")

    kubectl("get", "configmaps", kubeconfig=config)
    with pytest.raises(KubectlError, match='"system:serviceaccount:default:reader" cannot list resource "secrets"'):
        kubectl("get", "secrets", kubeconfig=config)


def test_the_audit_log_has_what_a_user_asked_for_and_nobody_else() -> None:
    user = "system:serviceaccount:default:asking"
    with ControlPlane(controller_manager=False, audited=(user,)) as plane:
        plane.kubectl("create", "serviceaccount", "asking")
        plane.kubectl("create", "role", "asking", "--verb=get", "--resource=configmaps")
        plane.kubectl("create", "rolebinding", "asking", "--role=asking", "--serviceaccount=default:asking")
        plane.kubectl("create", "configmap", "mine")
        config = plane.kubeconfig_for_service_account("default", "asking")
        plane.kubectl("get", "configmap", "mine", kubeconfig=config)
        with pytest.raises(KubectlError):
            plane.kubectl("get", "secrets", kubeconfig=config)
        asked = [each for each in plane.audit.requests() if each.resource]
    assert [(each.verb, each.resource, each.namespace, each.name, each.code) for each in asked] == [
        ("get", "configmaps", "default", "mine", 200),
        ("list", "secrets", "default", "", 403),
    ]
    assert f'User "{user}" cannot list resource "secrets"' in asked[1].said


def test_an_owned_secret_goes_with_its_owner(control_plane: ControlPlane) -> None:
    kubectl = control_plane.kubectl
    kubectl("create", "configmap", "owner")
    owner = json.loads(kubectl("get", "configmap", "owner", "-o", "json"))["metadata"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["uid"]}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "owned", "ownerReferences": [reference]},
    }
    kubectl("create", "-f", "-", input=json.dumps(secret))
    kubectl("delete", "configmap", "owner")
    wait_for("the owned Secret is gone", lambda: not kubectl("get", "secret", "owned", "--ignore-not-found"))


def test_the_api_server_can_go_away_and_come_back_with_its_state(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "configmap", "survivor")
    control_plane.stop_apiserver()
    with pytest.raises(OSError, match="refused"):
        control_plane.client().request("GET", "/readyz")
    control_plane.start_apiserver()
    assert "survivor" in control_plane.kubectl("get", "configmaps")

    control_plane.freeze_apiserver()
    with pytest.raises(OSError, match="timed out"):
        control_plane.client().request("GET", "/readyz", timeout=0.5)
    control_plane.thaw_apiserver()
    assert control_plane.client().request("GET", "/readyz") == b"ok"


# --- PostgreSQL


def test_connections_are_counted_from_the_log(postgres: PostgresServer) -> None:
    postgres.execute("SELECT 1")
    postgres.mark_log()
    assert postgres.connections_authorized() == 0
    for _ in range(3):
        assert postgres.execute("SELECT 1", user=postgres.superuser) == [(1,)]
    assert postgres.connections_authorized() == 3
    assert postgres.connections_authorized(user=postgres.superuser) == 3
    assert postgres.connections_authorized(user="post") == 0


def test_the_hand_of_a_test_stays_on_the_server_and_keeps_nothing_in_it(
    postgres_server: Callable[..., PostgresServer],
) -> None:
    postgres = postgres_server()
    who = "SELECT pg_backend_pid()"
    first = postgres.execute(who)
    postgres.execute("CREATE TEMP TABLE left_behind ()")
    postgres.execute("SET work_mem = '1MB'; SELECT pg_advisory_lock(1)")
    assert postgres.execute("SELECT to_regclass('left_behind')") == [(None,)]
    assert postgres.execute("SHOW work_mem") != [("1MB",)]
    assert postgres.execute("SELECT FROM pg_locks WHERE locktype = 'advisory'") == []
    assert postgres.execute("SHOW statement_timeout") == [("0",)]
    assert postgres.execute(who) == first
    with pytest.raises(psycopg.Error):
        postgres.execute("SELECT 1/0")
    second = postgres.execute(who)
    assert second != first, "what failed is not gone on with"
    postgres.execute("SELECT pg_terminate_backend(%s)", second[0], user=postgres.superuser)
    gone = "SELECT FROM pg_stat_activity WHERE pid = %s"
    wait_for("its end", lambda: not postgres.execute(gone, second[0], user=postgres.superuser))
    assert postgres.execute(who) != second
    with ThreadPoolExecutor() as threads:
        asleep = threads.submit(postgres.execute, "SELECT pg_sleep(1), pg_backend_pid()")
        assert postgres.execute(who)[0][0] != asleep.result()[0][1]
    postgres.restart()
    assert postgres.execute("SELECT 1") == [(1,)]


def test_a_wrong_password_is_refused(postgres: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.admin_url(password="wrong"))


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_stopped_server_comes_back_with_port_and_data(
    postgres_server: Callable[..., PostgresServer], mode: str
) -> None:
    server = postgres_server()
    server.execute("CREATE TABLE kept AS SELECT 1 AS a")
    server.execute("CHECKPOINT")
    url = server.admin_url()
    server.stop(mode)  # type: ignore[arg-type]
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(url)
    server.settings["work_mem"] = "5MB"
    server.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT a, current_setting('work_mem') FROM kept").fetchall() == [(1, "5MB")]


def test_a_frozen_server_takes_connections_and_says_nothing(postgres_server: Callable[..., PostgresServer]) -> None:
    server = postgres_server()
    with psycopg.connect(server.admin_url()) as connection:
        server.freeze()
        with pytest.raises(psycopg.OperationalError, match="timeout"):
            psycopg.connect(server.admin_url(), connect_timeout=2)
        server.thaw()
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
    server.freeze()
    server.stop()


def test_a_standby_follows_and_refuses_to_write(postgres_server: Callable[..., PostgresServer]) -> None:
    primary = postgres_server()
    with contextlib.closing(primary.standby()) as standby:
        primary.execute("CREATE TABLE t AS SELECT 1 AS a")
        wait_for("the table is on the standby", lambda: standby.execute("SELECT to_regclass('t') IS NOT NULL")[0][0])
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            standby.execute("INSERT INTO t VALUES (2)")


def test_tls_fixtures_are_accepted_and_refused_for_their_own_reason(
    postgres_server: Callable[..., PostgresServer], certificate_authority: CertificateAuthority, tmp_path: Path
) -> None:
    def outcome(server: PostgresServer, mode: str) -> str:
        try:
            with psycopg.connect(server.admin_url(sslmode=mode, sslrootcert=str(tls.ca))) as connection:
                row = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
                return "encrypted" if row == (True,) else "plain"
        except psycopg.OperationalError as error:
            return str(error)

    tls = certificate_authority.server()
    server = postgres_server(16, tls=tls)
    assert outcome(server, "verify-full") == "encrypted"
    cases = {
        "expired": (certificate_authority.expired(), "verify-ca", "certificate verify failed"),
        "wrong name": (certificate_authority.wrong_name(), "verify-full", 'server certificate for "db.example.com"'),
        "cloud sql": (certificate_authority.cloud_sql(), "verify-full", "my-project:my-instance"),
        "cloud sql, CA only": (certificate_authority.cloud_sql(), "verify-ca", "encrypted"),
        "self-signed": (self_signed(tmp_path), "require", "encrypted"),
    }
    for name, (tls, mode, expected) in cases.items():
        server.tls = tls
        server.restart()
        assert expected in outcome(server, mode), name
    # The client trusts our CA, the server shows a certificate that it signed itself.
    tls = certificate_authority.server()
    assert "verify failed" in outcome(server, "verify-full")


@pytest.mark.parametrize("major", available_majors())
def test_every_major_starts_with_tls(
    postgres_server: Callable[..., PostgresServer], certificate_authority: CertificateAuthority, major: int
) -> None:
    server = postgres_server(major, tls=certificate_authority.server())
    query = {"sslmode": "verify-full", "sslrootcert": str(certificate_authority.certificate)}
    with psycopg.connect(server.admin_url(**query)) as connection:
        assert connection.info.server_version // 10000 == major


def test_pgvector_and_tls_in_one_server(
    postgres_server: Callable[..., PostgresServer], certificate_authority: CertificateAuthority
) -> None:
    server = postgres_server(16, tls=certificate_authority.server(), vector=True)
    server.execute("CREATE EXTENSION vector")
    assert server.execute("SELECT '[1,2]'::vector <-> '[1,5]'::vector") == [(3.0,)]


# --- faults


@pytest.fixture
def proxied(postgres: PostgresServer, fault_proxy: Callable[..., FaultProxy]) -> Iterator[tuple[FaultProxy, str]]:
    proxy = fault_proxy(postgres.port)
    yield proxy, postgres.admin_url().replace(f":{postgres.port}/", f":{proxy.port}/") + "?connect_timeout=2"


def test_a_proxy_adds_latency_and_counts(proxied: tuple[FaultProxy, str]) -> None:
    proxy, url = proxied
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT 1")
        proxy.reset_counts()
        proxy.latency = 0.05
        began = time.monotonic()
        connection.execute("SELECT 1")
        connection.execute("SELECT 1")
        assert 0.2 <= time.monotonic() - began < 0.6
    assert proxy.round_trips == 2
    assert proxy.connections == 0


def test_a_proxy_with_latency_passes_on_what_came_before_a_reset(fault_proxy: Callable[..., FaultProxy]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = fault_proxy(listener.getsockname()[1], latency=0.2)
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
            server, _ = listener.accept()
            client.sendall(b"a question")
            assert server.recv(100) == b"a question"
            server.sendall(b"the last words")
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            server.close()
            assert client.recv(100) == b"the last words"
            with pytest.raises(ConnectionResetError):
                client.recv(100)


def test_a_proxy_breaks_connections_in_every_way(proxied: tuple[FaultProxy, str]) -> None:
    proxy, url = proxied
    with psycopg.connect(url, autocommit=True) as connection:
        proxy.cut_after = 100_000
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT repeat('x', 1000000)")
    proxy.cut_after = None
    with psycopg.connect(url, autocommit=True) as connection:
        proxy.mode = "reset"
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    for mode in ("black-hole", "half-open"):
        proxy.mode = mode
        with pytest.raises(psycopg.OperationalError, match="timeout"):
            psycopg.connect(url)
    proxy.mode = "forward"
    psycopg.connect(url).close()
    proxy.close()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(url)


# --- a fork of a warm interpreter is a process as any other

_SHOWN = (
    "import http.server, os, signal, sys; print(sys.argv[1:], os.environ['OWN'], os.getcwd(), __name__); "
    "sys.exit(7) if sys.argv[1:] == ['end'] else signal.pause()"
)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is started anew")
@pytest.mark.parametrize("imported", [None, "http.server"], ids=["started", "forked"])
def test_a_process_has_its_words_environment_folder_log_and_end(tmp_path: Path, imported: str | None) -> None:
    (tmp_path / "shown.py").write_text(_SHOWN)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OWN": "first"}
    python = [sys.executable, "-m", "shown"]
    for own in ("first", "second"):
        process = Process(
            [*python, "end"], log=tmp_path / "log", env={**environment, "OWN": own}, cwd=tmp_path, imported=imported
        )
        assert process.wait(10) and process.poll() == 7
    assert (tmp_path / "log").read_text() == "".join(
        f"['end'] {own} {tmp_path} __main__\n" for own in ("first", "second")
    )
    stays = Process([*python, "stay"], log=tmp_path / "log", env=environment, cwd=tmp_path, imported=imported)
    assert stays.poll() is None
    wait_for("it leads a session", lambda: os.getsid(stays.pid) == stays.pid, 10)
    stays.send(signal.SIGUSR1)
    assert stays.wait(10) and stays.poll() == -signal.SIGUSR1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is started anew")
def test_what_cannot_be_imported_is_said(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="the warm interpreter of not_there has ended"):
        Process([sys.executable, "-m", "not_there"], log=tmp_path / "log", imported="not_there")


# --- nothing outlives its run

_RUN = """
import sys, threading, time
from devcluster import ControlPlane, PostgresServer
from devcluster.processes import Process
import psycopg
servers = [PostgresServer()] + [ControlPlane()] * ("kubernetes" in sys.argv)
server = servers[0]
for each in servers:
    # From threads that end at once, which a death signal bound to the starting thread would not survive.
    thread = threading.Thread(target=each.start); thread.start(); thread.join()
busy = psycopg.connect(server.admin_url(), autocommit=True)
threading.Thread(target=lambda: busy.execute("SELECT pg_sleep(600)"), daemon=True).start()
time.sleep(0.3)
forked = Process([sys.executable, "-m", "http.server", "0"], log=server.folder / "forked.log", imported="http.server")
if "freeze" in sys.argv: server.freeze(); forked.send(19)
print(*(each.folder for each in servers), flush=True)
time.sleep(600)
"""


def _below(root: int) -> set[int]:
    """Return the process ids below `root`."""
    parents: dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            parents[int(name)] = int(Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}


def _alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path("/proc", str(pid)).exists() and _state(pid) != "Z"}


def _state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0]
    return "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", ["killed", "killed while frozen", "terminated", "guard killed"])
def test_nothing_survives_a_killed_run(how: str) -> None:
    words = {"killed": ["kubernetes"], "killed while frozen": ["freeze"]}.get(how, [])
    paths = os.pathsep.join(sys.path)
    run = subprocess.Popen(
        [sys.executable, "-c", _RUN, *words], env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True
    )
    with run:
        assert run.stdout is not None
        folders = [Path(word) for word in run.stdout.readline().split()]
        assert all(folder.exists() for folder in folders)
        children = _below(run.pid)
        # The guard, PostgreSQL and at least five children of its, a warm interpreter and what it forked, perhaps etcd
        # and two Kubernetes servers.
        assert len(children) >= 9 + 3 * (how == "killed")
        try:
            if how == "guard killed":
                (guard,) = (pid for pid in children if Path(f"/proc/{pid}/stat").read_text().split()[3] == str(run.pid))
                os.kill(guard, signal.SIGKILL)
            else:
                run.send_signal(signal.SIGTERM if how == "terminated" else signal.SIGKILL)
            wait_for("all processes are gone", lambda: not _alive(children), 60)
            if how != "guard killed":
                wait_for("their folders are gone", lambda: not any(folder.exists() for folder in folders), 60)
        finally:
            run.kill()
            # Without its guard nobody is left to remove what is in memory.
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)


def test_servers_may_be_started_from_several_threads_at_once() -> None:
    servers = [PostgresServer() for _ in range(4)]
    threads = [threading.Thread(target=server.start) for server in servers]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({server.port for server in servers}) == 4
        assert all(server.running for server in servers)
    finally:
        for server in servers:
            server.close()
