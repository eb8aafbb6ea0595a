"""Each alert on series of promtool's, firing and not firing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.reconcile.report.metrics import sample
from cipher_operator.reconcile.report.status import next_status
from cipher_operator.reconcile.result import Result
from devcluster.longrun import SetupError
from devcluster.prometheus import find_prometheus, promtool
from manifests.monitoring import JOB, alerts, rule_groups

POD = f'job="{JOB}", namespace="cipher-system", instance="a"'
OTHER = POD.replace('"a"', '"b"')
LEADER = {f"leader_election_master_status{{{POD}}}": "1x400"}
FOLLOWER = {f"leader_election_master_status{{{POD}}}": "0x400"}
STORAGES, LANES = "cipher_operator_storages", "cipher_operator_lanes"


def one(metric: str, values: str, pod: str = POD, **labels: str) -> dict[str, str]:
    """Return one series in promtool's words: `1x9` is ten minutes of 1, `0+6x9` one that grows by 6 a minute."""
    told = ", ".join([pod, *(f'{key}="{value}"' for key, value in labels.items())])
    return {f"{metric}{{{told}}}": values}


def buckets(metric: str, slow: bool, **labels: str) -> dict[str, str]:
    """Return a histogram of which all that is observed takes 0.01 s, or 200 s."""
    fast = "0x400" if slow else "0+60x400"
    every = {"0.01": fast, "100": fast, "300": "0+60x400", "+Inf": "0+60x400"}
    return {key: value for le, values in every.items() for key, value in one(metric, values, **labels, le=le).items()}


@dataclass(frozen=True)
class Case:
    """`at` is when it is looked at; `fires` how many alerts fire then."""

    alert: str
    why: str
    fires: int
    series: Mapping[str, str]
    at: str = "40m"
    more: Mapping[str, str] = field(default_factory=lambda: LEADER)

    def __str__(self) -> str:
        return f"{self.alert}: {self.why}"


AWAY = {"state": "down"}
CASES = [
    Case("CipherOperatorDown", "there is no target", 1, {}, more={}),
    Case("CipherOperatorDown", "the target does not answer", 1, one("up", "0x400"), more={}),
    Case("CipherOperatorDown", "one of two answers", 0, one("up", "1x400") | one("up", "0x400", OTHER), more={}),
    Case("CipherOperatorDown", "it restarts", 0, one("up", "1x30 0x5 1x400"), more={}),
    Case("CipherOperatorNoLeader", "both stand by", 1, one("leader_election_master_status", "0x400", OTHER),
         more=FOLLOWER),
    Case("CipherOperatorNoLeader", "one leads", 0, one("leader_election_master_status", "0x400", OTHER)),
    Case("CipherOperatorTwoLeaders", "both lead", 1, one("leader_election_master_status", "1x400", OTHER)),
    Case("CipherOperatorTwoLeaders", "both for one scrape, at a takeover", 0,
         one("leader_election_master_status", "0x39 1x1 0x400", OTHER)),
    Case("CipherOperatorApiUnreachable", "no answer", 1, one("cipher_operator_kubernetes_api_up", "0x400")),
    Case("CipherOperatorApiUnreachable", "away for three minutes", 0,
         one("cipher_operator_kubernetes_api_up", "1x37 0x3 1x400")),
    Case("CipherOperatorRequestsRefused", "403s", 1,
         one("rest_client_requests_total", "0+6x400", code="403", method="PATCH")),
    Case("CipherOperatorRequestsRefused", "403s while the API server started", 0,
         one("rest_client_requests_total", "0 4x400", code="403", method="GET")
         | one("rest_client_requests_total", "0+60x400", code="200", method="GET")),
    Case("CipherOperatorWatchBroken", "an object that cannot be read", 1,
         one("cipher_operator_watch_restarts_total", "0+2x400", kind="Secret", reason="broken")),
    Case("CipherOperatorWatchBroken", "watches only end", 0,
         one("cipher_operator_watch_restarts_total", "0+2x400", kind="Secret", reason="ended")),
    Case("CipherOperatorEventLoopSlow", "held up", 1, buckets("cipher_operator_event_loop_lag_seconds_bucket", True)),
    Case("CipherOperatorEventLoopSlow", "in time", 0, buckets("cipher_operator_event_loop_lag_seconds_bucket", False)),
    Case("CipherOperatorRunStuck", "for ever", 1,
         one("workqueue_longest_running_processor_seconds", "0+60x400", name="cipherstorage")),
    Case("CipherOperatorRunStuck", "as long as a run may take", 0,
         one("workqueue_longest_running_processor_seconds", "60x400", name="cipherstorage")),
    Case("CipherOperatorQueueSlow", "minutes", 1,
         buckets("workqueue_queue_duration_seconds_bucket", True, name="cipherstorage")),
    Case("CipherOperatorQueueSlow", "at once", 0,
         buckets("workqueue_queue_duration_seconds_bucket", False, name="cipherstorage")),
    Case("CipherOperatorFirstPassSlow", "still not through", 1, one("cipher_operator_first_pass_seconds", "0x400")),
    Case("CipherOperatorFirstPassSlow", "through after ten minutes", 0,
         one("cipher_operator_first_pass_seconds", "0x10 600x400")),
    Case("CipherOperatorFirstPassSlow", "who stands by has none", 0, one("cipher_operator_first_pass_seconds", "0x400"),
         more=FOLLOWER),
    Case("CipherStorageNotReady", "two reasons", 2,
         one(STORAGES, "3x400", state="reconciling", reason="SecretNotFound")
         | one(STORAGES, "1x400", state="reconciling", reason="LockTimeout")),
    Case("CipherStorageNotReady", "a restart of the server", 0,
         one(STORAGES, "0x30 3x9 0x400", state="reconciling", reason="ConnectionRefused")),
    Case("CipherStorageNotReady", "an index is being built", 0,
         one(STORAGES, "1x400", state="reconciling", reason="BuildingIndex")),
    Case("CipherStorageNotReady", "what a leader saw that stands by now", 0,
         one(STORAGES, "3x400", state="reconciling", reason="SecretNotFound"), more=FOLLOWER),
    Case("CipherStorageStalled", "a conflict", 1, one(STORAGES, "1x400", state="stalled", reason="Conflict")),
    Case("CipherStorageStalled", "a plan that is to be read", 0,
         one(STORAGES, "1x400", state="stalled", reason="ChangesPending")),
    Case("CipherStorageDataLost", "a drop", 1, one(STORAGES, "0x35 1x400", state="stalled", reason="DatabaseLost")),
    Case("CipherStorageDataLost", "another stall", 0, one(STORAGES, "1x400", state="stalled", reason="Conflict")),
    Case("CipherStorageCheckOverdue", "an hour", 1, one("cipher_operator_check_overdue_seconds", "0+60x400")),
    Case("CipherStorageCheckOverdue", "some minutes", 0, one("cipher_operator_check_overdue_seconds", "300x400")),
    Case("CipherServerDown", "one of two", 1, one(LANES, "1x400", **AWAY) | one(LANES, "1x400", state="open")),
    Case("CipherServerDown", "a restart", 0, one(LANES, "0x37 1x2 0x400", **AWAY)),
    Case("CipherServerNotReady", "a password that is none", 1,
         one("cipher_operator_server_ready", "0x400", server="prod")),
    Case("CipherServerNotReady", "one of two, for three minutes", 0,
         one("cipher_operator_server_ready", "1x37 0x3 1x400", server="prod")
         | one("cipher_operator_server_ready", "1x400", server="spare")),
    Case("CipherServerNotReady", "what a follower knew before it followed", 0,
         one("cipher_operator_server_ready", "0x400", server="prod"), more=FOLLOWER),
    Case("CipherServerLoginRefused", "for long", 1, one(LANES, "1x400", state="refused")),
    Case("CipherServerLoginRefused", "mended", 0, one(LANES, "0x30 1x5 0x400", state="refused")),
    Case("CipherServerFull", "for an hour", 1, one("cipher_operator_lanes_full", "1x400"), at="1h"),
    Case("CipherServerFull", "at a cold start", 0, one("cipher_operator_lanes_full", "1x10 0x400"), at="1h"),
    Case("CipherServerChangesRepeat", "somebody takes it back", 1, one("cipher_operator_statements_total", "0+2x400"),
         at="4h"),
    Case("CipherServerChangesRepeat", "a wave of new storages", 0,
         one("cipher_operator_statements_total", "0+90x60 5400x400"), at="4h"),
    Case("CipherCaExpiresSoon", "in ten days", 1,
         one("cipher_operator_earliest_ca_expiry_timestamp_seconds", f"{10 * 86_400}x400"), at="2h"),
    Case("CipherCaExpiresSoon", "in a hundred days", 0,
         one("cipher_operator_earliest_ca_expiry_timestamp_seconds", f"{100 * 86_400}x400"), at="2h"),
    Case("CipherCaExpiresSoon", "it has ended", 0,
         one("cipher_operator_earliest_ca_expiry_timestamp_seconds", "60x400"), at="2h"),
    Case("CipherCaExpired", "it has ended", 1,
         one("cipher_operator_earliest_ca_expiry_timestamp_seconds", "60x400")),
    Case("CipherCaExpired", "none is named", 0, one("cipher_operator_earliest_ca_expiry_timestamp_seconds", "0x400")),
    Case("CipherCaExpired", "in ten days", 0,
         one("cipher_operator_earliest_ca_expiry_timestamp_seconds", f"{10 * 86_400}x400")),
]  # fmt: skip


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        find_prometheus()
    except SetupError as error:
        pytest.skip(str(error))
    path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    path.write_text(yaml.safe_dump(rule_groups()))
    return path


def test_the_rules_are_valid(rules: Path) -> None:
    said = promtool("check", "rules", rules)
    assert said.returncode == 0 and f"{len(alerts())} rules found" in said.stdout, said.stdout + said.stderr


def test_each_alert_is_tested_firing_and_not_firing() -> None:
    names = {alert["alert"] for alert in alerts()}
    assert {case.alert for case in CASES if case.fires} == names
    assert {case.alert for case in CASES if not case.fires} == names


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_alert(case: Case, rules: Path, tmp_path: Path) -> None:
    fire(case, rules, tmp_path)


def fire(case: Case, rules: Path, folder: Path) -> None:
    """Let promtool judge a case."""
    firing = f'count(ALERTS{{alertname="{case.alert}", alertstate="firing"}}) or vector(0)'
    test: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": name, "values": each} for name, each in {**case.series, **case.more}.items()],
        "promql_expr_test": [
            {"expr": firing, "eval_time": case.at, "exp_samples": [{"labels": "{}", "value": case.fires}]}
        ],
    }
    path = folder / "test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [test]}))
    said = promtool("test", "rules", path)
    assert said.returncode == 0, said.stdout + said.stderr


def failing_for(reason: Reason, minutes: int, deadline: float) -> dict[str, str]:
    """Return the series that the operator makes of one storage that fails with one reason, run once a minute."""
    result = Result(failure=Failure(reason, "It does not go", stage=ConditionType.CONNECTED))
    status: dict[str, Any] = {}
    states = []
    for minute in range(minutes):
        now = f"2026-01-01T{minute // 60:02}:{minute % 60:02}:00Z"
        status = next_status(result, status, 1, now, progress_deadline=deadline)
        states.append(sample(result, status, 0.1).state)
    series = {state: " ".join(str(int(each == state)) for each in states) for state in sorted(set(states))}
    return {
        key: each for state in series for key, each in one(STORAGES, series[state], state=state, reason=reason).items()
    }


@pytest.mark.parametrize("deadline", [60.0, 600.0, 7_200.0])
def test_what_is_tried_for_long_is_told_of_as_what_it_is(deadline: float, rules: Path, tmp_path: Path) -> None:
    """The progress deadline ends no try, and what has exceeded it waits for no person."""
    series = failing_for(Reason.CONNECTION_REFUSED, 60, deadline)
    fire(Case("CipherStorageNotReady", "it lasts", 1, series), rules, tmp_path)
    fire(Case("CipherStorageStalled", "it lasts", 0, series), rules, tmp_path)
