"""The operator without the files that the image leaves out: it starts, works, deletes, and says every failure.

The rows are those of the failure tables, the first of each reason.
"""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cipher_operator.api.reasons import Reason
from devcluster import ControlPlane, PostgresServer
from e2e import (
    test_failure_table_inputs,
    test_failure_table_logins,
    test_failure_table_network,
    test_failure_table_ownership,
    test_failure_table_sessions,
    test_failure_table_states,
)
from support.cluster import ROOT, Namespace, Operator, ready_storage, wait_until
from support.failure_table import Record, Row
from support.played_rows import Outcome
from support.pruned import pruned_environment

TABLES = (
    test_failure_table_inputs,
    test_failure_table_logins,
    test_failure_table_network,
    test_failure_table_ownership,
    test_failure_table_sessions,
    test_failure_table_states,
)


def _first_of_each_reason() -> dict[str, Row]:
    found: dict[Reason, Row] = {}
    for table in TABLES:
        for each in table.row.rows.values():
            found.setdefault(each.reason, each)
    return {each.case: each for each in found.values()}


class row:  # as the tables name theirs
    """What the fixture `outcomes` plays."""

    rows = _first_of_each_reason()


@pytest.fixture(scope="module")
def operator_flags() -> tuple[str, ...]:
    """Those of all the tables together."""
    some = ("--interval", "1h", "--connect-timeout", "2s")
    return (*some, "--allowed-extensions", "vector,not_there", "--blocked-ranges", "127.66.0.0/16")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pruned_environment(tmp_path_factory.mktemp("pruned"))


@pytest.fixture(scope="module")
def operator(
    python: Path, cluster: ControlPlane, operator_flags: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    # Without PYTHONPATH, which names the checkout: the operator too is the environment's own.
    command = shlex.join(["env", "-u", "PYTHONPATH", str(python), "-m", "cipher_operator"])
    with pytest.MonkeyPatch.context() as patch:
        if "CIPHER_TEST_OPERATOR" not in os.environ:
            patch.setenv("CIPHER_TEST_OPERATOR", command)
        running = Operator(cluster, tmp_path_factory.mktemp("operator"), *operator_flags).start()
    yield running
    running.stop()


@pytest.mark.parametrize("case", list(row.rows))
def test_the_failure_is_said_and_mended(outcomes: dict[str, Outcome], record_property: Record, case: str) -> None:
    outcomes[case].tell(record_property)


def test_it_makes_and_drops_a_database(namespace: Namespace, server: PostgresServer) -> None:
    database = ready_storage(namespace, server, deletionPolicy="Delete")
    there = "SELECT count(*) FROM pg_database WHERE datname = %s"
    assert server.execute(there, [database]) == [(1,)]
    namespace.delete("cipherstorages", "chat")
    wait_until(lambda: namespace.get("cipherstorages", "chat") is None, "the storage is gone")
    assert server.execute(there, [database]) == [(0,)]


def test_nothing_is_looked_for_in_vain(operator: Operator, namespace: Namespace, server: PostgresServer) -> None:
    ready_storage(namespace, server)
    assert "ModuleNotFoundError" not in operator.log()
    assert "Traceback" not in operator.log()


def test_the_other_commands_work(python: Path) -> None:
    for arguments, code in ((["version"], 0), (["plan", "--help"], 0), (["check", "--help"], 0), (["plan"], 2)):
        command = ["env", "-u", "PYTHONPATH", str(python), "-m", "cipher_operator", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == code, ended.stderr
        assert "ModuleNotFoundError" not in ended.stderr


def test_no_function_imports_from_what_is_pruned() -> None:
    """It would run after the pruning has looked at what is imported."""
    late = {name for path in (ROOT / "operator").rglob("*.py") for name in _late(ast.parse(path.read_text()))}
    assert not {name for name in late if name.split(".")[0] == "kubernetes"}
    assert set(_late(ast.parse("def f():\n    from kubernetes.client import V1Pod"))) == {"kubernetes.client"}


def _late(module: ast.Module) -> Iterator[str]:
    for function in ast.walk(module):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    yield from (each.name for each in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    yield node.module


def test_what_is_left_out_is_most_of_the_package(python: Path) -> None:
    (site,) = (python.parent.parent / "lib").glob("python*/site-packages")
    size = sum(path.stat().st_size for path in (site / "kubernetes").rglob("*.py"))
    assert size < 8e6, "of 74 MB; what is generated has moved, or is imported"
