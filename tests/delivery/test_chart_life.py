"""The chart's life on a real API server: install, upgrade, rollback, uninstall and install again, with an operator.

The operator is a process under the ServiceAccount and the rights that the chart gave it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import psycopg
import pytest

from cipher_operator import __version__
from delivery.releases import CRD, RELEASE, Release
from delivery.rendering import NAMESPACE
from devcluster import ControlPlane, PostgresServer
from devcluster.helm import Helm, HelmError
from release.repository import CHART
from support.cluster import Namespace, Operator, install, wait_until

API = "storage.cipher.dev/v1alpha1"


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """A control plane of the file's own: the chart's objects are those of the manifests, by name."""
    with ControlPlane() as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


@pytest.fixture
def release(helm: Helm, plane: ControlPlane) -> Iterator[Release]:
    release = Release(helm, plane)
    yield release
    release.clear()


@pytest.fixture
def version_before(tmp_path: Path) -> Path:
    """The chart as a version before would have been: lower numbers, a CRD without a field that came since."""
    folder = tmp_path / "before"
    shutil.copytree(CHART, folder)
    for path in (folder / "Chart.yaml", *folder.glob("templates/crds/*")):
        path.write_text(path.read_text().replace(__version__, "0.0.9"))
    crd = folder / "templates/crds/storage.cipher.dev_cipherstorages.yaml"
    text, count = re.subn(r"^( +)suspend:\n(?:\1 +.*\n)+", "", crd.read_text(), flags=re.MULTILINE)
    assert count == 1
    crd.write_text(text)
    return folder


def _knows_suspend(plane: ControlPlane) -> bool:
    crd = json.loads(plane.kubectl("get", CRD, "--output=json"))
    schema: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return "suspend" in schema["properties"]["spec"]["properties"]


def _image(plane: ControlPlane) -> str:
    path = "{.spec.template.spec.containers[0].image}"
    return plane.kubectl("get", "deployment/cipher-operator", "-n", NAMESPACE, "--output=jsonpath=" + path)


def test_storages_and_data_outlive_upgrade_rollback_uninstall_and_return(
    release: Release, plane: ControlPlane, server: PostgresServer, version_before: Path, tmp_path: Path
) -> None:
    release.install(version_before)
    assert _image(plane).endswith(":0.0.9") and not _knows_suspend(plane)

    namespace = Namespace(plane, f"team-{release.major}")
    operator = Operator(plane, tmp_path, "--interval", "10s").start()
    database = f"kept_{release.major}"
    namespace.admin_secret(server)
    namespace.storage("chat", {"database": {"name": database}})
    namespace.wait_ready("chat")
    uid = _uid(namespace)
    with psycopg.connect(namespace.app_secret("chat")["uri"]) as app:
        app.execute("INSERT INTO cipher_store VALUES ('k', 'v', now(), now())")

    release.do("upgrade", RELEASE, str(CHART))
    assert _image(plane).endswith(f":{__version__}")
    wait_until(lambda: _knows_suspend(plane), "the CRD is upgraded with the release")
    # docs/running/upgrade.md: back to the version before, and its CRDs are left out.
    kept = ("--reset-then-reuse-values", "--set")
    release.do("upgrade", RELEASE, str(version_before), *kept, "crds.enabled=false")
    assert _image(plane).endswith(":0.0.9") and _knows_suspend(plane) and len(release.kept_crds()) == 2
    release.do("upgrade", RELEASE, str(CHART), *kept, "crds.enabled=true")
    assert _image(plane).endswith(f":{__version__}")
    release.do("rollback", RELEASE, "1")
    assert _image(plane).endswith(":0.0.9")
    wait_until(lambda: not _knows_suspend(plane), "and taken back with it")
    release.do("upgrade", RELEASE, str(CHART))
    namespace.annotate("chat", "reconcile-requested-at", "upgraded")
    wait_until(lambda: namespace.handled("chat") == {"reconcile": "upgraded"}, "the operator works on")
    operator.stop()

    release.do("uninstall", RELEASE)
    kinds = ("cipherservers", "cipherstorages")
    assert release.kept() == [
        f"customresourcedefinition.apiextensions.k8s.io/{kind}.storage.cipher.dev" for kind in kinds
    ]
    assert _uid(namespace) == uid
    with psycopg.connect(namespace.app_secret("chat")["uri"]) as app:
        assert app.execute("SELECT value FROM cipher_store").fetchall() == [("v",)]

    release.install()
    operator = Operator(plane, tmp_path).start()
    namespace.annotate("chat", "reconcile-requested-at", "returned")
    wait_until(lambda: namespace.handled("chat") == {"reconcile": "returned"}, "the new install serves the old storage")
    assert _uid(namespace) == uid and namespace.condition("chat")["status"] == "True"
    operator.stop()


def _uid(namespace: Namespace) -> str:
    storage = namespace.get("cipherstorages", "chat")
    assert storage is not None
    uid: str = storage["metadata"]["uid"]
    return uid


def test_with_namespaces_it_works_there_and_has_no_rights_elsewhere(
    release: Release, plane: ControlPlane, server: PostgresServer, tmp_path: Path
) -> None:
    served, other = (Namespace(plane, f"{name}-{release.major}") for name in ("served", "other"))
    release.install(CHART, "--set", f"namespaces={{{served.name}}}", "--set", "settings.instance-id=eu")
    deployment = json.loads(plane.kubectl("get", "deployment/cipher-operator", "-n", NAMESPACE, "--output=json"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    flags = ("--namespace", variables["CIPHER_OPERATOR_NAMESPACE"], "--instance-id", "eu")
    assert variables["CIPHER_OPERATOR_INSTANCE_ID"] == "eu"
    operator = Operator(plane, tmp_path, *flags).start()
    for namespace in (other, served):
        namespace.admin_secret(server)
        namespace.storage("chat", {"database": {"name": f"namespaced_{namespace.name}"}})
    served.wait_ready("chat")
    assert other.condition("chat") == {}
    operator.stop()
    account = f"--as=system:serviceaccount:{NAMESPACE}:cipher-operator"
    for namespace, answer in ((served, "yes"), (other, "no")):
        said = plane.kubectl("auth", "can-i", "get", "secrets", "-n", namespace.name, account, check=False)
        assert said.strip() == answer


def test_with_secrets_of_servers_it_serves_tenants_and_reads_no_administrator_of_theirs(
    release: Release, plane: ControlPlane, server: PostgresServer, tmp_path: Path
) -> None:
    served = Namespace(plane, f"tenants-{release.major}")
    release.install(CHART, "--set", "secrets.watch=servers", "--set", f"secrets.namespaces={{{served.name}}}")
    admin = {"metadata": {"name": "prod-admin"}, "stringData": {"CIPHER_PG_URL": server.admin_url(sslmode="disable")}}
    spec = {"connection": {"secretRef": {"name": "prod-admin"}}, "allowedNamespaces": {"from": "All"}}
    for body in (
        {"apiVersion": "v1", "kind": "Secret", **admin},
        {"apiVersion": API, "kind": "CipherServer", "metadata": {"name": "prod"}, "spec": spec},
    ):
        plane.kubectl("-n", NAMESPACE, "apply", "-f", "-", input=json.dumps(body))
    home = (f"--server-secrets-namespace={NAMESPACE}", "--watch-secrets=servers", "--interval=10s")
    operator = Operator(plane, tmp_path, *home).start()
    served.storage("chat", {"connection": {"serverRef": {"name": "prod"}}})
    served.wait_ready("chat")
    operator.stop()

    def refused() -> bool:
        try:
            served.storage("own", {"connection": {"secretRef": {"name": "pg-admin"}}})
        except HTTPError as error:
            return "must name a CipherServer" in error.read().decode()
        served.delete("cipherstorages", "own")
        return False

    wait_until(refused, "the policy refuses a Secret of the tenant's own")
    account = f"--as=system:serviceaccount:{NAMESPACE}:cipher-operator"
    for where, verb, answer in (
        (NAMESPACE, "list", "yes"),
        (served.name, "get", "yes"),
        (served.name, "list", "no"),
        ("default", "get", "no"),
    ):
        said = plane.kubectl("auth", "can-i", verb, "secrets", "-n", where, account, check=False)
        assert said.strip() == answer, (where, verb)


def test_the_api_server_takes_every_kind_that_it_knows(release: Release, plane: ControlPlane) -> None:
    """Those of the Prometheus operator it does not: test_monitoring_kinds.py has them."""
    on = ("grafanaDashboard", "kubeStateMetrics", "networkPolicy")
    given = [f"{name}.enabled=true" for name in on] + ["admissionPolicies.fence=true", "image.tag=edge"]
    release.install(CHART, *(part for each in given for part in ("--set", each)))
    kinds = "networkpolicy,validatingadmissionpolicy,validatingadmissionpolicybinding,configmap"
    label = f"--selector=app.kubernetes.io/instance={RELEASE}"
    found = plane.kubectl("get", kinds, "-A", label, "--output=name").split()
    assert len(found) == 5
    pods = plane.kubectl("get", "deployment/cipher-operator", "-n", NAMESPACE, "--output=jsonpath={.status.conditions}")
    assert "violates" not in pods


def test_an_upgrade_to_the_same_changes_nothing(release: Release, plane: ControlPlane) -> None:
    assert "An uninstall leaves the CRDs, every CipherStorage and all data." in release.install()
    kinds = "deployment,service,pdb,role,serviceaccount"

    def generations() -> str:
        path = "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.generation}{'\\n'}{end}"
        return plane.kubectl("get", kinds, "-n", NAMESPACE, f"--output={path}")

    before = generations()
    release.do("upgrade", RELEASE, str(CHART))
    assert generations() == before


def test_without_keep_an_uninstall_takes_the_kind_with_it(release: Release, plane: ControlPlane) -> None:
    said = release.install(CHART, "--set", "crds.keep=false")
    assert "An uninstall deletes the CRDs, and with them every CipherStorage in the cluster" in said
    release.do("uninstall", RELEASE, "--wait")
    release.wait_gone(release.kept)


def test_without_keep_an_upgrade_without_crds_takes_the_kind_with_it_and_with_keep_before_it_does_not(
    release: Release, plane: ControlPlane
) -> None:
    """As the chart's README has it."""
    off = ("upgrade", RELEASE, str(CHART), "--set", "crds.enabled=false")
    release.install(CHART, "--set", "crds.keep=false")
    release.do(*off)
    release.wait_gone(release.kept_crds)
    for kept in ("false", "true"):
        release.do("upgrade", RELEASE, str(CHART), "--set", f"crds.keep={kept}")
    release.do(*off)
    assert len(release.kept_crds()) == 2


def test_names_that_yaml_takes_for_something_else_are_taken_by_the_api_server(
    release: Release, plane: ControlPlane
) -> None:
    release.install(CHART, "--set-string", "serviceAccount.name=null", name="0123", namespace="no")
    account = plane.kubectl("get", "deployment/cipher-operator", "-n", "no", "--output=jsonpath={.spec.template.spec}")
    assert json.loads(account)["serviceAccountName"] == "null"
    release.do("uninstall", "0123", namespace="no")


def test_a_second_operator_is_refused_where_it_would_fight_and_admitted_where_not(
    release: Release, plane: ControlPlane
) -> None:
    release.install()
    # The chart's README goes by these words.
    with pytest.raises(HelmError, match=r'(?s)invalid ownership metadata.*current value is "cipher-operator"'):
        release.install(name="second")
    with pytest.raises(HelmError, match=r'(?s)invalid ownership metadata.*current value is "cipher-operator"'):
        release.install(CHART, "--set", "crds.enabled=false", name="second", namespace="elsewhere")
    team = f"team-a-{release.major}"
    own = ["crds.enabled=false", "rbac.aggregateClusterRoles=false", f"namespaces={{{team}}}", "settings.instance-id=a"]
    plane.kubectl("create", "namespace", team)
    release.install(CHART, *(part for each in own for part in ("--set", each)), name="second", namespace=team)


def test_what_kubectl_installed_is_taken_over(release: Release, plane: ControlPlane) -> None:
    install(plane)
    with pytest.raises(HelmError, match=r"(?s)invalid ownership metadata.*missing key"):
        release.install()
    # Helm 4 applies server-side, and what kubectl owns it takes when told to.
    force = ["--force-conflicts"] if release.major == 4 else []
    release.install(CHART, "--take-ownership", *force)
    assert len(release.kept()) == 15


def test_an_older_crd_is_refused_where_the_chart_fences_upgrades(
    release: Release, plane: ControlPlane, version_before: Path
) -> None:
    release.install(CHART, "--set", "admissionPolicies.safeUpgrades=true")

    def refused() -> bool:
        try:
            release.do("upgrade", RELEASE, str(version_before), "--set", "admissionPolicies.safeUpgrades=true")
        except HelmError as error:
            return "older than" in str(error)
        # The API server takes a moment to hear of its new policy.
        release.do("upgrade", RELEASE, str(CHART), "--set", "admissionPolicies.safeUpgrades=true")
        return False

    wait_until(refused, "the policy refuses the older CRD")
    assert _knows_suspend(plane)
