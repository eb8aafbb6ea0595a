"""Values that are null, and names that YAML takes for something else: Helm lets both through."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster.helm import Helm, HelmError
from manifests.manifest_files import documents
from release import values_page
from release.repository import CHART

DOCUMENTED = [each.path.split(".") for each in values_page.documented(CHART / "values.yaml")]
PATHS = sorted({".".join(path[: depth + 1]) for path in DOCUMENTED for depth in range(len(path))})
"""Of each value, and of what it is below."""
NONE = {
    "affinity",
    "commonLabels",
    "extraEnv",
    "extraObjects",
    "extraVolumeMounts",
    "extraVolumes",
    "grafanaDashboard.labels",
    "image.digest",
    "image.tag",
    "imagePullSecrets",
    "namespaces",
    "nodeSelector",
    "podAnnotations",
    "podLabels",
    "podSecurityContext",
    "priorityClassName",
    "prometheusRule.labels",
    "resources",
    "secrets.namespaces",
    "securityContext",
    "serviceAccount.annotations",
    "serviceAccount.name",
    "serviceMonitor.labels",
    "settings",
    "tolerations",
    "topologySpreadConstraints",
}
"""Where null means none. What is not among them has a default that the operator or a fence cannot do without."""
ON = {
    f"{each}.enabled": True
    for each in ("serviceMonitor", "prometheusRule", "grafanaDashboard", "kubeStateMetrics", "networkPolicy")
} | {"secrets.watch": "servers", "admissionPolicies.fence": True}
"""What is off by default, so that all that belongs to it is rendered."""


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for path, value in flat.items():
        *above, last = path.split(".")
        at = values
        for name in above:
            at = at.setdefault(name, {})
        at[last] = value
    return values


def _rendered(helm: Helm, file: Path, values: Mapping[str, Any], *names: str) -> list[dict[str, Any]]:
    file.write_text(yaml.safe_dump(_nested(values)))
    release, namespace = names or ("x", "cipher-system")
    said = helm("template", release, str(CHART), "--namespace", namespace, "--values", str(file))
    assert "<no value>" not in said and "<nil>" not in said
    return documents(said)


@pytest.mark.parametrize("path", PATHS)
def test_a_null_is_none_or_is_refused_with_the_remedy(helm: Helm, path: str, values_file: Path) -> None:
    # A parent that is null beside a child that is not cannot be written.
    around = {name: value for name, value in ON.items() if not name.startswith(f"{path}.")}
    if path in NONE:
        assert _rendered(helm, values_file, around | {path: None})
        return
    with pytest.raises(HelmError) as refused:
        _rendered(helm, values_file, around | {path: None})
    assert f"{path} is null, which takes its default away: leave it out, or say what it is to be" in str(refused.value)


def test_a_setting_that_is_null_is_refused_by_its_name(helm: Helm, values_file: Path) -> None:
    with pytest.raises(HelmError, match="/settings/interval"):
        _rendered(helm, values_file, {"settings.interval": None})


NAMES = {"release": "0123", "namespace": "no", "account": "null", "other": "true", "class": "0x1f", "home": "on"}
"""Each a name that Kubernetes takes, and in YAML 1.1 something else than a text."""


def _values(names: Mapping[str, str], *, servers: bool) -> dict[str, Any]:
    values = ON | {"serviceAccount.name": names["account"], "priorityClassName": names["class"]}
    if servers:
        return values | {"secrets.namespaces": [names["other"]], "settings.server-secrets-namespace": names["home"]}
    return values | {"secrets.watch": "all", "namespaces": [names["other"]], "settings.instance-id": names["home"]}


@pytest.mark.parametrize("servers", [True, False], ids=["servers", "namespaces"])
def test_a_name_stays_a_text_whatever_yaml_would_make_of_it(helm: Helm, servers: bool, values_file: Path) -> None:
    plain = {part: f"plain-{part}" for part in NAMES}
    usual, odd = (
        _rendered(helm, values_file, _values(names, servers=servers), names["release"], names["namespace"])
        for names in (plain, NAMES)
    )
    expected = json.dumps(usual)
    for part, name in plain.items():
        assert name in expected
        expected = expected.replace(name, NAMES[part])
    assert odd == json.loads(expected)


def test_the_label_of_the_chart_is_one_whatever_its_version(helm4: Helm, tmp_path: Path) -> None:
    version = "1.0.0-" + "a" * 40 + ".-b"
    folder = tmp_path / "chart"
    folder.mkdir()
    for name in ("templates", "files", "values.yaml", "values.schema.json"):
        (folder / name).symlink_to(CHART / name)
    described = (CHART / "Chart.yaml").read_text()
    (folder / "Chart.yaml").write_text(re.sub(r"(?m)^version: .*$", f"version: {version}", described))
    for each in documents(helm4("template", "x", str(folder))):
        label = each["metadata"]["labels"]["helm.sh/chart"]
        assert len(label) <= 63 and label[-1].isalnum(), label
