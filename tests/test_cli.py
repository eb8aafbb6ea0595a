"""The command line, as a process: exit codes, messages, signals."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from cipher_operator import __version__
from devcluster import ControlPlane

ROOT = Path(__file__).parent.parent
PORTS = ("--health-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0")


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return inherited | {"PYTHONPATH": str(ROOT / "operator")} | variables


def cli(*arguments: str, given: str | None = None, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "cipher_operator", *arguments]
    return subprocess.run(
        command, env=environment(**variables), input=given, capture_output=True, text=True, check=False, timeout=30
    )


@pytest.fixture(scope="module")
def plane(installed: ControlPlane) -> ControlPlane:
    return installed


@pytest.fixture
def operator(plane: ControlPlane, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    config = plane.kubeconfig_for_service_account("cipher-system", "cipher-operator")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cipher_operator", "run", "--log-format", "json", *PORTS],
            env=environment(KUBECONFIG=str(config)),
            stdout=log,
            stderr=log,
        )
    yield process
    process.kill()
    process.wait()


def test_version() -> None:
    for asked in ("version", "--version"):
        done = cli(asked)
        assert (done.returncode, done.stdout) == (0, f"cipher-operator {__version__}\n")


@pytest.mark.parametrize("words", [["version"], ["run", "--quiet"], ["run", "--workers", "none"], ["plan"]])
def test_nobody_waits_for_what_a_wrong_command_line_does_not_need(words: list[str]) -> None:
    program = "import sys; from cipher_operator.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, *words], env=environment(), capture_output=True, text=True, check=True
    )
    assert not {"aiohttp", "kopf", "kubernetes", "prometheus_client", "psycopg"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "said"),
    [
        ((), {}, 2, "COMMAND"),
        (("run", "--workers", "none"), {}, 2, "cipher-operator run: --workers: 'none' must be a whole number"),
        (
            ("run", "--leader-election"),
            {},
            2,
            "--leader-election: outside a cluster --leader-election-namespace",
        ),
        (("run",), {"CIPHER_OPERATOR_INTERVAL": "soon"}, 2, "CIPHER_OPERATOR_INTERVAL: 'soon' must be a duration"),
        (
            ("run",),
            {"KUBECONFIG": "/nonexistent", "CIPHER_OPERATOR_LOG_LEVLE": "debug"},
            1,
            "WARNING CIPHER_OPERATOR_LOG_LEVLE: there is no such setting, it is ignored; did you mean CIPHER_",
        ),
        (
            ("check", "chat"),
            {"KUBECONFIG": "/nonexistent", "CIPHER_OPERATOR_INSTANCEID": "x"},
            1,
            "cipher-operator check: CIPHER_OPERATOR_INSTANCEID: there is no such setting, it is ignored; did you mean",
        ),
        (
            ("run",),
            {"KUBECONFIG": "/nonexistent"},
            1,
            "cannot start: no way to a cluster: kubeconfig /nonexistent is not",
        ),
        (("check", "-f", "/nonexistent.yaml"), {}, 2, "check: /nonexistent.yaml cannot be read: No such file"),
        (("plan",), {}, 2, "give the NAME of a CipherStorage in the cluster, or the files that hold one, with -f"),
        (
            ("plan", "chat", "-f", "x.yaml"),
            {},
            2,
            "-f and NAME ('chat') exclude each other: NAME is in the cluster; each",
        ),
        (("run", "--log-levle", "debug"), {}, 2, "run: there is no flag --log-levle; did you mean --log-level?"),
        (("run", "--log-levle=debug"), {}, 2, "run: there is no flag --log-levle; did you mean --log-level?"),
        (("run", "--quiet"), {}, 2, "run: there is no flag --quiet; --help names those that there are"),
        (("run", "--log-lev", "debug"), {}, 2, "run: there is no flag --log-lev; did you mean --log-level?"),
        (("check", "chat", "--namespac", "a"), {}, 2, "check: there is no flag --namespac; did you mean --namespace?"),
        (("check", "chat", "talk"), {}, 2, "check: there is nothing that 'talk' could be"),
        (("plan", "-f", "x.yaml", "--context", "dev"), {}, 2, "--context: is for NAME, which is in a cluster"),
        (("plan", "cstore/chat"), {}, 2, "NAME: 'cstore/chat' is not the name of a CipherStorage; give the name"),
        (("plan", "chat/status"), {}, 2, "NAME: 'chat/status' is not the name of a CipherStorage; give the name"),
        (("plan", ""), {}, 2, "NAME: '' is not the name of a CipherStorage; give the name alone"),
        (("plan", "chat", "-n", "../x"), {}, 2, "-n: '../x' is not the name of a namespace"),
        (("plan", "-f", str(ROOT / "docs")), {}, 2, "is a directory; name its files, each with -f"),
        (("plan", "chat"), {"KUBECONFIG": "/nonexistent"}, 1, "kubeconfig /nonexistent is not there; set KUBECONFIG"),
        (
            ("check", "-f", str(ROOT / "manifests/examples/local.yaml")),
            {},
            1,
            "BlockedAddress: The host in the connection Secret resolves only to addresses",
        ),
    ],
)
def test_what_it_refuses_and_says(arguments: tuple[str, ...], variables: dict[str, str], code: int, said: str) -> None:
    done = cli(*arguments, **variables)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


CHAT = """
{apiVersion: v1, kind: Secret, metadata: {name: pg-admin}, stringData: {CIPHER_PG_URL: "postgresql://u:p@127.0.0.1/x"}}
---
apiVersion: storage.cipher.dev/v1alpha1
kind: CipherStorage
metadata: {name: chat}
spec: {connection: {secretRef: {name: pg-admin}}, extensions: [{name: pg_trgm}]}
"""


def test_what_is_read_from_stdin_in_a_namespace_that_is_given() -> None:
    flags = ("-f", "-", "-n", "shop", "--allowed-extensions", "pg_trgm")
    done = cli("check", *flags, given=CHAT)
    assert (done.returncode, done.stderr.split(": ")[:2]) == (1, ["shop/chat", "BlockedAddress"])
    refused = cli("check", *flags[:4], given=CHAT)
    assert "`spec.extensions` names 'pg_trgm', which this operator does not create" in refused.stderr
    assert "(flag --allowed-extensions)" in refused.stderr


def test_what_the_files_lack_is_said_to_be_given_with_them() -> None:
    alone = CHAT.split("---")[1].replace(", extensions: [{name: pg_trgm}]", "")
    done = cli("check", "-f", "-", given=alone)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "default/chat: SecretNotFound: Secret 'pg-admin' (`spec.connection.secretRef.name`) does not exist in this "
        "namespace; create it, and this storage goes on at once",
        "The files do not hold it there: name the file that does with -f, too.",
    ]
    shared = alone.replace("secretRef: {name: pg-admin}", "serverRef: {name: prod}")
    done = cli("check", "-f", "-", given=shared)
    assert done.stderr.splitlines()[1:] == ["The files do not hold it there: name the file that does with -f, too."]
    server = """---
apiVersion: storage.cipher.dev/v1alpha1
kind: CipherServer
metadata: {name: prod}
spec: {connection: {secretRef: {name: prod-admin}}, allowedNamespaces: {from: All}}
"""
    done = cli("check", "-f", "-", given=shared + server)
    assert done.stderr.splitlines()[1:] == [
        "The files do not hold it there: name the file that does with -f, too.",
        "If the operator is in another namespace, name that with --server-secrets-namespace.",
    ]


LOCAL = {"cluster": "c", "user": "u"}
CONFIG: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "x",
    "contexts": [{"name": "x", "context": LOCAL}],
    "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {}}],
}
BAD_CA = {"server": "https://127.0.0.1:1", "certificate-authority-data": "UzNDUjNU"}
EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never"}
PLUGIN = [{"name": "u", "user": {"exec": {**EXEC, "command": "/bin/sh", "args": ["-c", "echo S3CR3T >&2; exit 1"]}}}]
KUBECONFIGS: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "nobody at the server": ({}, (), "the API server cannot be reached (ClientConnectorError): look whether it is up"),
    "no such context": ({}, ("--context", "prod"), "kubeconfig FILE: context 'prod' cannot be used: there is none"),
    "no current context": (
        {"current-context": ""},
        (),
        "kubeconfig FILE has no current context; choose one",
    ),
    "a context without its cluster": ({"clusters": []}, (), "kubeconfig FILE: context 'x' names cluster 'c', which"),
    "a server that is no URL": (
        {"clusters": [{"name": "c", "cluster": {"server": "S3CR3T"}}]},
        (),
        "kubeconfig FILE: cluster 'c': `server` is no URL",
    ),
    "a CA that is none": (
        {"clusters": [{"name": "c", "cluster": BAD_CA}]},
        (),
        "context 'x' of FILE cannot be used: its CA, or",
    ),
    "a login plugin that fails": (
        {"users": PLUGIN},
        (),
        "context 'x' of FILE: its login plugin '/bin/sh' gave no login; log in",
    ),
}


@pytest.mark.parametrize("case", KUBECONFIGS)
def test_a_kubeconfig_that_leads_to_no_cluster_is_said_in_one_line(tmp_path: Path, case: str) -> None:
    changes, flags, said = KUBECONFIGS[case]
    path = tmp_path / "config"
    path.write_text(json.dumps(CONFIG | changes))
    done = cli("plan", "chat", *flags, KUBECONFIG=str(path))
    assert (done.returncode, done.stdout) == (1, "")
    told = done.stderr.removeprefix("cipher-operator plan: ").removeprefix("no way to a cluster: ")
    assert told.startswith(said.replace("FILE", str(path)))
    assert len(done.stderr.splitlines()) == 1
    assert "S3CR3T" not in done.stderr


def test_a_reader_who_has_read_enough_ends_it_without_a_word() -> None:
    """As in `plan … | head`."""
    program = (
        "from types import SimpleNamespace; from cipher_operator.examine import _print; "
        "look = SimpleNamespace(found=SimpleNamespace(pending=['SELECT 1;'] * 100_000, warnings=()), notes=()); "
        "_print('plan', 'shop/chat', look, [])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"SELECT 1;\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == -signal.SIGPIPE


@pytest.mark.parametrize("command", ["plan", "check"])
def test_nothing_that_a_server_says_is_obeyed_by_a_terminal(command: str) -> None:
    program = f"""
import json, sys
from types import SimpleNamespace
from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.examine import _print
from cipher_operator.reconcile.offline import Look
hostile = "\\x1b]0;owned\\x07\\x9b2J\\u202e"
report = SimpleNamespace(
    pending=[f'CREATE ROLE "{{hostile}}"\\nLOGIN;'], warnings=[f"w {{hostile}}"],
    observed=SimpleNamespace(server=SimpleNamespace(version=160014)),
)
_print("{command}", "shop/chat", Look(report, ("it is suspended",)), [])
_print("{command}", "shop/chat", Look(Failure(Reason.CONFLICT, f"f {{hostile}}")), [f"h {{hostile}}"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True, timeout=30
    )
    blank = " ]0;owned  2J "
    assert done.stderr.splitlines() == [
        f"shop/chat: warning: w {blank}",
        "shop/chat: it is suspended",
        f"shop/chat: Conflict: f {blank}",
        f"h {blank}",
    ]
    planned = [f'CREATE ROLE "{blank}"', "LOGIN;", "shop/chat: 1 statements to run"]
    assert done.stdout.splitlines() == (planned if command == "plan" else ["shop/chat: usable; PostgreSQL 16.14"])


def test_what_a_cluster_says_is_not_obeyed_either(tmp_path: Path) -> None:
    answer = {"kind": "Status", "reason": "Odd\x1b[2J", "message": "x\x1b[2J"}

    class Hostile(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(418)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Hostile) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        cluster = {"server": f"http://127.0.0.1:{server.server_port}"}
        path = tmp_path / "config"
        path.write_text(json.dumps(CONFIG | {"clusters": [{"name": "c", "cluster": cluster}]}))
        done = cli("check", "chat", "--instance-id", "x", KUBECONFIG=str(path))
        server.shutdown()
    assert "(418 Odd [2J): try again" in done.stderr
    assert done.stderr.strip().isprintable()


def test_an_address_that_is_taken_is_said(operator: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    address = await_line(tmp_path / "log", r"health is served on http://([0-9.:]+)")
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}], "
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: u, user: {}}]}"
    )
    done = cli("run", "--health-address", address, "--metrics-address", "127.0.0.1:0", KUBECONFIG=str(kubeconfig))
    assert done.returncode == 1
    assert f"cannot start: --health-address: {address} cannot be had: " in done.stderr


def test_sigterm_ends_it_with_code_0(operator: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    await_line(tmp_path / "log", '"message": "(ready)')
    operator.send_signal(signal.SIGTERM)
    assert operator.wait(15) == 0
    assert "did not end in time" not in (tmp_path / "log").read_text(), "nothing hangs in the watch of the cluster"
    lines = (tmp_path / "log").read_text().splitlines()
    assert all(line.startswith("{") for line in lines)
    assert '"message": "ended"' in lines[-1]


def test_what_hangs_is_ended_by_force() -> None:
    program = "import time; from cipher_operator.runtime import process; process._end_by_force(0.2, 1); time.sleep(60)"
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], env=environment(), check=False, timeout=30)
    assert done.returncode == 1
    assert time.monotonic() - started < 15


def await_line(path: Path, pattern: str, seconds: float = 20.0) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := re.search(pattern, path.read_text()):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s: {pattern}; log:\n{path.read_text()}")
