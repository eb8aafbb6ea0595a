"""`plan` and `check` from files: what they say is what a run in the cluster would do."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cipher_operator.api.failures import Failure
from cipher_operator.api.names import ANNOTATION_FORCE_DELETE, API_VERSION, FINALIZER, default_user_name
from cipher_operator.api.reasons import Reason
from cipher_operator.core.discretion import ADMINISTRATOR
from cipher_operator.reconcile.manifests import load
from cipher_operator.reconcile.offline import UNKNOWN_INSTANCE, Means, examine
from support.runs import Runs
from support.tenants import Tenants

VERSIONS = {"CipherStorage": API_VERSION, "CipherServer": API_VERSION, "Secret": "v1"}


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


def _files(runs: Runs, folder: Path) -> list[str]:
    """Write what the cluster holds, as a person has it in Git."""
    bodies = [
        runs.api.read("cipherstorages", "chat"),
        *(runs.api.read("secrets", each) for each in ("pg-admin", "brought")),
    ]
    for number, body in enumerate(each for each in bodies if each is not None):
        kept = {key: body[key] for key in ("spec", "data", "type") if key in body}
        metadata = {key: body["metadata"][key] for key in ("name", "namespace")}
        kind = "CipherStorage" if "spec" in body else "Secret"
        document: dict[str, Any] = {"apiVersion": VERSIONS[kind], "kind": kind, "metadata": metadata}
        (folder / f"{number}.yaml").write_text(yaml.safe_dump(document | kept))
    return sorted(map(str, folder.glob("*.yaml")))


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
    found = (await examine(load(_files(runs, tmp_path)), Means(runs.around.rules, runs.policy, runs.tokens))).found
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
        documents.append({"apiVersion": VERSIONS[kind], "kind": kind, "metadata": metadata, **kept})
    means = Means(tenants.around.rules, tenants.policy, tenants.tokens)
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    refused = (await examine(load([str(path)]), means)).found
    assert isinstance(refused, Failure)
    assert refused.reason is Reason.SERVER_NOT_AVAILABLE
    labelled = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns", "labels": {"cipher": "yes"}}}
    path.write_text(yaml.safe_dump_all([*documents, labelled]))
    found = (await examine(load([str(path)]), means)).found
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
    found = (await examine(load(_files(runs, tmp_path)), Means(runs.around.rules, runs.policy, runs.tokens))).found
    assert isinstance(found, Failure)
    assert found.reason is Reason.ALREADY_EXISTS
    assert found.message in runs.message()


GOING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
HELD = GOING | {"finalizers": [FINALIZER]}
SUSPENDED = "it is suspended: the operator does nothing for it until `spec.suspend` is false"
LEAVES = "it is being deleted: the operator only leaves the server as it is"
REMOVES = "it is being deleted: the operator only removes from the server what it created there"
OBSERVED = "`spec.managementPolicy` is Observe: the operator writes this plan into the status, and runs none of it"
STANDING: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "worked on": ({}, {}, []),
    "not suspended": ({}, {"suspend": False}, []),
    "suspended": ({}, {"suspend": True}, [SUSPENDED]),
    "observed": ({}, {"managementPolicy": "Observe"}, [OBSERVED]),
    "observed and suspended": ({}, {"managementPolicy": "Observe", "suspend": True}, [SUSPENDED]),
    "deleted": (GOING, {}, [LEAVES]),
    "deleted with what it created": (HELD, {"deletionPolicy": "Delete"}, [REMOVES]),
    "deleted while suspended": (HELD, {"deletionPolicy": "Delete", "suspend": True}, [LEAVES]),
    "deleted while observed": (HELD, {"deletionPolicy": "Delete", "managementPolicy": "Observe"}, [LEAVES]),
    "let go by force": (
        HELD | {"annotations": {ANNOTATION_FORCE_DELETE: "true"}}, {"deletionPolicy": "Delete"}, [LEAVES]
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STANDING)
async def test_why_the_operator_does_none_of_it_is_said(runs: Runs, tmp_path: Path, case: str) -> None:
    metadata, spec, notes = STANDING[case]
    runs.admin_secret()
    runs.storage(database={"name": runs.database}, **spec)
    files = _files(runs, tmp_path)
    path = Path(files[0])
    body = yaml.safe_load(path.read_text())
    body["metadata"] |= metadata
    path.write_text(yaml.safe_dump(body))
    look = await examine(load(files), Means(runs.around.rules, runs.policy, runs.tokens))
    assert not isinstance(look.found, Failure), look.found
    assert list(look.notes) == notes
    assert len(look.found.pending) > 3, "it is shown all the same"


@pytest.mark.parametrize("shared", [False, True], ids=["roles of its own", "the administrator's login"])
async def test_of_a_storage_that_stands_files_do_not_tell_all(runs: Runs, tmp_path: Path, shared: bool) -> None:
    """Its login is in the cluster alone, so the plan has a new one, which the operator would not make."""
    if shared:
        _database(runs)
    runs.admin_secret()
    runs.storage(database={"name": runs.database}, user={"mode": "Shared" if shared else "Dedicated"})
    means = Means(runs.around.rules, runs.policy, runs.tokens)
    assert (await examine(load(_files(runs, tmp_path)), means)).notes == ()
    await runs.run()
    look = await examine(load(_files(runs, tmp_path)), means)
    assert not isinstance(look.found, Failure), look.found
    told = [note for note in look.notes if "the operator manages it already" in note]
    assert bool(told) is not shared
    assert all(note.endswith("`cipher-operator plan chat -n ns`") for note in told)
    assert shared or any("PASSWORD" in line for line in look.found.pending)


async def test_what_a_run_warns_of_is_warned_of(runs: Runs, tmp_path: Path) -> None:
    runs.admin_secret(schema="cipher")
    runs.storage(database={"name": runs.database})
    await runs.run()
    runs.sql("GRANT SELECT ON cipher_store TO PUBLIC", database=runs.database)
    await runs.run()
    look = await examine(load(_files(runs, tmp_path)), Means(runs.around.rules, runs.policy, runs.tokens))
    assert not isinstance(look.found, Failure), look.found
    assert any("is open to PUBLIC" in text for text in look.found.warnings)
    assert len(look.found.warnings) > 1
    for text in look.found.warnings:
        assert text in runs.message()


Documents = dict[str, dict[str, Any]]


def _shared(tenants: Tenants) -> Documents:
    """Return what a tenant and his platform team apply, with a login that works."""
    url = tenants.server.admin_url(sslmode="disable")
    own = {"apiVersion": API_VERSION, "kind": "CipherStorage", "metadata": {"name": "chat", "namespace": "ns"}}
    offered = {"connection": {"secretRef": {"name": "prod-admin"}}, "allowedNamespaces": {"from": "All"}}
    server = {"apiVersion": API_VERSION, "kind": "CipherServer", "metadata": {"name": "prod"}, "spec": offered}
    home = {"name": "prod-admin", "namespace": "cipher-system"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": home, "stringData": {"CIPHER_PG_URL": url}}
    return {
        "storage": {**own, "spec": {"connection": {"serverRef": {"name": "prod"}}}},
        "server": server,
        "secret": secret,
    }


def _url(documents: Documents, **changes: str) -> None:
    text = documents["secret"]["stringData"]["CIPHER_PG_URL"]
    for before, after in changes.items():
        text = re.sub(before, after, text)
    documents["secret"]["stringData"]["CIPHER_PG_URL"] = text


def _offer(documents: Documents, **changes: Any) -> None:
    documents["server"]["spec"] |= changes


def _less(tenants: Tenants, documents: Documents) -> None:
    tenants.sql("CREATE ROLE plain LOGIN PASSWORD 'plain'")
    _url(documents, **{r"//[^@]*@": "//plain:plain@"})


def _taken(tenants: Tenants, documents: Documents) -> None:
    tenants.sql(f"CREATE ROLE {default_user_name('ns', 'chat')} LOGIN")


SELECTS = {"from": "Selector", "selector": {"matchLabels": {"cipher": "yes"}}}
CAUSES: dict[str, tuple[Callable[[Tenants, Documents], object], str, str]] = {
    "a wrong password": (
        lambda _, given: _url(given, **{r":[^:@/]*@": ":wrong@"}),
        "AuthenticationFailed",
        "CipherServer 'prod': The server refused user or password of the admin login",
    ),
    "nobody at the host": (
        lambda _, given: _url(given, **{r":\d+/": ":1/"}),
        "ConnectionRefused",
        "CipherServer 'prod': .*refused",
    ),
    "a login without rights": (_less, "InsufficientPrivilege", "CipherServer 'prod': .*CREATEROLE"),
    "a URL that is none": (
        lambda _, given: _url(given, **{r".*": "mysql://x"}),
        "InvalidURL",
        "CipherServer 'prod': .*postgres",
    ),
    "no Secret": (
        lambda _, given: given.pop("secret"),
        "SecretNotFound",
        "CipherServer 'prod': Secret 'prod-admin' .* namespace 'cipher-system'",
    ),
    "the tenant's own Secret of that name": (
        lambda _, given: given["secret"]["metadata"].update(namespace="ns"),
        "SecretNotFound",
        "CipherServer 'prod': Secret 'prod-admin' .* namespace 'cipher-system'",
    ),
    "a Secret without its keys": (
        lambda _, given: given["secret"].update(stringData={"x": "y"}),
        "SecretKeyMissing",
        "CipherServer 'prod': .*CIPHER_PG_URL",
    ),
    "a token over a way that proves nothing": (
        lambda _, given: _offer(
            given, connection={"host": "db", "user": "cipher"}, auth={"method": "AWSIAM", "region": "eu-west-1"}
        ),
        "InvalidSpec",
        r"CipherServer 'prod': `spec\.connection\.sslMode`",
    ),
    "no CipherServer": (
        lambda _, given: given.pop("server"),
        "ServerNotAvailable",
        "CipherServer 'prod': there is none of that name",
    ),
    "another namespace's": (
        lambda _, given: _offer(given, allowedNamespaces={"from": "Selector", "names": ["other"]}),
        "ServerNotAvailable",
        r"CipherServer 'prod': `spec\.allowedNamespaces` leaves namespace 'ns' out",
    ),
    "a namespace whose labels nobody gave": (
        lambda _, given: _offer(given, allowedNamespaces=SELECTS),
        "ServerNotAvailable",
        "CipherServer 'prod': .*asks for labels of namespace 'ns': add the Namespace",
    ),
    "one that is being deleted": (
        lambda _, given: given["server"]["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"),
        "ServerNotAvailable",
        "CipherServer 'prod': it is being deleted",
    ),
    "a spec that nobody is let in by": (
        lambda _, given: _offer(given, allowedNamespaces={"from": "Somebody"}),
        "InvalidSpec",
        r"CipherServer 'prod': `spec\.allowedNamespaces`",
    ),
    "a limit that cannot be used": (
        lambda _, given: _offer(given, limits={"databaseNames": "("}),
        "InvalidSpec",
        r"CipherServer 'prod': `spec\.limits\.databaseNames`",
    ),
    "a role that is there already": (_taken, "AlreadyExists", f"[Rr]ole '{default_user_name('ns', 'chat')}'"),
    "the tenant's own mistake": (
        lambda _, given: given["storage"]["spec"].update(user={"mode": "Shared"}),
        "InvalidSpec",
        r"^`spec\.user\.mode: Shared`",
    ),
    "more than is allowed": (
        lambda _, given: given["storage"]["spec"].update(deletionPolicy="Delete"),
        "LimitExceeded",
        r"^`spec\.deletionPolicy: Delete`",
    ),
}


@pytest.mark.parametrize("case", CAUSES)
async def test_whoever_holds_the_files_is_told_the_cause(tenants: Tenants, tmp_path: Path, case: str) -> None:
    """A status tells tenants that a CipherServer cannot be used, no more; here the login is in the reader's hands."""
    change, reason, said = CAUSES[case]
    documents = _shared(tenants)
    change(tenants, documents)
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump_all(documents.values()))
    means = Means(tenants.around.rules, tenants.policy, tenants.tokens)
    found = (await examine(load([str(path)]), means)).found
    assert isinstance(found, Failure), found
    assert (str(found.reason), re.search(said, found.message) is not None) == (reason, True), found.message
    assert "hoever runs it finds" not in found.message
    assert tenants.server.password not in found.message


async def test_a_rename_is_planned_without_the_operators_instance(tenants: Tenants, tmp_path: Path) -> None:
    """Of this operator alone may a tenant take over; whoever has no cluster to ask gives no --instance-id."""
    tenants.platform(limits={"adoption": True})
    await tenants.ready_tenant()
    documents = _shared(tenants)
    _offer(documents, limits={"adoption": True})
    documents["storage"]["metadata"]["name"] = "talk"
    documents["storage"]["spec"] |= {
        "database": {"name": tenants.api.status()["database"]},
        "adoptFrom": {"instance": tenants.instance, "namespace": "ns", "name": "chat"},
    }
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump_all(documents.values()))
    rules = replace(tenants.around.rules, instance=UNKNOWN_INSTANCE)
    found = (await examine(load([str(path)]), Means(rules, tenants.policy, tenants.tokens))).found
    assert not isinstance(found, Failure), found
    assert any("OWNER TO" in line for line in found.pending)
    elsewhere = replace(tenants.around.rules, instance="the-other-cluster")
    found = (await examine(load([str(path)]), Means(elsewhere, tenants.policy, tenants.tokens))).found
    assert isinstance(found, Failure)
    assert found.reason is Reason.LIMIT_EXCEEDED
