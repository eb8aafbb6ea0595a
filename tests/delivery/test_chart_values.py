"""Every value of the chart: what it changes, and that what is not one is refused."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import yaml

from cipher_operator.kube.leases import LEASE_NAME
from delivery.chart_cases import CASES
from delivery.rendering import NAMESPACE, Objects, container, kinds, rendered, subjects, variables
from devcluster.helm import Helm, HelmError
from manifests.manifest_files import documents
from release import values_page
from release.repository import CHART


@functools.cache
def by_default_of(helm: Helm) -> Objects:
    return rendered(helm)


def test_every_value_has_a_case() -> None:
    documented = {each.path for each in values_page.documented(CHART / "values.yaml")}
    assert set(CASES) == documented


@pytest.mark.parametrize("case", CASES)
def test_a_value_does_what_it_says_and_its_default_does_not(helm: Helm, case: str, values_file: Path) -> None:
    values, check = CASES[case]
    assert check(rendered(helm, values, values_file)), case
    try:
        shown = check(by_default_of(helm))
    except KeyError:
        shown = False
    assert not shown, "the case shows nothing"


def test_a_registry_may_have_a_port(helm4: Helm, values_file: Path) -> None:
    for name in ("localhost:5000/x", "registry.example.com:5000/team/x", "x"):
        assert container(rendered(helm4, {"image": {"repository": name}}, values_file))["image"].startswith(f"{name}:")


@pytest.mark.parametrize("value", ["serviceMonitor", "prometheusRule", "grafanaDashboard"])
def test_labels_of_one_object_win_over_those_of_all(helm: Helm, value: str, values_file: Path) -> None:
    values = {value: {"enabled": True, "labels": {"team": "own"}}, "commonLabels": {"team": "all", "more": "x"}}
    file = values_file
    file.write_text(yaml.safe_dump(values))
    said = helm("template", "x", str(CHART), "--namespace", NAMESPACE, "--values", str(file))
    assert said.count("team: own\n") == 1
    (own,) = (part for part in said.split("\n---\n") if "team: own\n" in part)
    assert "team: all\n" not in own and "more: x\n" in own


def test_the_default_container_may_be_another(helm: Helm, values_file: Path) -> None:
    values_file.write_text(yaml.safe_dump({"podAnnotations": {"kubectl.kubernetes.io/default-container": "mine"}}))
    said = helm("template", "x", str(CHART), "--values", str(values_file))
    assert said.count("kubectl.kubernetes.io/default-container: ") == 1


@pytest.mark.parametrize("namespace_and_name", [("team-a", "cipher-operator"), ("cipher-system", "mine")])
def test_the_fence_is_around_the_account_that_the_pods_have(helm4: Helm, namespace_and_name: tuple[str, str]) -> None:
    namespace, name = namespace_and_name
    given = ["--set", "admissionPolicies.fence=true", "--set", f"serviceAccount.name={name}"]
    objects = documents(helm4("template", "x", str(CHART), "--namespace", namespace, *given))
    (fence,) = (each for each in objects if each["kind"] == "ValidatingAdmissionPolicy")
    (condition,) = fence["spec"]["matchConditions"]
    assert condition["expression"].endswith(f"== 'system:serviceaccount:{namespace}:{name}'")


@pytest.mark.parametrize("namespace", ["", "platform"], ids=["that of the release", "another"])
def test_the_role_for_secrets_is_where_those_of_servers_are(helm4: Helm, namespace: str, values_file: Path) -> None:
    settings = {"server-secrets-namespace": namespace} if namespace else {}
    objects = rendered(helm4, {"secrets": {"watch": "servers"}, "settings": settings}, values_file)
    roles = {kind: place for kind, place, name in objects if name == "cipher-operator-servers"}
    assert roles == dict.fromkeys(("Role", "RoleBinding"), namespace or NAMESPACE)


def test_every_role_for_secrets_is_bound_to_the_account_of_the_pods(helm4: Helm, values_file: Path) -> None:
    for namespaces in ([], ["a"]):
        given = {"secrets": {"watch": "servers", "namespaces": namespaces}, "serviceAccount": {"name": "mine"}}
        assert subjects(rendered(helm4, given, values_file)) == {"mine"}


def test_without_roles_there_is_none_for_secrets(helm4: Helm, values_file: Path) -> None:
    objects = rendered(helm4, {"secrets": {"watch": "servers"}, "rbac": {"create": False}}, values_file)
    assert not {"Role", "RoleBinding", "ClusterRoleBinding"} & kinds(objects)
    assert variables(objects)["CIPHER_OPERATOR_WATCH_SECRETS"] == "servers"


def test_the_lease_that_the_role_names_is_the_operators(helm4: Helm) -> None:
    role = rendered(helm4)["Role", NAMESPACE, "cipher-operator"]
    assert {name for rule in role["rules"] for name in rule.get("resourceNames", ())} == {LEASE_NAME}


REFUSED: dict[str, dict[str, Any]] = {
    "a misspelt value": {"replicas": 2},
    "a misspelt value below another": {"image": {"repo": "x"}},
    "a flag that there is not": {"settings": {"intervall": "5m"}},
    "a port, which is the chart's": {"settings": {"health-address": ":1"}},
    "a number in words": {"replicaCount": "two"},
    "a digest that is none": {"image": {"digest": "sha256:abc"}},
    "a repository with a digest": {"image": {"repository": "x@sha256:abc"}},
    "a repository with a tag": {"image": {"repository": "registry.example.com/x:1"}},
    "an account's name that is none": {"serviceAccount": {"name": "Foo_Bar"}},
    "a label of one object that selects": {"serviceMonitor": {"labels": {"app.kubernetes.io/name": "x"}}},
    "a policy that there is not": {"image": {"pullPolicy": "Sometimes"}},
    "a namespace twice": {"namespaces": ["a", "a"], "settings": {"instance-id": "x"}},
    "a namespace that is none": {"namespaces": ["A"], "settings": {"instance-id": "x"}},
    "a watch that there is not": {"secrets": {"watch": "some"}},
    "the flag that goes with roles": {"settings": {"watch-secrets": "servers"}},
    "a label that selects the Pods": {"podLabels": {"app.kubernetes.io/name": "x"}},
    "a label that is Helm's": {"commonLabels": {"app.kubernetes.io/managed-by": "x"}},
    "a pull Secret by its name alone": {"imagePullSecrets": ["registry"]},
    "no port of the API server": {"networkPolicy": {"apiServerPorts": []}},
    "a port that is none": {"networkPolicy": {"databasePorts": [70000]}},
    "an interval without a unit": {"serviceMonitor": {"interval": "30"}},
    "a setting that is no duration": {"settings": {"interval": "banana"}},
    "a duration without a unit": {"settings": {"interval": 10}},
    "an empty duration": {"settings": {"connect-timeout": ""}},
    "fewer workers than one": {"settings": {"workers": 0}},
    "more workers than there may be": {"settings": {"workers": 2000000}},
    "a number of workers in words": {"settings": {"workers": "many"}},
    "a level that there is not": {"settings": {"log-level": "loud"}},
    "an instance id that YAML takes for a number": {"settings": {"instance-id": 12345678}},
    "an instance id that YAML takes for a truth": {"settings": {"instance-id": True}},
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(helm: Helm, case: str, values_file: Path) -> None:
    with pytest.raises(HelmError, match=r"(?s)values don't meet the specifications of the schema"):
        rendered(helm, REFUSED[case], values_file)


TOGETHER: dict[str, tuple[dict[str, Any], str]] = {
    "namespaces without an instance-id": (
        {"namespaces": ["a"]},
        "namespaces needs settings.instance-id: an operator for some namespaces cannot read kube-system",
    ),
    "namespaces with an empty instance-id": (
        {"namespaces": ["a"], "settings": {"instance-id": ""}},
        "namespaces needs settings.instance-id: ",
    ),
    "Secrets of servers where no CipherServers are served": (
        {"namespaces": ["a"], "settings": {"instance-id": "x"}, "secrets": {"watch": "servers"}},
        "namespaces and `secrets.watch: servers` exclude each other: CipherServers are the whole cluster's. Leave",
    ),
    "namespaces of app Secrets where all Secrets are read": (
        {"secrets": {"namespaces": ["a"]}},
        "secrets.namespaces is for `secrets.watch: servers` alone: set that too",
    ),
    "no account, and none named": (
        {"serviceAccount": {"create": False}},
        "`serviceAccount.create: false` needs serviceAccount.name",
    ),
}


@pytest.mark.parametrize("case", TOGETHER)
def test_values_that_do_not_go_together_are_all_named_with_the_remedy(helm: Helm, case: str, values_file: Path) -> None:
    values, said = TOGETHER[case]
    with pytest.raises(HelmError) as refused:
        rendered(helm, values, values_file)
    assert said in str(refused.value)


CLUSTER = ("--api-versions", "apiregistration.k8s.io/v1")
"""What each API server has, and Helm without one does not make up."""


@pytest.mark.parametrize(
    ("value", "kind"), [("serviceMonitor", "ServiceMonitor"), ("prometheusRule", "PrometheusRule")]
)
def test_monitoring_needs_its_kinds_in_a_cluster_and_nothing_without_one(helm: Helm, value: str, kind: str) -> None:
    def made(*flags: str) -> set[str]:
        on = ("--set", f"{value}.enabled=true")
        return {each["kind"] for each in documents(helm("template", "x", str(CHART), *on, *flags))}

    assert kind in made()
    assert kind in made(*CLUSTER, "--api-versions", f"monitoring.coreos.com/v1/{kind}")
    with pytest.raises(HelmError) as refused:
        made(*CLUSTER)
    assert (
        f"{value}.enabled needs the CRDs of the Prometheus operator, and this cluster does not serve "
        f"monitoring.coreos.com/v1 {kind}: install that operator first, or leave {value}.enabled off"
    ) in str(refused.value)
