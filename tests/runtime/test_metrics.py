"""Series appear and disappear with the storages that they are about."""

from cipher_operator.reconcile.report.metrics import Sample
from cipher_operator.runtime.metrics import Metrics

KEY = ("ns", "chat")


def condition(type_: str, status: str) -> tuple[str, str]:
    return type_, status


def sample(reason: str, *conditions: tuple[str, str], statements: int = 0) -> Sample:
    return Sample(reason, 0.1, statements, frozenset(conditions))


def lines(metrics: Metrics, part: str) -> list[str]:
    return [line for line in metrics.render().decode().splitlines() if part in line and not line.startswith("#")]


def test_only_the_status_of_now_has_a_series() -> None:
    metrics = Metrics()
    metrics.run(KEY, sample("ConnectionRefused", condition("Ready", "False"), condition("Reconciling", "True")))
    metrics.run(KEY, sample("Ready", condition("Ready", "True")))
    assert lines(metrics, "storage_condition") == [
        'cipher_operator_storage_condition{name="chat",namespace="ns",status="True",type="Ready"} 1.0'
    ]
    assert lines(metrics, "reconcile_total") == [
        'cipher_operator_reconcile_total{result="ConnectionRefused"} 1.0',
        'cipher_operator_reconcile_total{result="Ready"} 1.0',
    ]
    assert lines(metrics, "duration_seconds_count") == ["cipher_operator_reconcile_duration_seconds_count 2.0"]


def test_a_storage_that_is_gone_leaves_no_series() -> None:
    metrics = Metrics()
    metrics.run(KEY, sample("Ready", condition("Ready", "True")))
    metrics.forget(KEY)
    metrics.forget(KEY)
    assert lines(metrics, "storage_condition") == []


def test_counts() -> None:
    metrics = Metrics()
    metrics.connection("admin")
    metrics.run(KEY, sample("Ready", statements=3))
    metrics.watch_queue(lambda: 1, lambda: 2, lambda: 4)
    text = metrics.render().decode()
    for line in (
        'cipher_operator_postgres_connections_total{purpose="admin"} 1.0',
        'cipher_operator_postgres_connections_total{purpose="login"} 0.0',
        'cipher_operator_statements_total{kind="change"} 3.0',
        "cipher_operator_queue_waiting 1.0",
        "cipher_operator_queue_running 2.0",
        "cipher_operator_queue_known 4.0",
        "cipher_operator_build_info{version=",
    ):
        assert line in text
