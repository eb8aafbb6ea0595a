"""What whoever is on call sees: a real Prometheus on the real operator, outages in the log, sessions by their run."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from devcluster import PostgresServer
from devcluster.longrun import SetupError
from devcluster.prometheus import Prometheus, find_prometheus
from devcluster.tls import CertificateAuthority
from manifests.monitoring import JOB, queries, rule_groups
from support.cluster import PATIENCE, Namespace, Operator, wait_until
from support.faulty_servers import FaultyServers
from support.platform import HOME, Platform

REFUSED = "ConnectionRefused"


@pytest.fixture(scope="module")
def operator_flags() -> tuple[str, ...]:
    return ("--interval", "10s", "--server-secrets-namespace", HOME)


def lines(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


def address(operator: Operator) -> str:
    """Return where the metrics are, as the log says."""
    said = [str(line["message"]) for line in lines(operator.log())]
    (url,) = {message.split("http://")[1] for message in said if message.startswith("metrics is served")}
    return url.removesuffix("/metrics")


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The alerts, at once: their `for` is promtool's to test."""
    groups = rule_groups()
    for group in groups["groups"]:
        for rule in group["rules"]:
            rule["for"] = "0s"
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(groups))
    return path


def test_prometheus_has_an_answer_to_every_query_of_the_dashboard(
    namespace: Namespace,
    operator: Operator,
    server: PostgresServer,
    servers: FaultyServers,
    certificate_authority: CertificateAuthority,
    rules: Path,
) -> None:
    """Storages that are ready, one of them with a CA, one that waits, one that is stalled, one whose server is away;
    a CipherServer that is ready, and one whose Secret is missing.
    """
    try:
        find_prometheus()
    except SetupError as error:
        pytest.skip(str(error))
    database = namespace.name.replace("-", "_")
    namespace.admin_secret(server)
    namespace.storage("chat", {"database": {"name": database}})
    tls = servers("shared")
    namespace.secret("pg-tls", {"CIPHER_PG_URL": tls.admin_url().replace(tls.host, "localhost")})
    namespace.secret("pg-ca", {"ca.crt": certificate_authority.certificate.read_text()})
    ca = {"secretRef": {"name": "pg-tls"}, "sslMode": "verify-full", "caRef": {"kind": "Secret", "name": "pg-ca"}}
    namespace.storage(
        "safe", {"connection": ca, "database": {"name": f"{database}_tls"}, "app": {"caPath": "/etc/cipher/ca.crt"}}
    )
    namespace.storage("waits", {"connection": {"secretRef": {"name": "nowhere"}}})
    namespace.secret("pg-bad", {"CIPHER_PG_URL": "postgresql://u:p@h/d?sslmode=perhaps"})
    namespace.storage("stalled", {"connection": {"secretRef": {"name": "pg-bad"}}})
    namespace.secret("pg-away", {"CIPHER_PG_URL": "postgresql://u:p@127.0.0.1:1/d"})
    namespace.storage("away", {"connection": {"secretRef": {"name": "pg-away"}}})
    platforms = prod, gone = Platform(namespace.plane, server), Platform(namespace.plane, server, "gone")
    prod.secret()
    for platform in platforms:
        platform.offer()
    for name in ("chat", "safe"):
        namespace.wait_ready(name)
    wait_until(lambda: prod.ready().get("status") == "True", lambda: f"the CipherServer is ready: {prod.ready()}")
    wait_until(lambda: gone.ready().get("reason") == "SecretNotFound", lambda: f"the other is not: {gone.ready()}")
    namespace.wait_reason("away", REFUSED)
    namespace.wait_reason("waits", "SecretNotFound")
    with Prometheus(address(operator), job=JOB, rules=rules) as prometheus:
        waiting = dict(enumerate(queries("60s")))

        def answered() -> bool:
            for number, (_, expression) in list(waiting.items()):
                # A quantile of what did not happen meanwhile is no number.
                if any(sample["value"][1] != "NaN" for sample in prometheus.query(expression)):
                    del waiting[number]
            return not waiting

        wait_until(answered, lambda: f"answers to {sorted(set(waiting.values()))}", PATIENCE)
        firing = {str(found["metric"]["alertname"]) for found in prometheus.query('ALERTS{alertstate="firing"}')}
        expected = {"CipherStorageNotReady", "CipherStorageStalled", "CipherServerDown", "CipherServerNotReady"}
        assert expected <= firing
        assert not firing & {"CipherOperatorDown", "CipherOperatorNoLeader", "CipherCaExpiresSoon", "CipherCaExpired"}
        series = prometheus.query(f'{{job="{JOB}"}}')
    for platform in platforms:
        platform.remove()
    told = {value for each in series for label, value in each["metric"].items() if label != "instance"}
    hidden = (str(server.port), str(tls.port), server.host, "localhost", database, namespace.name, "nowhere")
    assert not [value for value in told if any(each in value for each in hidden)]


def test_a_session_leads_to_its_storage(namespace: Namespace, operator: Operator, server: PostgresServer) -> None:
    """A lock holds a run up, so that its session is seen in pg_stat_activity; its name is in the log of the run."""
    database = namespace.name.replace("-", "_")
    namespace.admin_secret(server)
    namespace.storage("chat", {"database": {"name": database}})
    namespace.wait_ready("chat")
    seen: list[str] = []

    def waits() -> bool:
        seen[:] = [
            str(name)
            for (name,) in server.execute(
                "SELECT application_name FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s "
                "AND application_name LIKE 'cipher-operator%%'",
                (database,),
            )
        ]
        return bool(seen)

    with psycopg.connect(server.admin_url(database)) as other:
        other.execute("DROP INDEX idx_cipher_lists_key")
        other.commit()
        other.execute("LOCK TABLE cipher_lists")
        wait_until(waits, "the operator waits for the lock")
    (name,) = set(seen)
    assert len(name) <= 63
    run = name.removeprefix("cipher-operator/")

    def said() -> set[str]:
        return {line["storage"] for line in lines(operator.log()) if line.get("run") == run and "storage" in line}

    wait_until(lambda: said() == {f"{namespace.name}/chat"}, "the log names the run's storage")
    runs = [line["run"] for line in lines(operator.log()) if line["logger"] == "cipher_operator.reconcile"]
    assert len(set(runs)) == len(runs), "each run has its own name"
