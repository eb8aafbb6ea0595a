"""`plan` and `check` with a person's own rights: docs/settings.md says which, and each of them is needed."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cipher_operator.api.failures import Failure
from cipher_operator.api.names import API_VERSION, GROUP
from cipher_operator.identity.cloud import CloudTokens
from cipher_operator.kube.access import load_access
from cipher_operator.kube.client import KubeClient
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.reconcile.live import LookError, Own
from cipher_operator.reconcile.offline import Means
from cipher_operator.reconcile.rules import Rules
from devcluster import ControlPlane, PostgresServer
from devcluster.tls import CertificateAuthority
from support.cluster import ROOT, Namespace, wait_until

pytestmark = pytest.mark.cluster

HOME, PLACE = "cipher-system", "own-rights"
CLUSTER = ""
ROW = re.compile(r"^\|[^|]*\| `(get|list) (\w+)` \| ([^|]+) \|", re.MULTILINE)
PLACES = {"the storage's namespace": PLACE, "the whole cluster": CLUSTER}


@dataclass(frozen=True)
class Right:
    """A row of the table. `namespace` is '' for the whole cluster."""

    verb: str
    resource: str
    namespace: str

    @property
    def rule(self) -> dict[str, Any]:
        group = GROUP if self.resource.startswith("cipher") else ""
        return {"apiGroups": [group], "resources": [self.resource], "verbs": [self.verb]}

    def __str__(self) -> str:
        return f"{self.verb} {self.resource} {self.namespace or 'everywhere'}"


def _rows() -> tuple[Right, ...]:
    text = (ROOT / "docs" / "settings.md").read_text()
    return tuple(Right(verb, of, PLACES.get(place, place.strip("`"))) for verb, of, place in ROW.findall(text))


ROWS = _rows()


def _grant(person: str, rights: list[Right]) -> list[dict[str, Any]]:
    """Return what makes a person, as a ServiceAccount, and gives him these rights and no other."""
    account = {"kind": "ServiceAccount", "name": person, "namespace": PLACE}
    made: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": person, "namespace": PLACE}}
    ]
    for namespace in sorted({each.namespace for each in rights}):
        scope = "Cluster" if namespace == CLUSTER else ""
        where = {"namespace": namespace} if namespace else {}
        meta = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": person, **where}}
        made.append(
            meta | {"kind": f"{scope}Role", "rules": [each.rule for each in rights if each.namespace == namespace]}
        )
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": f"{scope}Role", "name": person}
        made.append(meta | {"kind": f"{scope}RoleBinding", "roleRef": ref, "subjects": [account]})
    return made


class Team:
    """A namespace with a storage of its own login, one on a CipherServer, and people with rights."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane, self._folder = plane, folder

    def people(self, *grants: tuple[str, list[Right]]) -> None:
        items = [each for person, rights in grants for each in _grant(person, rights)]
        self.plane.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))

    def kubeconfig(self, person: str) -> Path:
        return self.plane.kubeconfig_for_service_account(PLACE, person, self._folder / person)

    def look(self, kubeconfig: Path, name: str, namespace: str = PLACE, instance: str | None = None) -> str:
        """Return what a person is told."""

        async def ask() -> str:
            access = await load_access({"KUBECONFIG": str(kubeconfig)})
            tokens = CloudTokens({})
            async with KubeClient(access) as kube:
                own = Own(kube, HOME)
                rules = Rules(instance or await own.instance())
                means = Means(rules, DialPolicy((), 5.0), tokens)
                found = (await own.examine((namespace, name), means)).found
            return found.message if isinstance(found, Failure) else f"{len(found.pending)} statements"

        try:
            return asyncio.run(ask())
        except LookError as error:
            return str(error)


@pytest.fixture(scope="module")
def tls_server(certificate_authority: CertificateAuthority) -> Iterator[PostgresServer]:
    with PostgresServer(16, tls=certificate_authority.server()) as running:
        yield running


@pytest.fixture(scope="module")
def team(
    installed: ControlPlane,
    certificate_authority: CertificateAuthority,
    tls_server: PostgresServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Team]:
    url = tls_server.admin_url().replace(tls_server.host, "localhost")
    Namespace(installed, PLACE)
    connection = {
        "secretRef": {"name": "admin"},
        "sslMode": "verify-full",
        "caRef": {"kind": "ConfigMap", "name": "ca"},
    }
    allowed = {"from": "Selector", "selector": {"matchLabels": {"own-rights": "yes"}}}
    app = {"caPath": "/etc/cipher/ca.crt"}
    items: list[dict[str, Any]] = [
        {
            "apiVersion": API_VERSION,
            "kind": "CipherServer",
            "metadata": {"name": "own-rights"},
            "spec": {"connection": connection, "allowedNamespaces": allowed, "limits": {"storages": 3}},
        }
    ]
    for place in (PLACE, HOME):
        named = {"apiVersion": "v1", "metadata": {"namespace": place}}
        ca, login = {"ca.crt": certificate_authority.certificate.read_text()}, {"CIPHER_PG_URL": url}
        items.append(
            {**named, "kind": "Secret", "metadata": {"name": "admin", "namespace": place}, "stringData": login}
        )
        items.append({**named, "kind": "ConfigMap", "metadata": {"name": "ca", "namespace": place}, "data": ca})
    for name, way in {"own": connection, "shared": {"serverRef": {"name": "own-rights"}}}.items():
        metadata = {"name": name, "namespace": PLACE}
        spec = {"connection": way, "app": app, "suspend": True}
        items.append({"apiVersion": API_VERSION, "kind": "CipherStorage", "metadata": metadata, "spec": spec})
    installed.kubectl("label", "namespace", PLACE, "own-rights=yes")
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    installed.kubectl("apply", "-f", "-", input=listed)
    made = Team(installed, tmp_path_factory.mktemp("people"))
    without = ((f"without-{number}", [each for each in ROWS if each != row]) for number, row in enumerate(ROWS))
    made.people(*without, ("ann", list(ROWS)))
    wait_until(lambda: "statements" in made.look(made.kubeconfig("ann"), "shared"), "the rights are there")
    yield made
    installed.kubectl("delete", "-f", "-", "--wait=false", input=listed)


def test_the_table_has_rows_for_both_modes() -> None:
    assert len(ROWS) == 9
    assert {each.namespace for each in ROWS} == {PLACE, HOME, "kube-system", CLUSTER}


@pytest.mark.parametrize("name", ["own", "shared"])
def test_with_the_rights_of_the_table_both_kinds_of_storages_are_looked_at(team: Team, name: str) -> None:
    assert re.fullmatch(r"\d\d statements", team.look(team.kubeconfig("ann"), name))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_each_right_of_the_table_is_needed_and_named_where_it_is_missing(team: Team, row: Right) -> None:
    kubeconfig = team.kubeconfig(f"without-{ROWS.index(row)}")
    told = " ".join(team.look(kubeconfig, name) for name in ("own", "shared"))
    assert re.search(rf"this login may not {row.verb} {row.resource}\b[^(]*\(403 Forbidden\): ", told), told
    if row.namespace not in (CLUSTER, "kube-system") and row.resource != "namespaces":
        assert f"in namespace '{row.namespace}'" in told


def test_with_an_instance_id_kube_system_is_not_read_by_a_person_of_one_namespace(team: Team) -> None:
    """As a process, with a kubeconfig and a namespace of his own; a CipherServer is not his to look at."""
    rights = [each for each in ROWS if each.namespace == PLACE]
    team.people(("bob", rights))
    kubeconfig = team.kubeconfig("bob")
    wait_until(lambda: "statements" in team.look(kubeconfig, "own", instance="x"), "the rights are there")

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = {"KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(ROOT / "operator")}
        command = [sys.executable, "-m", "cipher_operator", *arguments, "-n", PLACE, "--blocked-ranges", "none"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    done = run("plan", "own", "--instance-id", "x")
    assert done.returncode == 0
    assert (
        done.stderr == f"{PLACE}/own: it is suspended: the operator does nothing for it until `spec.suspend` is false\n"
    )
    assert re.search(rf"{PLACE}/own: \d+ statements to run\n\Z", done.stdout)
    refused = run("check", "own")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert "this login may not get namespaces 'kube-system' (403 Forbidden)" in refused.stderr
    assert "--instance-id" in refused.stderr
    others = team.look(kubeconfig, "shared", instance="x")
    assert others.startswith(
        "this login may not get cipherservers 'own-rights' (403 Forbidden): ask for the ClusterRole"
    )


def test_what_is_not_there_and_a_login_that_is_no_more(team: Team, tmp_path: Path) -> None:
    everything = team.plane.kubeconfig
    assert team.look(everything, "none").startswith(f"there is no CipherStorage {PLACE}/none; -n or --context")
    assert team.look(everything, "own", "nowhere").startswith("there is no namespace 'nowhere' in this cluster; -n")
    expired = yaml.safe_load(everything.read_text())
    expired["users"][0]["user"] = {"token": "S3CR3T"}
    (tmp_path / "expired").write_text(yaml.safe_dump(expired))
    told = team.look(tmp_path / "expired", "own")
    assert told == "the cluster does not take this login (401 Unauthorized): log in again, or choose another --context"
