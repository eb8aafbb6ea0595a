"""The command line, as a process: exit codes, messages, signals."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cipher_operator import __version__
from devcluster import ControlPlane
from support.cluster import install

ROOT = Path(__file__).parent.parent
PORTS = ("--health-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0")


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return inherited | {"PYTHONPATH": str(ROOT / "operator")} | variables


def cli(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "cipher_operator", *arguments]
    return subprocess.run(
        command, env=environment(**variables), capture_output=True, text=True, check=False, timeout=30
    )


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> ControlPlane:
    install(control_plane)
    return control_plane


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
    done = cli("version")
    assert (done.returncode, done.stdout) == (0, f"cipher-operator {__version__}\n")


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
        (("run",), {"KUBECONFIG": "/nonexistent"}, 1, "cannot start: none of the files in KUBECONFIG exists"),
        (("check", "-f", "/nonexistent.yaml"), {}, 2, "cipher-operator check: /nonexistent.yaml: No such file"),
        (("plan",), {}, 2, "-f"),
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


def test_an_address_that_is_taken_is_said(operator: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    address = await_line(tmp_path / "log", r"health is served on http://([0-9.:]+)")
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}], "
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: u, user: {}}]}"
    )
    done = cli("run", "--health-address", address, "--metrics-address", "127.0.0.1:0", KUBECONFIG=str(kubeconfig))
    assert done.returncode == 1
    assert "an address of --health-address or --metrics-address cannot be had" in done.stderr


def test_sigterm_ends_it_with_code_0(operator: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    await_line(tmp_path / "log", '"message": "(ready)')
    operator.send_signal(signal.SIGTERM)
    assert operator.wait(15) == 0
    assert "did not end in time" not in (tmp_path / "log").read_text(), "nothing hangs in the watch of the cluster"
    lines = (tmp_path / "log").read_text().splitlines()
    assert all(line.startswith("{") for line in lines)
    assert '"message": "ended"' in lines[-1]


def test_what_hangs_is_ended_by_force() -> None:
    program = "import time; from cipher_operator.cli import _end_by_force; _end_by_force(0.2, 1); time.sleep(60)"
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
