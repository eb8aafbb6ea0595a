"""docs/operations.md: its commands do what they say on a real API server, and what it names exists."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from cipher_operator.api import names
from cipher_operator.runtime.flags import FLAGS
from devcluster import ControlPlane
from manifests.manifest_files import REPOSITORY

PAGE = (REPOSITORY / "docs" / "operations.md").read_text()
ESCAPE, POLICY = "When the operator is gone", "A policy of the cluster refuses the app Secret"


def _commands(section: str) -> list[list[str]]:
    """Return the kubectl commands in the shell blocks of a section, as words."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("kubectl ")]


@pytest.fixture
def storage(installed: ControlPlane, namespace: str) -> str:
    """A storage `chat` and its connection Secret, both held as the operator holds them; their namespace."""
    for name, body in (
        ("secrets", {"kind": "Secret", "metadata": {"name": "pg-admin", "finalizers": [names.IN_USE_FINALIZER]}}),
        (
            "cipherstorages",
            {
                "kind": names.KIND,
                "metadata": {"name": "chat", "finalizers": [names.FINALIZER]},
                "spec": {"connection": {"secretRef": {"name": "pg-admin"}}, "deletionPolicy": "Delete"},
            },
        ),
    ):
        version = "v1" if name == "secrets" else names.API_VERSION
        installed.kubectl("-n", namespace, "create", "-f", "-", input=json.dumps({"apiVersion": version, **body}))
    return namespace


def test_the_way_out_when_the_operator_is_gone(installed: ControlPlane, storage: str) -> None:
    installed.kubectl("-n", storage, "delete", "cstore/chat", "secret/pg-admin", "--wait=false")
    waits, *rest = _commands(ESCAPE)
    listed = installed.kubectl(*waits).splitlines()
    for kind, name, finalizer in (
        (names.KIND, "chat", names.FINALIZER),
        ("Secret", "pg-admin", names.IN_USE_FINALIZER),
    ):
        assert f'{kind} {storage} {name} ["{finalizer}"]' in listed
    said = [installed.kubectl("-n", storage, *words) for words in rest]
    assert names.FINALIZER in said[0] and names.IN_USE_FINALIZER in said[2]
    assert installed.kubectl("-n", storage, "get", "cstore,secret", "-o", "name") == ""


def test_labels_for_a_policy_are_a_valid_patch(installed: ControlPlane, storage: str) -> None:
    for words in _commands(POLICY):
        installed.kubectl("-n", storage, *words)
    labels = installed.kubectl("-n", storage, "get", "cstore", "chat", "-o", "jsonpath={.spec.app.labels}")
    assert json.loads(labels)
    installed.kubectl(
        "-n", storage, "patch", "cstore", "chat", "--type=merge", "-p", '{"metadata":{"finalizers":null}}'
    )


def test_what_it_names_exists() -> None:
    for name in set(re.findall(rf"{names.GROUP}/([a-z-]+)", PAGE)):
        assert f"{names.GROUP}/{name}" in {names.FINALIZER, names.IN_USE_FINALIZER}, name
    flags = {flag.name for flag in FLAGS} | {"leader-election", "no-leader-election"}
    of_others = {"all", "force", "all-namespaces", "status-include-resources", "no-comments"}
    for name in set(re.findall(r"`--([a-z-]+)", PAGE)):
        assert name in flags | of_others, name
    assert names.SECRET_TYPE in PAGE
    events = (REPOSITORY / "operator" / "cipher_operator" / "reconcile" / "report" / "events.py").read_text()
    for name in re.findall(r"Event `(\w+)`", PAGE):
        assert f'"{name}"' in events, name


@pytest.mark.parametrize("page", ["README.md", "docs/conditions.md", "docs/cipherstorage.md"])
def test_is_linked_from(page: str) -> None:
    assert re.search(r"\]\((?:docs/)?operations\.md[#)]", (REPOSITORY / page).read_text())
