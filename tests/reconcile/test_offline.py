"""`plan` and `check` from files: what they say is what a run in the cluster would do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.discretion import ADMINISTRATOR
from cipher_operator.reconcile.manifests import load
from cipher_operator.reconcile.offline import Means, examine
from support.runs import Runs
from support.tenants import Tenants


def _nothing(runs: Runs) -> None:
    """A server without a trace of the storage."""


def _database(runs: Runs) -> None:
    runs.sql(f"CREATE DATABASE {runs.database} ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0")


def _role(runs: Runs) -> None:
    runs.sql(f"CREATE ROLE app_{runs.database}_chat LOGIN PASSWORD 'before'")


def _brought(runs: Runs) -> None:
    runs.api.secret("brought", {"password": "of-the-user"})


CASES: dict[str, tuple[Callable[[Runs], None], dict[str, Any]]] = {
    "everything is to be made": (_nothing, {}),
    "in a database of others": (_database, {"database": {"create": False}}),
    "a schema of its own": (_nothing, {"schema": "cipher"}),
    "a login that somebody made, to be adopted": (_role, {"adoptionPolicy": "IfUnowned"}),
    "a password that the user brings": (
        _brought,
        {"user": {"passwordSecretRef": {"name": "brought", "key": "password"}}},
    ),
    "the administrator's own login": (_database, {"user": {"mode": "Shared"}}),
    "another storage's objects, which are not there": (
        _nothing,
        {"adoptFrom": {"instance": "x", "namespace": "y", "name": "z"}},
    ),
}


def _files(runs: Runs, folder: Path) -> list[Path]:
    """Write what the cluster holds, as a person has it in Git."""
    bodies = [
        runs.api.read("cipherstorages", "chat"),
        *(runs.api.read("secrets", each) for each in ("pg-admin", "brought")),
    ]
    for number, body in enumerate(each for each in bodies if each is not None):
        kept = {key: body[key] for key in ("spec", "data", "type") if key in body}
        metadata = {key: body["metadata"][key] for key in ("name", "namespace")}
        kind = "CipherStorage" if "spec" in body else "Secret"
        document: dict[str, Any] = {"apiVersion": "v1", "kind": kind, "metadata": metadata}
        (folder / f"{number}.yaml").write_text(yaml.safe_dump(document | kept))
    return sorted(folder.glob("*.yaml"))


@pytest.mark.parametrize("case", CASES)
async def test_the_plan_of_files_is_that_of_a_run(runs: Runs, tmp_path: Path, case: str) -> None:
    prepare, spec = CASES[case]
    prepare(runs)
    runs.admin_secret()
    database = {"name": runs.database, **spec.get("database", {})}
    wanted: dict[str, Any] = {**spec, "database": database, "managementPolicy": "Observe"}
    runs.storage(**wanted)
    await runs.run()
    planned = runs.api.status()["plan"]
    found = await examine(load(_files(runs, tmp_path)), Means(runs.around.rules, runs.policy, runs.tokens))
    assert not isinstance(found, Failure), found
    # Who the object is stands in no file.
    storage = runs.api.read("cipherstorages", "chat")
    assert storage is not None
    uid = storage["metadata"]["uid"]
    assert list(found.pending) == [line.replace(uid, "") for line in planned]
    assert len(planned) > 3


async def test_files_with_a_server_of_the_platform_team(tenants: Tenants, tmp_path: Path) -> None:
    """CipherServer, Secret and Namespace are in the files too; what is not allowed is said as in a cluster."""
    selected = {"from": "Selector", "selector": {"matchLabels": {"cipher": "yes"}}}
    tenants.platform(allowedNamespaces=selected)
    tenants.tenant(managementPolicy="Observe")
    tenants.label("ns", cipher="yes")
    await tenants.look()
    bodies = {
        "CipherStorage": tenants.api.read("cipherstorages", "chat"),
        "CipherServer": tenants.api.read("cipherservers", "prod", namespace=""),
        "Secret": tenants.api.read("secrets", "prod-admin", namespace="cipher-system"),
    }
    documents: list[dict[str, Any]] = []
    for kind, body in bodies.items():
        assert body is not None
        metadata = {key: body["metadata"][key] for key in ("name", "namespace") if key in body["metadata"]}
        kept: dict[str, Any] = {key: body[key] for key in ("spec", "data", "type") if key in body}
        documents.append({"apiVersion": "v1", "kind": kind, "metadata": metadata, **kept})
    means = Means(tenants.around.rules, tenants.policy, tenants.tokens)
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    refused = await examine(load([path]), means)
    assert isinstance(refused, Failure)
    assert refused.reason is Reason.SERVER_NOT_AVAILABLE
    labelled = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns", "labels": {"cipher": "yes"}}}
    path.write_text(yaml.safe_dump_all([*documents, labelled]))
    found = await examine(load([path]), means)
    assert not isinstance(found, Failure), found
    storage = tenants.api.read("cipherstorages", "chat")
    assert storage is not None
    # Whoever has the Secret in his files may read whose login it is; a status says it to no tenant.
    login = f'"{tenants.server.superuser}"'
    masked = [line.replace(login, ADMINISTRATOR) for line in found.pending]
    assert masked == [line.replace(storage["metadata"]["uid"], "") for line in storage["status"]["plan"]]
    assert masked != list(found.pending)


async def test_what_a_run_refuses_is_refused_in_its_words(runs: Runs, tmp_path: Path) -> None:
    _role(runs)
    runs.admin_secret()
    runs.storage()
    await runs.run()
    found = await examine(load(_files(runs, tmp_path)), Means(runs.around.rules, runs.policy, runs.tokens))
    assert isinstance(found, Failure)
    assert found.reason is Reason.ALREADY_EXISTS
    assert found.message in runs.message()
