"""`python -m release.chart write | check`: the parts of the Helm chart that are made from other files.

The chart's own are the templates with values in them. What stands in crds/, manifests/ and the operator's flags already
is taken from there: CRDs, rules of roles, admission policies, alerts, dashboard, and in the schema the names of flags.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cipher_operator.api.durations import PATTERN
from cipher_operator.runtime.flags import FLAGS, Choice, Duration, Number
from release.repository import CHART, CHART_PAGE, ROOT
from release.values_page import page

_COMPONENTS = ROOT / "manifests" / "components"
_LABELS = '    {{- include "cipher-operator.labels" . | nindent 4 }}\n'
_KEEP = "    {{- if .Values.crds.keep }}\n    helm.sh/resource-policy: keep\n    {{- end }}\n"
_NAME = "  labels:\n    app.kubernetes.io/name: cipher-operator\n"
_ACCOUNT = "system:serviceaccount:cipher-system:cipher-operator"
_CHARTS_ACCOUNT = 'system:serviceaccount:{{ .Release.Namespace }}:{{ include "cipher-operator.serviceAccountName" . }}'
_NOT_SETTINGS = frozenset({"health-address", "metrics-address", "leader-election-namespace", "watch-secrets"})
"""Flags whose value the Deployment, the Service, the Role of the Lease or the roles for Secrets give."""


class ChartError(ValueError):
    """A file that the chart is made from has not the shape that is counted on; the message says which and what."""


def made() -> dict[Path, str]:
    """Return every file of the chart that is made from others, with its content. Raises ChartError."""
    base, served = ROOT / "manifests/base", ROOT / "manifests/overlays/restricted-namespace/served"
    monitoring, admission = _COMPONENTS / "monitoring", _COMPONENTS / "admission"
    servers = ROOT / "manifests/overlays/servers-only"
    only_servers = 'eq .Values.secrets.watch "servers"'
    files = {f"templates/crds/{path.name}": _crd(path) for path in sorted((ROOT / "crds").glob("*.yaml"))} | {
        "files/cluster-role.yaml": _rules(base / "rbac.yaml", "ClusterRole"),
        "files/cluster-role-but-secrets.yaml": _without_secrets(base / "rbac.yaml"),
        "files/servers-role.yaml": _rules(servers / "secrets.yaml", "Role"),
        "files/app-secrets-role.yaml": _rules(servers / "secrets.yaml", "ClusterRole"),
        "files/role.yaml": _rules(base / "rbac.yaml", "Role"),
        "files/served-role.yaml": _rules(served / "role.yaml", "Role"),
        "files/kube-state-metrics-role.yaml": _rules(monitoring / "kube-state-metrics-rbac.yaml", "ClusterRole"),
        "files/kube-state-metrics.yaml": (monitoring / "kube-state-metrics.yaml").read_text(),
        "files/dashboard.json": (monitoring / "dashboard.json").read_text(),
        "files/alerts.yaml": _below(monitoring / "prometheusrule.yaml", "spec"),
        "templates/aggregated-roles.yaml": _template(
            base / "aggregated-roles.yaml", ".Values.rbac.aggregateClusterRoles"
        ),
        "templates/fence.yaml": _template(
            admission / "fence.yaml", f"or .Values.admissionPolicies.fence ({only_servers})"
        ),
        "templates/safe-upgrades.yaml": _template(
            admission / "safe-upgrades.yaml", ".Values.admissionPolicies.safeUpgrades"
        ),
        "templates/servers-only.yaml": _template(servers / "servers-only.yaml", only_servers),
        "values.schema.json": _schema(CHART / "values.schema.json"),
        "README.md": page(CHART),
    }
    pages = {ROOT / CHART_PAGE: _moved(files["README.md"], (ROOT / CHART_PAGE).parent)}
    return {CHART / name: content for name, content in files.items()} | pages


def stale() -> list[Path]:
    """Return the files that are not as they would be made now: to be written, or left from what is gone."""
    wanted = made()
    there = [*CHART.glob("templates/crds/*"), *CHART.glob("files/*")]
    differing = [path for path, content in wanted.items() if not path.exists() or path.read_text() != content]
    return sorted([*differing, *(path for path in there if path not in wanted)])


def write() -> list[Path]:
    """Make the files anew, remove what is left of what is gone, and return what changed."""
    wanted, changed = made(), stale()
    for path in changed:
        if path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path])
        else:
            path.unlink()
    return changed


def _crd(path: Path) -> str:
    text = _with_labels(path)
    if text.count("  annotations:\n") < 1:
        raise ChartError(f"{path}: has no metadata.annotations to put helm.sh/resource-policy into")
    text = text.replace("  annotations:\n", "  annotations:\n" + _KEEP, 1)
    return _when(".Values.crds.enabled", text)


def _template(path: Path, condition: str) -> str:
    return _when(condition, _with_labels(path).replace(_ACCOUNT, _CHARTS_ACCOUNT))


def _with_labels(path: Path) -> str:
    text = path.read_text()
    if "{{" in text:
        raise ChartError(f"{path}: {{{{ would be read as Helm's")
    documents = re.findall(r"^kind: ", text, re.MULTILINE)
    if text.count(_NAME) != len(documents):
        raise ChartError(f"{path}: of {len(documents)} objects not each begins its labels with app.kubernetes.io/name")
    return text.replace(_NAME, _NAME + _LABELS)


def _when(condition: str, text: str) -> str:
    return f"{{{{- if {condition} }}}}\n{text}{{{{- end }}}}\n"


def _rules(path: Path, kind: str) -> str:
    found = [each for each in re.split(r"^---\n", path.read_text(), flags=re.MULTILINE) if f"\nkind: {kind}\n" in each]
    if len(found) != 1:
        raise ChartError(f"{path}: {len(found)} objects of kind {kind}, expected one")
    return _section(path, found[0], "rules")


def _without_secrets(path: Path) -> str:
    """Return the rules of the ClusterRole but the one on Secrets, which goes with the comment above it."""
    text = _rules(path, "ClusterRole")
    rules = re.findall(r"(?:^# .*\n)*^- .*\n(?:^  .*\n)*", text, re.MULTILINE)
    assert "".join(rules) == text
    kept = [each for each in rules if "  resources: [secrets]\n" not in each]
    if len(rules) - len(kept) != 1:
        raise ChartError(f"{path}: {len(rules) - len(kept)} rules on Secrets alone in the ClusterRole, expected one")
    return "".join(kept)


def _below(path: Path, key: str) -> str:
    return _section(path, path.read_text(), key)


def _section(path: Path, text: str, key: str) -> str:
    """Return what stands below a key of the first level, one level further left."""
    match = re.search(rf"^{key}:\n((?:(?:  .*)?\n)+)", text, re.MULTILINE)
    if match is None:
        raise ChartError(f"{path}: has no {key}, or it is not indented by two spaces")
    return re.sub(r"^  ", "", match[1], flags=re.MULTILINE)


def _moved(text: str, folder: Path) -> str:
    """Return a page of the chart's folder as it stands in another: its links lead to where they led."""

    def led(found: re.Match[str]) -> str:
        return f"]({os.path.relpath(CHART / found[1], folder)}"

    return re.sub(r"\]\((?![a-z]+:|#)([^)#\s]+)", led, text)


def _schema(path: Path) -> str:
    schema: dict[str, Any] = json.loads(path.read_text())
    schema["properties"]["settings"]["properties"] = _settings()
    return json.dumps(schema, indent=2) + "\n"


def _settings() -> Mapping[str, Any]:
    return {
        flag.name: {**_shape(flag.parse), "description": flag.help} for flag in FLAGS if flag.name not in _NOT_SETTINGS
    }


def _shape(parse: Callable[[str], Any]) -> Mapping[str, Any]:
    """Return what a value must look like, as far as a schema can say it; the operator itself says the rest.

    A number may stand where one is meant, and nowhere else: Helm makes 1.2345678e+07 of an instance id of eight digits.
    """
    match parse:
        case Number(low, high):
            return {"type": ["integer", "string"], "minimum": low, "maximum": high, "pattern": "^[0-9]{1,9}$"}
        case Duration():
            return {"type": "string", "minLength": 1, "pattern": f"^{PATTERN}$"}
        case Choice(allowed):
            return {"enum": list(allowed)}
        case _:
            return {"type": "string"}


def main(argv: list[str]) -> int:
    """Return the exit code of `write` or `check`: 1 when `check` finds a file that is not as it would be made."""
    if argv == ["write"]:
        for path in write():
            sys.stderr.write(f"chart: {path.relative_to(ROOT)}\n")
        return 0
    if argv == ["check"]:
        found = stale()
        for path in found:
            sys.stderr.write(f"chart: {path.relative_to(ROOT)} is not as it would be made: run `make chart`\n")
        return 1 if found else 0
    sys.stderr.write("usage: python -m release.chart write | check\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
