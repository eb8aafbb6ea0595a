"""Prometheus as it is found here: promtool runs, and a server scrapes and answers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from devcluster.longrun import SetupError
from devcluster.prometheus import Prometheus, find_prometheus, promtool

RULES = """\
groups:
- name: own
  rules: [{alert: Up, expr: up == 1}]
"""


@pytest.fixture(autouse=True)
def found() -> None:
    try:
        find_prometheus()
    except SetupError as error:
        pytest.skip(str(error))


def test_it_scrapes_and_evaluates(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    # Nobody listens on port 1: that a scrape failed is an answer too.
    with Prometheus("127.0.0.1:1", job="nobody", rules=rules) as prometheus:
        deadline = time.monotonic() + 30
        while not (said := prometheus.query("up")) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert [(each["metric"]["job"], each["value"][1]) for each in said] == [("nobody", "0")]
        assert prometheus.query("ALERTS") == []
        now = time.time()
        assert prometheus.query_range("up", now - 60, now + 60, 1.0)


@pytest.mark.parametrize(("text", "code"), [(RULES, 0), ("groups: 3\n", 1)], ids=["rules", "what is none"])
def test_promtool_judges_rules(tmp_path: Path, text: str, code: int) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    assert promtool("check", "rules", path).returncode == code
