"""manifests/components/monitoring, read for tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from manifests.manifest_files import REPOSITORY

COMPONENT = REPOSITORY / "manifests" / "components" / "monitoring"
RUNBOOKS = REPOSITORY / "docs" / "runbooks"
JOB = "cipher-operator-metrics"
"""The job that the Prometheus operator makes of the metrics Service."""


def rule_groups() -> dict[str, Any]:
    """Return what Prometheus itself reads of the PrometheusRule."""
    spec = yaml.safe_load((COMPONENT / "prometheusrule.yaml").read_text())["spec"]
    assert isinstance(spec, dict)
    return spec


def alerts() -> list[dict[str, Any]]:
    return [rule for group in rule_groups()["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    decoded = json.loads((COMPONENT / "dashboard.json").read_text())
    assert isinstance(decoded, dict)
    return decoded


def panels() -> list[dict[str, Any]]:
    """Return the panels that show something."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries(interval: str) -> Iterator[tuple[str, str]]:
    """Yield (panel, expression) with all variables in place, as Grafana sends them with "All" chosen."""
    values = {"$job": ".+", "$instance": ".+", "$__rate_interval": interval}
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in values.items():
                expression = expression.replace(name, value)
            yield panel["title"], expression
