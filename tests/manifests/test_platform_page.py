"""docs/platform-teams.md: from nothing to a tenant in ten lines, and every limit with what it prevents."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from cipher_operator.api.server import parse_server_spec
from cipher_operator.api.spec import parse_resource, parse_spec
from cipher_operator.core.connection.admin import read_admin_connection
from cipher_operator.core.tenancy import NOBODY, settle
from devcluster import ControlPlane
from manifests.manifest_files import REPOSITORY, documents
from support import crd

DOCS = REPOSITORY / "docs"
PAGE = (DOCS / "platform-teams.md").read_text()
BEGIN = PAGE.split("\n## From nothing to a tenant's Ready\n")[1].split("\n## ")[0]
SERVER, STORAGE = re.findall(r"^```yaml\n(.*?)^```", BEGIN, re.MULTILINE | re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for block in re.findall(r"^```sh\n(.*?)^```", BEGIN, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


def test_it_takes_ten_lines() -> None:
    assert len((SERVER + STORAGE).splitlines()) <= 10
    assert [documents(text)[0]["kind"] for text in (SERVER, STORAGE)] == ["CipherServer", "CipherStorage"]


def test_its_commands_lead_from_one_to_the_other(installed: ControlPlane) -> None:
    """All but the waits, which need the operator."""
    files = {"server.yaml": SERVER, "chat.yaml": STORAGE}
    try:
        for words in COMMANDS:
            if words[0] == "wait":
                continue
            if words[-2] == "-f":
                installed.kubectl(*words[:-1], "-", input=files[words[-1]])
            else:
                installed.kubectl(*words)
        server = json.loads(installed.kubectl("get", "cserver", "prod-eu", "-o", "json"))["spec"]
        storage = json.loads(installed.kubectl("get", "cstore", "chat", "-n", "shop", "-o", "json"))["spec"]
        labels = json.loads(installed.kubectl("get", "namespace", "shop", "-o", "json"))["metadata"]["labels"]
        assert storage["connection"] == {"serverRef": {"name": "prod-eu"}}
        assert server["allowedNamespaces"]["selector"]["matchLabels"].items() <= labels.items()
        installed.kubectl("get", "secret", "-n", "cipher-system", server["connection"]["secretRef"]["name"])
    finally:
        installed.kubectl("delete", "cserver/prod-eu", "namespace/shop", "--timeout=60s", "--ignore-not-found")
        installed.kubectl("delete", "secret/prod-eu-admin", "-n", "cipher-system", "--ignore-not-found")


def servers_that_name(secret: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the page and the spec of each example of a CipherServer, whole or not, whose login is in this Secret."""
    for page in ("platform-teams.md", "cipherserver.md"):
        for block in re.findall(r"^```yaml\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL):
            for document in documents(block):
                spec = document.get("spec", {})
                if spec.get("connection", {}).get("secretRef") == {"name": secret}:
                    yield page, {"allowedNamespaces": {"from": "All"}} | spec


def test_the_pages_own_secret_serves_every_example_that_names_it() -> None:
    """A Secret with a URL has no single keys, which `host` asks for."""
    making = next(words for words in COMMANDS if words[:2] == ["create", "secret"])
    name = making[3]
    data = dict(word.removeprefix("--from-literal=").split("=", 1) for word in making if "--from-literal" in word)
    found = list(servers_that_name(name))
    assert {page for page, _ in found} == {"platform-teams.md", "cipherserver.md"}
    for _, spec in found:
        connection = replace(parse_server_spec(spec).connection, ca=None)
        read_admin_connection({key: value.encode() for key, value in data.items()}, connection, None)


def test_every_example_that_verifies_says_where_pods_mount_the_ca() -> None:
    verifying = [spec for _, spec in servers_that_name("prod-eu-admin") if spec["connection"].get("caRef")]
    assert len(verifying) >= 2
    storage = documents(STORAGE)[0]["spec"]
    resource = parse_resource({"metadata": {"namespace": "shop", "name": "chat"}, "spec": storage})
    for spec in verifying:
        settle(resource, parse_spec("shop", "chat", storage), "prod-eu", parse_server_spec(spec), NOBODY)


@pytest.mark.parametrize("limit", [*crd.schema("spec.limits", crd.SERVERS)["properties"]])
def test_each_limit_says_what_it_prevents(limit: str) -> None:
    assert re.search(rf"^\| `limits\.{limit}` \| \S", PAGE, re.MULTILINE)


def test_the_example_has_every_limit() -> None:
    example = PAGE.split("\n## What each limit prevents\n")[1].split("```yaml\n")[1].split("```")[0]
    limits = documents(example)[0]["spec"]["limits"]
    assert {*limits} == {*crd.schema("spec.limits", crd.SERVERS)["properties"]}


@pytest.mark.parametrize("page", ["README.md", "docs/cipherserver.md", "docs/cipherstorage.md", "docs/security.md"])
def test_is_linked_from(page: str) -> None:
    assert re.search(r"\]\((?:docs/)?platform-teams\.md[#)]", (REPOSITORY / page).read_text())
