"""manifests/components/monitoring: what kustomize makes of it, its alerts, their pages, kube-state-metrics."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster.programs import find_programs
from manifests.manifest_files import REPOSITORY, documents
from manifests.monitoring import COMPONENT, JOB, RUNBOOKS, alerts
from support import crd

_alert = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])


Built = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """What kustomize makes of base and component, by kind and name."""
    return _built(tmp_path_factory.mktemp("monitoring"))


def _built(folder: Path, more: str = "") -> Built:
    for each in (COMPONENT, REPOSITORY / "manifests" / "base"):
        shutil.copytree(each, folder / each.name)
    kustomization = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
    (folder / "kustomization.yaml").write_text(f"{kustomization}resources: [base]\ncomponents: [monitoring]\n{more}")
    command = [str(find_programs().kubectl), "kustomize", str(folder)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {(each["kind"], each["metadata"]["name"]): each for each in documents(said)}


def test_the_monitor_finds_the_service(built: Built) -> None:
    monitor, service = built["ServiceMonitor", "cipher-operator"], built["Service", JOB]
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= service["metadata"]["labels"].items()
    assert monitor["metadata"]["namespace"] == service["metadata"]["namespace"]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert "jobLabel" not in monitor["spec"], "the job is the Service's name"


def test_the_dashboard_is_where_grafanas_sidecar_looks(built: Built) -> None:
    found = built["ConfigMap", "cipher-operator-dashboard"]
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["data"]["cipher-operator.json"] == (COMPONENT / "dashboard.json").read_text()
    assert len(found["data"]["cipher-operator.json"]) < 250_000, "kubectl apply keeps it in an annotation"


@_alert
def test_an_alert_says_what_people_need(alert: dict[str, Any]) -> None:
    name, annotations = alert["alert"], alert["annotations"]
    assert re.fullmatch(r"Cipher(Operator|Storage|Server|Ca)([A-Z][a-z]+)+", name)
    assert alert["labels"] == {"severity": alert["labels"]["severity"]}
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert re.fullmatch(r"\d+[mh]", alert["for"])
    assert re.fullmatch(r"(?:[A-Z]|cipher-operator )[^.]*\.", annotations["summary"]), "one sentence"
    assert annotations["description"].endswith(".")
    assert f'job="{JOB}"' in alert["expr"]


def test_their_pages_are_under_one_address() -> None:
    bases = {alert["annotations"]["runbook_url"].rpartition("/")[0] for alert in alerts()}
    assert len(bases) == 1
    for alert in alerts():
        assert alert["annotations"]["runbook_url"].rpartition("/")[2] == f"{alert['alert'].lower()}.md"


def test_the_page_says_how_they_lead_elsewhere(built: Built, tmp_path: Path) -> None:
    (recipe,) = re.findall(r"^```yaml\n(.*?)^```$", RUNBOOKS.with_suffix(".md").read_text(), re.MULTILINE | re.DOTALL)
    moved = _built(tmp_path, recipe)
    assert moved.keys() == built.keys()
    (group,) = moved["PrometheusRule", "cipher-operator"]["spec"]["groups"]
    for rule, ours in zip(group["rules"], alerts(), strict=True):
        page = f"https://github.com/OWNER/NAME/blob/v0.1.0/docs/runbooks/{ours['alert'].lower()}.md"
        assert rule == ours | {"annotations": ours["annotations"] | {"runbook_url": page}}


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    assert {page.name for page in RUNBOOKS.glob("*")} == {f"{alert['alert'].lower()}.md" for alert in alerts()}


@_alert
def test_a_page_is_whole(alert: dict[str, Any]) -> None:
    text = (RUNBOOKS / f"{alert['alert'].lower()}.md").read_text()
    assert text.startswith(f"# {alert['alert']}\n")
    assert f"Severity: {alert['labels']['severity']}." in text.replace("\n", " ")
    parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    assert parts[1::2] == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
    assert all(part.strip() for part in parts[2::2])
    assert parts[6].strip().startswith("```sh\n")


def test_annotations_and_reasons_in_the_pages_exist() -> None:
    reference = (REPOSITORY / "docs" / "cipherstorage.md").read_text()
    conditions = (REPOSITORY / "docs" / "conditions.md").read_text()
    flags = (REPOSITORY / "docs" / "settings.md").read_text()
    for page in RUNBOOKS.glob("*.md"):
        text = page.read_text()
        for annotation in re.findall(r"storage\.cipher\.dev/[a-z-]+", text):
            assert annotation in reference, (page.name, annotation)
        for group in re.findall(r"grep (?:-E ')?([A-Z][A-Za-z|]+)", text):
            assert all(reason == "True" or f"### {reason}" in conditions for reason in group.split("|")), page.name
        for flag in re.findall(r"`(--[a-z-]+)`", text):
            assert f"`{flag}" in flags or flag == "--no-leader-election", (page.name, flag)


def _paths(metric: dict[str, Any]) -> list[list[str]]:
    (kind,) = [value for key, value in metric["each"].items() if key != "type"]
    base = kind.get("path", [])
    return [[*base, *path] for path in ([], *kind.get("labelsFromPath", {}).values(), kind.get("valueFrom", []))]


SHOWN: dict[str, dict[str, Any]] = {
    resource["groupVersionKind"]["kind"]: resource
    for resource in yaml.safe_load((COMPONENT / "kube-state-metrics.yaml").read_text())["spec"]["resources"]
}


@pytest.mark.parametrize("plural", crd.KINDS)
def test_kube_state_metrics_reads_fields_that_there_are(plural: str) -> None:
    kind = crd.document(plural)
    resource = SHOWN[kind["spec"]["names"]["kind"]]
    wanted = resource["groupVersionKind"]
    assert wanted["group"] == kind["spec"]["group"]
    assert wanted["version"] in {version["name"] for version in kind["spec"]["versions"]}
    schemas = {part: crd.schema(part, plural) for part in ("spec", "status")}
    for metric in resource["metrics"]:
        assert metric["each"]["type"].lower() in {key.lower() for key in metric["each"]}
        for path in _paths(metric):
            if path and path[0] != "metadata":
                _walk(schemas[path[0]], path[1:])


def _walk(node: dict[str, Any], steps: list[str]) -> None:
    """Follow a path in a schema; AssertionError where it leads nowhere."""
    for step in steps:
        if step.startswith("["):
            assert step == "[type=Ready]" and "items" in node
            node = node["items"]
            continue
        node = node.get("items", node)
        assert step in node["properties"], steps
        node = node["properties"][step]


def test_the_metrics_page_names_what_kube_state_metrics_publishes() -> None:
    published = {
        f"{resource['metricNamePrefix']}_{metric['name']}"
        for resource in SHOWN.values()
        for metric in resource["metrics"]
    }
    page = (REPOSITORY / "docs" / "metrics.md").read_text()
    assert set(re.findall(r"kube_cipher(?:storage|server)_\w+", page)) == published


def test_kube_state_metrics_may_read_what_it_shall(built: Built) -> None:
    rules = built["ClusterRole", "cipher-operator-kube-state-metrics"]["rules"]
    assert {
        (group, what, *rule["verbs"]) for rule in rules for group in rule["apiGroups"] for what in rule["resources"]
    } == {
        ("storage.cipher.dev", "cipherstorages", "list", "watch"),
        ("storage.cipher.dev", "cipherservers", "list", "watch"),
        ("apiextensions.k8s.io", "customresourcedefinitions", "list", "watch"),
    }
