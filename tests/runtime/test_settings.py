"""Flags, their environment variables, defaults, and errors that name the flag."""

import argparse
import re
from ipaddress import ip_network

import pytest

from cipher_operator.runtime.flags import FLAGS, Address, Flag
from cipher_operator.runtime.settings import Settings, SettingsError, add_arguments, parse_settings, unknown_variables


def test_defaults_are_those_of_the_design() -> None:
    assert parse_settings([], {}) == Settings()


@pytest.mark.parametrize(
    ("argv", "environ", "attribute", "expected"),
    [
        (["--workers", "4"], {}, "workers", 4),
        ([], {"CIPHER_OPERATOR_WORKERS": "4"}, "workers", 4),
        (["--workers", "4"], {"CIPHER_OPERATOR_WORKERS": "5"}, "workers", 4),
        ([], {"CIPHER_OPERATOR_WORKERS": ""}, "workers", 32),
        ([], {}, "workers_per_namespace", 8),
        (["--workers-per-namespace", "2"], {}, "workers_per_namespace", 2),
        ([], {"CIPHER_OPERATOR_CONNECTIONS_PER_SERVER": "2"}, "connections_per_server", 2),
        (["--connect-timeout", "2s"], {}, "connect_timeout", 2.0),
        (["--interval", "0s"], {}, "interval", 0.0),
        (["--interval", "1h30m"], {}, "interval", 5400.0),
        (["--health-address", "127.0.0.1:0"], {}, "health_address", Address("127.0.0.1", 0)),
        ([], {}, "health_address", Address("::", 8081)),
        ([], {}, "metrics_address", Address("::", 8080)),
        (["--health-address", ":8081"], {}, "health_address", Address("::", 8081)),
        (["--metrics-address", ":9090"], {}, "metrics_address", Address("::", 9090)),
        (["--metrics-address", "[::]:9090"], {}, "metrics_address", Address("::", 9090)),
        (["--metrics-address", "0.0.0.0:9090"], {}, "metrics_address", Address("0.0.0.0", 9090)),
        (["--metrics-address", "[::1]:9090"], {}, "metrics_address", Address("::1", 9090)),
        (["--blocked-ranges", "none"], {}, "blocked_ranges", ()),
        (["--blocked-ranges", "10.0.0.0/8"], {}, "blocked_ranges", (ip_network("10.0.0.0/8"),)),
        (["--allowed-extensions", "vector, pg_trgm"], {}, "allowed_extensions", ("vector", "pg_trgm")),
        (["--secret-selector", "app in (cipher)"], {}, "secret_selector", "app in (cipher)"),
        (["--instance-id", "prod", "--namespace", "a", "--namespace", "b"], {}, "namespaces", ("a", "b")),
        ([], {"CIPHER_OPERATOR_NAMESPACE": "a,b", "CIPHER_OPERATOR_INSTANCE_ID": "x"}, "namespaces", ("a", "b")),
        ([], {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "log_format", "json"),
        (["--log-format", "text"], {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "log_format", "text"),
        ([], {}, "leader_election", False),
        ([], {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "leader_election", True),
        (["--no-leader-election"], {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "leader_election", False),
        (["--leader-election"], {"POD_NAMESPACE": "operators"}, "leader_election_namespace", "operators"),
        (
            ["--leader-election", "--leader-election-namespace", "a"],
            {"POD_NAMESPACE": "b"},
            "leader_election_namespace",
            "a",
        ),
        ([], {"CIPHER_OPERATOR_LEADER_ELECTION": "false"}, "leader_election", False),
        ([], {}, "cluster_servers", False),
        ([], {"POD_NAMESPACE": "operators"}, "secret_namespaces", ()),
        (["--watch-secrets", "servers"], {"POD_NAMESPACE": "operators"}, "secret_namespaces", ("operators",)),
        ([], {"POD_NAMESPACE": "operators"}, "cluster_servers", True),
        ([], {"POD_NAMESPACE": "operators"}, "server_secrets_namespace", "operators"),
        (["--no-cluster-servers"], {"POD_NAMESPACE": "operators"}, "cluster_servers", False),
        (["--server-secrets-namespace", "a"], {"POD_NAMESPACE": "b"}, "server_secrets_namespace", "a"),
        (["--server-secrets-namespace", "a"], {}, "cluster_servers", True),
        (["--namespace", "a", "--instance-id", "x"], {"POD_NAMESPACE": "a"}, "cluster_servers", False),
        ([], {}, "served", "all namespaces, and no CipherServers (--server-secrets-namespace NS serves them)"),
        (["--no-cluster-servers"], {"POD_NAMESPACE": "a"}, "served", "all namespaces, and no CipherServers"),
        ([], {"POD_NAMESPACE": "a"}, "served", "all namespaces, and CipherServers with their Secrets in a"),
        (["--namespace", "a", "--instance-id", "x"], {"POD_NAMESPACE": "b"}, "served", "a"),
    ],
)
def test_values(argv: list[str], environ: dict[str, str], attribute: str, expected: object) -> None:
    assert getattr(parse_settings(argv, environ), attribute) == expected


@pytest.mark.parametrize(
    ("argv", "environ", "said"),
    [
        (["--workers", "0"], {}, "--workers: '0' must be a whole number from 1 to 1000"),
        ([], {"CIPHER_OPERATOR_WORKERS": "x"}, "CIPHER_OPERATOR_WORKERS: 'x' must be a whole number"),
        (["--interval", "5 minutes"], {}, "--interval: '5 minutes' must be a duration such as 30s"),
        (["--interval", "1s"], {}, "--interval: '1s' must be 0s or from 10s"),
        (["--connect-timeout", "0s"], {}, "--connect-timeout: '0s' must be from 1s to 60s"),
        (
            ["--connect-timeout", "20s", "--reconcile-timeout", "20s"],
            {},
            "--connect-timeout: 20s must be below --reconcile-timeout (20s)",
        ),
        (["--reconcile-timeout", "5s"], {}, "--connect-timeout: 5s must be below --reconcile-timeout (5s)"),
        (["--health-address", "8081"], {}, "--health-address: '8081' must be host:port"),
        (["--health-address", "0.0.0.0:99999"], {}, "--health-address"),
        (["--health-address", "::1:8081"], {}, "--health-address: '::1:8081' must have an IPv6 address in brackets"),
        (["--health-address", "[::1:8081"], {}, "--health-address: '[::1:8081' must have an IPv6 address in brackets"),
        (
            ["--health-address", "[localhost]:8081"],
            {},
            "--health-address: '[localhost]:8081' must have an IPv6 address in",
        ),
        (["--workers-per-namespace", "0"], {}, "--workers-per-namespace: '0' must be a whole number from 1 to 1000"),
        (["--blocked-ranges", "private"], {}, "--blocked-ranges: 'private' is neither a CIDR"),
        (["--log-level", "trace"], {}, "--log-level: 'trace' must be one of: debug, info"),
        (["--log-format", ""], {}, "--log-format: must not be empty"),
        (["--namespace", "team-*", "--instance-id", "x"], {}, "patterns are not supported"),
        (["--namespace", "a"], {}, "--instance-id: must be set together with --namespace"),
        (["--instance-id", "a b"], {}, "--instance-id"),
        (["--allowed-extensions", "Vector;"], {}, "--allowed-extensions: 'Vector;' is not the name"),
        (["--secret-selector", "a=b\nc"], {}, "--secret-selector"),
        (["--leader-election"], {}, "--leader-election: outside a cluster --leader-election-namespace must say"),
        ([], {"CIPHER_OPERATOR_LEADER_ELECTION": "true"}, "CIPHER_OPERATOR_LEADER_ELECTION: outside a cluster"),
        (["--leader-election-namespace", "A b"], {}, "--leader-election-namespace: 'A b' is not the name"),
        ([], {"CIPHER_OPERATOR_LEADER_ELECTION": "maybe"}, "CIPHER_OPERATOR_LEADER_ELECTION: 'maybe' must be"),
        (["--interval", "9000h"], {}, "--interval: '9000h' must be 0s or from 10s to 8760h"),
        (
            ["--watch-secrets", "servers"],
            {},
            "servers needs CipherServers to be served; set --server-secrets-namespace",
        ),
        (
            ["--watch-secrets", "servers", "--no-cluster-servers", "--server-secrets-namespace", "a"],
            {},
            "--watch-secrets: servers needs CipherServers to be served; leave --no-cluster-servers out",
        ),
        (
            ["--watch-secrets", "servers", "--namespace", "a", "--instance-id", "x"],
            {"POD_NAMESPACE": "b"},
            "--watch-secrets: servers needs CipherServers to be served; leave --namespace out",
        ),
        (["--log-lev", "debug"], {}, "unrecognized arguments: --log-lev debug"),
        (["--cluster-servers"], {}, "--cluster-servers: --server-secrets-namespace must say where"),
        (
            ["--cluster-servers", "--namespace", "a", "--instance-id", "x"],
            {},
            "--cluster-servers: cannot be on with --namespace",
        ),
        (["--wrkers", "1"], {}, "unrecognized arguments: --wrkers"),
    ],
)
def test_errors_name_the_flag_and_what_is_allowed(argv: list[str], environ: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        parse_settings(argv, environ)
    assert said in str(raised.value)


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_every_default_as_written_is_the_default_of_the_field(flag: Flag) -> None:
    if flag.default:
        assert flag.parse(flag.default) == getattr(Settings(), flag.attribute)


STRANGE: dict[str, tuple[str, str | None]] = {
    "two letters exchanged": ("CIPHER_OPERATOR_LOG_LEVLE", "did you mean CIPHER_OPERATOR_LOG_LEVEL?"),
    "a plural": ("CIPHER_OPERATOR_NAMESPACES", "did you mean CIPHER_OPERATOR_NAMESPACE?"),
    "a word left out": ("CIPHER_OPERATOR_CONNECTIONS_SERVER", "did you mean CIPHER_OPERATOR_CONNECTIONS_PER_SERVER?"),
    "small letters": ("CIPHER_OPERATOR_log_level", "did you mean CIPHER_OPERATOR_LOG_LEVEL?"),
    "all small": ("cipher_operator_workers", "did you mean CIPHER_OPERATOR_WORKERS?"),
    "nothing like it": ("CIPHER_OPERATOR_X", "`cipher-operator run --help` names those that there are"),
    "ours": ("CIPHER_OPERATOR_LOG_LEVEL", None),
    "ours, repeatable": ("CIPHER_OPERATOR_NAMESPACE", None),
    "ours, on or off": ("CIPHER_OPERATOR_LEADER_ELECTION", None),
    "somebody's": ("CIPHER_PG_URL", None),
}
LINKS = re.findall(
    r"\w+",
    """
    CIPHER_OPERATOR_SERVICE_HOST CIPHER_OPERATOR_SERVICE_PORT CIPHER_OPERATOR_SERVICE_PORT_METRICS CIPHER_OPERATOR_PORT
    CIPHER_OPERATOR_PORT_8080_TCP CIPHER_OPERATOR_PORT_8080_TCP_PROTO CIPHER_OPERATOR_PORT_8080_TCP_PORT
    CIPHER_OPERATOR_PORT_8080_TCP_ADDR CIPHER_OPERATOR_PORT_53_UDP CIPHER_OPERATOR_METRICS_SERVICE_HOST
    CIPHER_OPERATOR_METRICS_SERVICE_PORT CIPHER_OPERATOR_METRICS_SERVICE_PORT_HTTP_METRICS CIPHER_OPERATOR_METRICS_PORT
    CIPHER_OPERATOR_METRICS_PORT_8080_TCP_ADDR CIPHER_OPERATOR_2_PORT_9_SCTP_PORT
    """,
)
"""What a kubelet makes of the Services cipher-operator, cipher-operator-metrics and cipher-operator-2."""


@pytest.mark.parametrize("case", STRANGE)
def test_a_variable_that_is_no_setting_is_named_with_the_nearest_that_is(case: str) -> None:
    name, meant = STRANGE[case]
    said = list(unknown_variables({name: "s3cr3t", "PATH": "/bin"}))
    assert said == ([] if meant is None else [f"{name}: there is no such setting, it is ignored; {meant}"])


@pytest.mark.parametrize("name", LINKS)
def test_of_the_links_to_services_nothing_is_said(name: str) -> None:
    assert list(unknown_variables({name: "tcp://10.0.0.1:8080"})) == []
    assert parse_settings([], {name: "tcp://10.0.0.1:8080"}) == Settings()


def test_help_shows_every_flag_with_its_variable() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    text = " ".join(parser.format_help().split())
    for flag in FLAGS:
        assert f"--{flag.name} " in text and flag.variable in text
