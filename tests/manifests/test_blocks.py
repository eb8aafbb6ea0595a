"""Every block of the documents has somebody who carries it out: here on a real API server and a real PostgreSQL, as it
stands, in the page's order; else a test that is named, or what it would need."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cipher_operator.api.names import API_VERSION
from cipher_operator.runtime.flags import FLAGS
from devcluster import ControlPlane, PostgresServer
from devcluster.tls import CertificateAuthority
from manifests.block_account import (
    BLOCKS,
    HERE,
    NOT_HERE,
    begins_anew,
    elsewhere,
    is_kustomization,
    is_whole,
    parts,
    who_runs,
)
from manifests.manifest_files import REPOSITORY, documents
from support import crd
from support.pages import ELSEWHERE, Block, Shell
from support.servers import LEAST

CONNECTION = {"secretRef": {"name": "pg-admin"}}
POD = {"containers": [{"name": "cipher", "image": "registry.example.com/cipher:1"}]}
SERVER = "prod-eu"
PLACEHOLDERS = {
    "cserver NAME": f"cserver {SERVER}",
    "NAMESPACE": "{namespace}",
    "NAME": "chat",
    "configmap CA": "configmap rds-ca",
    "PERSON": "jane",
    "shop": "{namespace}",
    "team-a team-b": "{namespace} {namespace}",
    "-n chat": "-n {namespace}",
}
"""What a page's reader puts his own for, in commands."""


def test_every_block_has_somebody_who_runs_it() -> None:
    for block in BLOCKS:
        print(f"{block.name}: {', '.join(who_runs(block))}")
    assert [block.name for block in BLOCKS if len(who_runs(block)) != 1] == []


def test_who_is_named_is_there_and_is_needed() -> None:
    for name in HERE:
        module, _, test = name.rpartition(".")
        assert test in (Path(__file__).parent / f"{module or 'test_blocks'}.py").read_text()
    named = [each.who for each in NOT_HERE] + [*ELSEWHERE.values()]
    for path in re.findall(r"tests/\S+\.py", " ".join(named)):
        assert (REPOSITORY / path).is_file(), path
    assert [each for each in NOT_HERE if not any(each in elsewhere(block) for block in BLOCKS)] == []
    scripts = "\n".join(block.script or "" for block in BLOCKS)
    assert [name for name in ELSEWHERE if not re.search(rf"(^|[\s(]){re.escape(name)} ", scripts)] == []


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    with PostgresServer(settings={"max_prepared_transactions": "2"}) as running:
        yield running


@pytest.fixture
def certificate(certificate_authority: CertificateAuthority) -> str:
    return certificate_authority.server().ca.read_text()


def _is_made(page: str, kind: str, name: str) -> bool:
    """Return whether the page has its reader make an object."""
    scripts = "\n".join(each.script or "" for each in BLOCKS if each.page == page)
    return any("--dry-run" not in line for line in re.findall(rf"kubectl create {kind} {name}\b.*", scripts))


@pytest.fixture(scope="module")
def server_object(installed: ControlPlane) -> Iterator[None]:
    body = {"apiVersion": API_VERSION, "kind": "CipherServer", "metadata": {"name": SERVER}, "spec": LEAST}
    installed.kubectl("apply", "-f", "-", input=json.dumps(body))
    yield
    installed.kubectl("delete", "cserver", SERVER)


@pytest.fixture
def around(installed: ControlPlane, namespace: str, certificate: str) -> Callable[[str], None]:
    """Make in the namespace what a page's reader has already: the storage, its Secrets, a CA, the app."""

    def make(page: str) -> None:
        labels = {"app": "cipher"}
        template = {"metadata": {"labels": labels}, "spec": POD}
        found: list[tuple[str, str, str, dict[str, Any]]] = [
            ("v1", "Secret", "chat-cipher", {"stringData": {"uri": "postgresql://"}}),
            ("apps/v1", "Deployment", "cipher", {"spec": {"selector": {"matchLabels": labels}, "template": template}}),
        ]
        if not any("-f chat.yaml" in (block.script or "") for block in BLOCKS if block.page == page):
            found.append((API_VERSION, "CipherStorage", "chat", {"spec": {"connection": CONNECTION}}))
        if not _is_made(page, "secret generic", "pg-admin"):
            found.append(("v1", "Secret", "pg-admin", {"stringData": {"CIPHER_PG_URL": "postgresql://"}}))
        if not _is_made(page, "configmap", "rds-ca"):
            found.append(("v1", "ConfigMap", "rds-ca", {"data": {"ca.crt": certificate}}))
        items = [
            {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **rest}
            for version, kind, name, rest in found
        ]
        whole = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        installed.kubectl("-n", namespace, "apply", "-f", "-", input=whole)

    return make


@pytest.fixture
def shell(installed: ControlPlane, namespace: str, database: PostgresServer, certificate: str, tmp_path: Path) -> Shell:
    """A shell with what readers have: variables of the pages, and files that a provider's command would write."""
    for name in ("rds-ca.pem", "server-ca.pem"):
        (tmp_path / name).write_text(certificate)
    url = database.admin_url(sslmode="disable")
    return Shell.at(tmp_path, installed, namespace, acted=True, ADMIN_URL=url)


def _told(script: str, namespace: str) -> str:
    for placeholder, own in PLACEHOLDERS.items():
        script = re.sub(rf"(?<![\w-]){re.escape(placeholder)}\b", own.format(namespace=namespace), script)
    return script


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS if block.script is not None}))
@pytest.mark.usefixtures("server_object")
def test_a_page_runs_as_it_stands(
    installed: ControlPlane, shell: Shell, namespace: str, around: Callable[[str], None], page: str
) -> None:
    around(page)
    there = [each for each in BLOCKS if each.page == page]
    for block in [each for each in reversed(there) if is_whole(each)] + there:
        if is_whole(block):
            kinds = {each["kind"] for each in documents(block.text)}
            (shell.folder / ("server.yaml" if "CipherServer" in kinds else "chat.yaml")).write_text(block.text)
        if block.script is None or elsewhere(block):
            continue
        if begins_anew(block):
            installed.kubectl("-n", namespace, "delete", "cstore/chat", "secret/pg-admin", "--ignore-not-found")
        said = shell.run(_told(block.script, namespace)).splitlines()
        assert shell.failures() == "", block.name
        if block.shown:
            assert said[0].split() == block.shown[0].split(), "the columns are those that the API server shows"


PROVIDERS_OWN = {
    "docs/identity.md": """
        CREATE ROLE rds_iam; CREATE ROLE "cipher@my-project.iam" LOGIN; CREATE ROLE "cipher-operator" LOGIN;
        CREATE FUNCTION pgaadauth_create_principal(text, boolean, boolean) RETURNS text RETURN 'Created';""",
    "docs/providers/other-tools.md": 'CREATE ROLE "v-kubernetes-…"; CREATE ROLE "cipher-admin";',
}
"""What is there on a provider's server before the page's SQL."""
PREPARED = "docs/operations.md"
PAGES = {block.page for block in BLOCKS if block.language == "sql"}


def test_sql_runs_as_it_stands(database: PostgresServer) -> None:
    told = {
        page: "".join(each.text for each in BLOCKS if each.page == page and each.language == "sql") for page in PAGES
    }
    for page in PAGES - {PREPARED}:
        database.execute(f"BEGIN; {PROVIDERS_OWN.get(page, '')} {told[page]} ROLLBACK")
    database.execute("CREATE DATABASE cipher_db")
    database.execute("BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'GID'", database="cipher_db")
    database.execute("ALTER DATABASE cipher_db WITH ALLOW_CONNECTIONS false")
    outside, _, inside = told[PREPARED].partition("-- in that database:\n")
    # One by one, as psql sends them.
    for statement in re.findall(r"[^;]+;", outside):
        database.execute(statement)
    database.execute(inside, database="cipher_db")
    assert database.execute("SELECT gid FROM pg_prepared_xacts") == []


def _named_parts() -> list[Any]:
    return [
        pytest.param(part, id=f"{block.name} {next(iter(part))}")
        for block in BLOCKS
        if not is_kustomization(block)
        for part in parts(block)
    ]


@pytest.mark.parametrize("part", _named_parts())
def test_a_part_of_an_object_is_taken(installed: ControlPlane, namespace: str, part: dict[str, Any]) -> None:
    """Of a CipherStorage, a CipherServer, a container, or a Pod."""
    rest: dict[str, Any] = {}
    if {"spec", "status"} & {*part}:
        given = part.get("spec", {})
        of_server = {*given} - {*crd.schema("spec")["properties"]}
        kind, least = ("CipherServer", LEAST) if of_server else ("CipherStorage", {"connection": CONNECTION})
        version, spec = API_VERSION, {**least, **given}
        rest = {"status": part["status"]} if "status" in part else {}
    else:
        container = POD["containers"][0]
        spec = {"containers": [container | part]} if "envFrom" in part else part
        kind, version = "Pod", "v1"
    whole = {"apiVersion": version, "kind": kind, "metadata": {"name": "part"}, "spec": spec, **rest}
    flags = ("--dry-run=server", "--validate=strict")
    installed.kubectl("-n", namespace, "create", *flags, "-f", "-", input=json.dumps(whole))


@pytest.mark.parametrize("block", [each for each in BLOCKS if is_kustomization(each)], ids=lambda block: block.name)
def test_a_kustomization_builds(installed: ControlPlane, tmp_path: Path, block: Block) -> None:
    """As it stands, over the base and the component that it is for; it changes what it names."""
    (given,) = parts(block)
    there = {"resources": ["manifests/base"], "components": ["manifests/components/network-policy"]}
    if "replacements" in given:
        there["components"] = ["manifests/components/monitoring"]
    built = []
    for kustomization in (there, there | given):
        paths = {
            key: [os.path.relpath(REPOSITORY / each, tmp_path) for each in kustomization[key]]
            for key in ("resources", "components")
        }
        (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization | paths))
        built.append(installed.kubectl("kustomize", str(tmp_path)))
    assert built[0] != built[1]


def test_every_helm_command_has_the_chart_and_values_that_it_knows() -> None:
    """Those that it does not know Helm refuses; tests/delivery runs it."""
    values = yaml.safe_load((REPOSITORY / "charts" / "cipher-operator" / "values.yaml").read_text())
    flags = {flag.name for flag in FLAGS}
    seen = 0
    for block in (each for each in BLOCKS if each.language == "sh"):
        text = block.text.replace("\\\n", " ")
        for line in re.findall(r"^helm (?:install|upgrade) .*$", text, re.MULTILINE):
            words = shlex.split(line, comments=True)
            assert "charts/cipher-operator" in words, line
            for each in (words[i + 1].partition("=")[0] for i, word in enumerate(words) if word == "--set"):
                group, _, name = each.partition(".")
                assert name in flags if group == "settings" else not name or name in values[group], line
                assert group in values, line
                seen += 1
    assert seen
