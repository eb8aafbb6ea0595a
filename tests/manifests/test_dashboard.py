"""The Grafana dashboard keeps the rules of dashboard-linter, and asks only for metrics that there are."""

from __future__ import annotations

import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from manifests.monitoring import alerts, dashboard, panels
from support.metered import metered

NAME = re.compile(r"\b((?:cipher_operator|workqueue|leader_election|rest_client|process)_[a-z_]+)")
UNITS = {"none", "s", "ops", "reqps", "bytes"}
_panel = pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])


def test_as_a_whole() -> None:
    found = dashboard()
    assert (found["uid"], found["id"], found["editable"]) == ("cipher-operator", None, False)
    assert found["schemaVersion"] >= 39 and found["tags"] and found["title"] and found["refresh"]
    ids = [panel["id"] for panel in found["panels"]]
    assert len(ids) == len(set(ids))


def test_its_variables() -> None:
    datasource, job, instance = dashboard()["templating"]["list"]
    assert (datasource["name"], datasource["type"], datasource["query"]) == ("datasource", "datasource", "prometheus")
    assert datasource["label"] == "Data source"
    for variable, name, label in ((job, "job", "Job"), (instance, "instance", "Instance")):
        assert (variable["name"], variable["label"], variable["type"]) == (name, label, "query")
        assert variable["datasource"]["uid"] == "$datasource"
        assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")
    assert 'job=~"$job"' in instance["query"]["query"]


@_panel
def test_a_panel(panel: dict[str, Any]) -> None:
    assert panel["title"] and panel["description"].endswith(".")
    assert panel["datasource"] == {"type": "prometheus", "uid": "$datasource"}
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "$datasource" and target["legendFormat"]
        expression = target["expr"]
        selectors = re.findall(r"\{([^}]*)\}", expression)
        assert selectors
        assert all(each.startswith('job=~"$job", instance=~"$instance"') for each in selectors), expression
        assert all(window == "$__rate_interval" for window in re.findall(r"\[([^\]]+)\]", expression))
        counted = re.findall(r"(\w+(?:_total|_bucket))\{", expression)
        assert len(counted) == expression.count("rate("), "counters are read as rates, and nothing else is"


def test_panels_lie_beside_each_other() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, (panel["title"], taken[x, y])
                taken[x, y] = panel["title"]


async def test_dashboard_and_alerts_ask_only_for_what_there_is() -> None:
    text = (await metered()).render().decode()
    exposed = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    asked = {name for each in (*expressions, *(alert["expr"] for alert in alerts())) for name in NAME.findall(each)}
    assert asked <= exposed
    unseen = {name for name in exposed if name.startswith("cipher_operator")} - asked
    assert {name for name in unseen if not name.endswith(("_count", "_sum"))} == set()


def test_whoever_is_called_by_an_alert_sees_on_the_dashboard_what_it_is_about() -> None:
    shown = {name for panel in panels() for target in panel["targets"] for name in NAME.findall(target["expr"])}
    missing = {alert["alert"]: set(NAME.findall(alert["expr"])) - shown for alert in alerts()}
    assert {name: metrics for name, metrics in missing.items() if metrics} == {}
