"""What each value of the chart is to change: the cases of test_chart_values.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import yaml

from delivery.rendering import (
    NAMESPACE,
    Objects,
    account,
    component,
    container,
    crds,
    deployment,
    kinds,
    monitoring,
    pod,
    policy,
    subjects,
    template,
    variables,
)
from delivery.servers_secrets import app_secrets_only_in, watches_servers
from manifests.manifest_files import REPOSITORY, documents

DIGEST = "sha256:" + "a" * 64
Check = Callable[[Objects], object]
CASES: dict[str, tuple[dict[str, Any], Check]] = {}


def value(path: str, given: Any, check: Check, **also: Any) -> None:
    """Enter a case: the value at a dotted path, other values that it needs, and what must be so with it."""
    values: dict[str, Any] = dict(also)
    *parents, last = path.split(".")
    at = values
    for name in parents:
        at = at.setdefault(name, {})
    at[last] = given
    assert path not in CASES
    CASES[path] = (values, check)


def _only_in(namespaces: list[str]) -> Check:
    def check(objects: Objects) -> bool:
        roles = {namespace for kind, namespace, name in objects if (kind, name) == ("Role", "cipher-operator-storages")}
        whole = ("ClusterRole", "", "cipher-operator") in objects or "ClusterRoleBinding" in kinds(objects)
        (served,) = {json.dumps(objects["Role", each, "cipher-operator-storages"]["rules"]) for each in namespaces}
        overlay = REPOSITORY / "manifests" / "overlays" / "restricted-namespace" / "served" / "role.yaml"
        given = variables(objects)["CIPHER_OPERATOR_NAMESPACE"] == ",".join(namespaces)
        bound = all(
            objects["RoleBinding", each, "cipher-operator-storages"]["subjects"]
            == [{"kind": "ServiceAccount", "name": "cipher-operator", "namespace": NAMESPACE}]
            for each in namespaces
        )
        same = json.loads(served) == documents(overlay.read_text())[0]["rules"]
        return roles == set(namespaces) and not whole and given and bound and same

    return check


value("crds.enabled", False, lambda objects: not crds(objects))
value(
    "crds.keep",
    False,
    lambda objects: (
        crds(objects)
        and not any("helm.sh/resource-policy" in each["metadata"].get("annotations", {}) for each in crds(objects))
    ),
)
value(
    "image.repository", "registry.example.com/x", lambda o: container(o)["image"].startswith("registry.example.com/x:")
)
value("image.tag", "edge", lambda objects: container(objects)["image"] == "cipher-operator:edge")
value(
    "image.digest",
    DIGEST,
    lambda objects: container(objects)["image"] == f"cipher-operator@{DIGEST}",
)
value("image.pullPolicy", "Always", lambda objects: container(objects)["imagePullPolicy"] == "Always")
value("imagePullSecrets", [{"name": "r"}], lambda objects: pod(objects)["imagePullSecrets"] == [{"name": "r"}])
value("namespaces", ["a", "b"], _only_in(["a", "b"]), settings={"instance-id": "eu"})
value(
    "settings",
    {"interval": "10m", "workers": 64, "log-level": "debug"},
    lambda objects: (
        variables(objects).items()
        >= {
            "CIPHER_OPERATOR_INTERVAL": "10m",
            "CIPHER_OPERATOR_WORKERS": "64",
            "CIPHER_OPERATOR_LOG_LEVEL": "debug",
        }.items()
    ),
)
value("secrets.watch", "servers", watches_servers)
value("secrets.namespaces", ["a", "b"], app_secrets_only_in(["a", "b"]), secrets={"watch": "servers"})
value(
    "rbac.create",
    False,
    lambda objects: not {"Role", "RoleBinding", "ClusterRoleBinding"} & kinds(objects) and account(objects),
)
value(
    "rbac.aggregateClusterRoles",
    False,
    lambda objects: [name for kind, _, name in objects if kind == "ClusterRole"] == ["cipher-operator"],
)
value(
    "serviceAccount.create",
    False,
    lambda objects: (
        "ServiceAccount" not in kinds(objects)
        and pod(objects)["serviceAccountName"] == "mine"
        and subjects(objects) == {"mine"}
    ),
    serviceAccount={"name": "mine"},
)
value(
    "serviceAccount.name",
    "mine",
    lambda objects: (
        account(objects, "mine") and pod(objects)["serviceAccountName"] == "mine" == subjects(objects).pop()
    ),
)
value("serviceAccount.annotations", {"a/b": "c"}, lambda objects: account(objects)["annotations"] == {"a/b": "c"})
value("replicaCount", 1, lambda objects: deployment(objects)["replicas"] == 1)
value(
    "commonLabels",
    {"team": "storage"},
    lambda objects: (
        all(each["metadata"]["labels"]["team"] == "storage" for each in objects.values())
        and template(objects)["metadata"]["labels"]["team"] == "storage"
        and "team" not in deployment(objects)["selector"]["matchLabels"]
    ),
)
value(
    "podLabels",
    {"azure.workload.identity/use": "true"},
    lambda objects: (
        template(objects)["metadata"]["labels"]
        == {"app.kubernetes.io/name": "cipher-operator", "azure.workload.identity/use": "true"}
    ),
)
value("podAnnotations", {"a": "1"}, lambda objects: template(objects)["metadata"]["annotations"]["a"] == "1")
value(
    "resources",
    {"limits": {"memory": "1Gi"}},
    lambda objects: (
        container(objects)["resources"] == {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}
    ),
)
value("podSecurityContext", {"fsGroup": 1}, lambda o: pod(o)["securityContext"]["fsGroup"] == 1)
value(
    "securityContext",
    {"runAsUser": 1000},
    lambda objects: (
        container(objects)["securityContext"]["runAsUser"] == 1000
        and container(objects)["securityContext"]["readOnlyRootFilesystem"] is True
    ),
)
value("nodeSelector", {"pool": "a"}, lambda objects: pod(objects)["nodeSelector"] == {"pool": "a"})
value("tolerations", [{"operator": "Exists"}], lambda objects: pod(objects)["tolerations"] == [{"operator": "Exists"}])
value("affinity", {"podAffinity": {}}, lambda objects: pod(objects)["affinity"] == {"podAffinity": {}})
value("topologySpreadConstraints", [], lambda objects: "topologySpreadConstraints" not in pod(objects))
value("priorityClassName", "high", lambda objects: pod(objects)["priorityClassName"] == "high")
value("terminationGracePeriodSeconds", 90, lambda objects: pod(objects)["terminationGracePeriodSeconds"] == 90)
value(
    "extraEnv",
    [{"name": "SSL_CERT_FILE", "value": "/ca/all.crt"}],
    lambda objects: variables(objects)["SSL_CERT_FILE"] == "/ca/all.crt" and "POD_NAMESPACE" in variables(objects),
)
value(
    "extraVolumes",
    [{"name": "ca", "configMap": {"name": "ca"}}],
    lambda objects: [each["name"] for each in pod(objects)["volumes"]] == ["tmp", "ca"],
)
value(
    "extraVolumeMounts",
    [{"name": "ca", "mountPath": "/ca"}],
    lambda objects: [each["mountPath"] for each in container(objects)["volumeMounts"]] == ["/tmp", "/ca"],
    extraVolumes=[{"name": "ca", "configMap": {"name": "ca"}}],
)
value("podDisruptionBudget.enabled", False, lambda objects: "PodDisruptionBudget" not in kinds(objects))


def _as_in_the_component(file: str, kind: str, name: str) -> Check:
    (expected,) = monitoring(file)
    return lambda objects: objects[kind, NAMESPACE, name]["spec"] == expected["spec"]


MONITOR, RULE = ("ServiceMonitor", NAMESPACE, "cipher-operator"), ("PrometheusRule", NAMESPACE, "cipher-operator")
DASHBOARD = ("ConfigMap", NAMESPACE, "cipher-operator-dashboard")
KSM = "cipher-operator-kube-state-metrics"
value(
    "serviceMonitor.enabled",
    True,
    _as_in_the_component("servicemonitor.yaml", "ServiceMonitor", "cipher-operator"),
)
value(
    "serviceMonitor.labels",
    {"release": "p"},
    lambda objects: objects[MONITOR]["metadata"]["labels"]["release"] == "p",
    serviceMonitor={"enabled": True},
)
value(
    "serviceMonitor.interval",
    "1m",
    lambda objects: objects[MONITOR]["spec"]["endpoints"][0]["interval"] == "1m",
    serviceMonitor={"enabled": True},
)
value(
    "prometheusRule.enabled",
    True,
    _as_in_the_component("prometheusrule.yaml", "PrometheusRule", "cipher-operator"),
)
value(
    "prometheusRule.labels",
    {"release": "p"},
    lambda objects: objects[RULE]["metadata"]["labels"]["release"] == "p",
    prometheusRule={"enabled": True},
)
value(
    "prometheusRule.runbookUrl",
    "https://wiki.example.com/cipher",
    lambda objects: all(
        rule["annotations"]["runbook_url"] == f"https://wiki.example.com/cipher/{rule['alert'].lower()}.md"
        for group in objects[RULE]["spec"]["groups"]
        for rule in group["rules"]
    ),
    prometheusRule={"enabled": True},
)
value(
    "grafanaDashboard.enabled",
    True,
    lambda objects: (
        objects[DASHBOARD]["metadata"]["labels"]["grafana_dashboard"] == "1"
        and objects[DASHBOARD]["data"]["cipher-operator.json"].rstrip()
        == (REPOSITORY / "manifests/components/monitoring/dashboard.json").read_text().rstrip()
    ),
)
value(
    "grafanaDashboard.labels",
    {"folder": "db"},
    lambda objects: objects[DASHBOARD]["metadata"]["labels"]["folder"] == "db",
    grafanaDashboard={"enabled": True},
)
value(
    "kubeStateMetrics.enabled",
    True,
    lambda objects: (
        yaml.safe_load(objects["ConfigMap", NAMESPACE, KSM]["data"]["config.yaml"])
        == monitoring("kube-state-metrics.yaml")[0]
        and objects["ClusterRole", "", KSM]["rules"] == monitoring("kube-state-metrics-rbac.yaml")[0]["rules"]
    ),
)


def _fenced(objects: Objects) -> bool:
    wanted, _ = component("admission/fence.yaml")
    return objects["ValidatingAdmissionPolicy", "", "cipher-operator-fence"]["spec"] == wanted[
        "spec"
    ] and "ValidatingAdmissionPolicyBinding" in kinds(objects)


value(
    "networkPolicy.enabled",
    True,
    lambda objects: policy(objects) == component("network-policy/networkpolicy.yaml")[0]["spec"],
)
value(
    "networkPolicy.metricsFrom",
    {"kubernetes.io/metadata.name": "monitoring"},
    lambda objects: (
        policy(objects)["ingress"][1]["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        == "monitoring"
    ),
    networkPolicy={"enabled": True},
)
value(
    "networkPolicy.apiServerPorts",
    [8443],
    lambda objects: [each["port"] for each in policy(objects)["egress"][1]["ports"]] == [8443],
    networkPolicy={"enabled": True},
)
value(
    "networkPolicy.databasePorts",
    [5433],
    lambda objects: [each["port"] for each in policy(objects)["egress"][2]["ports"]] == [5433],
    networkPolicy={"enabled": True},
)
value("admissionPolicies.fence", True, _fenced)
value(
    "admissionPolicies.safeUpgrades",
    True,
    lambda objects: (
        objects["ValidatingAdmissionPolicy", "", "cipherstorage-safe-upgrades"]["spec"]
        == component("admission/safe-upgrades.yaml")[0]["spec"]
    ),
)
value(
    "extraObjects",
    [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}},
        'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: two, namespace: "{{ .Release.Namespace }}"}',
    ],
    lambda objects: ("ConfigMap", "", "one") in objects and ("ConfigMap", NAMESPACE, "two") in objects,
)
