"""manifests/base gives the operator what it uses and nothing else: a whole life, as the API server's audit log has it.

It lives behind the fences of manifests/components/admission, on an API server that checks owners as OpenShift's does.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from devcluster import ControlPlane, KubectlError, PostgresServer
from devcluster.audit import Request
from devcluster.tls import CertificateAuthority
from manifests.manifest_files import base_with, documents
from support.cluster import ROOT, Namespace, Operator, wait_until
from support.rights import ASKED_BY_ADMISSION, Right, compare, granted

MANIFESTS = ROOT / "manifests"
HOME, ACCOUNT = "cipher-system", "cipher-operator"
USER = f"system:serviceaccount:{HOME}:{ACCOUNT}"

IN_USE = "storage.cipher.dev/in-use"
SERVER = {"apiVersion": "storage.cipher.dev/v1alpha1", "kind": "CipherServer", "metadata": {"name": "prod"}}

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base with the fences, as a user's own kustomization adds them."""
    folder = tmp_path_factory.mktemp("installation")
    base_with("admission", folder)
    return folder


@pytest.fixture(scope="module")
def plane(installation: Path) -> Iterator[ControlPlane]:
    flags = ("--enable-admission-plugins=OwnerReferencesPermissionEnforcement",)
    with ControlPlane(apiserver_flags=flags, audited=(USER,)) as running:
        running.kubectl("apply", "-k", str(ROOT / "crds"))
        running.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
        running.kubectl("apply", "-k", str(installation))
        yield running


@pytest.fixture(scope="module")
def rights(plane: ControlPlane, installation: Path) -> frozenset[Right]:
    return granted(documents(plane.kubectl("kustomize", str(installation))), HOME, ACCOUNT)


class Life:
    """One storage with `deletionPolicy: Delete` and a CA in a ConfigMap, from the operator's start to its end."""

    def __init__(
        self, plane: ControlPlane, server: PostgresServer, authority: CertificateAuthority, operator: Operator
    ) -> None:
        self.server, self.authority, self.operator = server, authority, operator
        self.namespace = Namespace(plane, "rights")
        self.asked = 0

    def starts(self) -> None:
        self.operator.start()

    def provisions(self) -> None:
        url = self.server.admin_url().replace(self.server.host, "localhost")
        self.namespace.secret("pg-admin", {"CIPHER_PG_URL": url})
        self.namespace.apply("configmaps", "pg-ca", {"data": {"ca.crt": self.authority.certificate.read_text()}})
        connection = {
            "secretRef": {"name": "pg-admin"},
            "sslMode": "verify-full",
            "caRef": {"kind": "ConfigMap", "name": "pg-ca"},
        }
        spec = {"database": {"name": "rights"}, "app": {"caPath": "/etc/cipher/ca.crt"}, "deletionPolicy": "Delete"}
        self.namespace.storage("chat", {"connection": connection, **spec})
        self.namespace.wait_ready("chat")

    def rotates(self) -> None:
        before = self.namespace.app_secret("chat")["username"]
        self.namespace.annotate("chat", "rotate-requested-at", "1")
        wait_until(lambda: self.namespace.app_secret("chat")["username"] != before, "the password is rotated")

    def mends_the_app_secret(self) -> None:
        self.namespace.apply("secrets", "chat-cipher", {"stringData": {"host": "elsewhere"}})
        wait_until(lambda: self.namespace.app_secret("chat")["host"] == "localhost", "the app Secret is mended")

    def makes_the_app_secret_anew(self) -> None:
        before = self.namespace.get("secrets", "chat-cipher")
        assert before is not None
        self.namespace.delete("secrets", "chat-cipher")

        def anew() -> bool:
            now = self.namespace.get("secrets", "chat-cipher")
            return now is not None and now["metadata"]["uid"] != before["metadata"]["uid"]

        wait_until(anew, "the app Secret is there again")
        self.namespace.wait_ready("chat")

    def heals_drift_twice(self) -> None:
        for request in ("1", "2"):
            self.server.execute("DROP INDEX public.idx_cipher_lists_key", database="rights")
            self.namespace.annotate("chat", "reconcile-requested-at", request)
            wait_until(lambda: self.namespace.handled("chat").get("reconcile") == request, "it was looked at")  # noqa: B023

    def shares_a_server(self) -> None:
        """The platform team's side, and a tenant whose namespace is let in by a label."""
        url = self.server.admin_url().replace(self.server.host, "localhost")
        self.platform("Secret", "prod-admin", stringData={"CIPHER_PG_URL": url})
        self.platform("ConfigMap", "prod-ca", data={"ca.crt": self.authority.certificate.read_text()})
        connection = {
            "secretRef": {"name": "prod-admin"},
            "sslMode": "verify-full",
            "caRef": {"kind": "ConfigMap", "name": "prod-ca"},
        }
        allowed = {"from": "Selector", "selector": {"matchLabels": {"cipher": "yes"}}}
        spec = {"connection": connection, "allowedNamespaces": allowed, "limits": {"deletionPolicies": ["Delete"]}}
        self.kubectl("apply", "-f", "-", given=json.dumps(SERVER | {"spec": spec}))
        self.namespace.storage(
            "shared",
            {
                "connection": {"serverRef": {"name": "prod"}},
                "app": {"caPath": "/etc/cipher/ca.crt"},
                "deletionPolicy": "Delete",
            },
        )
        wait_until(
            lambda: self.namespace.condition("shared").get("reason") == "ServerNotAvailable", "nobody let it in yet"
        )
        self.kubectl("label", "namespace", self.namespace.name, "cipher=yes")
        self.namespace.wait_ready("shared")
        wait_until(lambda: IN_USE in self.kubectl("get", "cserver", "prod", "-o", "yaml"), "the server is held")

    def takes_the_server_away(self) -> None:
        self.kubectl("delete", "cserver", "prod", "--wait=false")
        self.namespace.delete("cipherstorages", "shared")
        wait_until(lambda: not self.kubectl("get", "cserver", "-o", "name"), "server and tenant are gone")

    def platform(self, kind: str, name: str, **content: object) -> None:
        body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": HOME}, **content}
        self.kubectl("apply", "-f", "-", given=json.dumps(body))

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        return self.namespace.plane.kubectl(*arguments, input=given)

    def drops(self) -> None:
        self.namespace.delete("cipherstorages", "chat")
        wait_until(lambda: self.namespace.get("cipherstorages", "chat") is None, "the storage is gone")

    def ends(self) -> None:
        self.operator.stop()


WATCHED = ("cipherstorages", "cipherservers", "namespaces", "secrets", "configmaps")
DRIVEN: dict[str, tuple[Callable[[Life], None], set[str]]] = {
    "start": (
        Life.starts,
        {
            *(f"{kind} {verb}" for kind in WATCHED for verb in ("list", "watch")),
            "namespaces get",
            "leases get",
            "leases create",
        },
    ),
    "a new storage": (
        Life.provisions,
        {
            "cipherstorages get",
            "cipherstorages patch",
            "cipherstorages/status patch",
            "secrets get",
            "secrets patch",
            "secrets create",
            "configmaps get",
            "events create",
        },
    ),
    "a rotation": (Life.rotates, {"secrets update"}),
    "drift of the app Secret": (Life.mends_the_app_secret, {"secrets update"}),
    "a deleted app Secret": (Life.makes_the_app_secret_anew, {"secrets create"}),
    "drift on the server, twice": (Life.heals_drift_twice, {"events patch"}),
    "a CipherServer and a tenant": (
        Life.shares_a_server,
        {"cipherservers get", "cipherservers patch", "cipherservers/status patch", "secrets patch"},
    ),
    "a CipherServer that is deleted": (Life.takes_the_server_away, {"cipherservers patch", "cipherservers list"}),
    "a deletion with policy Delete": (Life.drops, {"cipherstorages patch", "secrets patch"}),
    "the end": (Life.ends, {"leases update"}),
}
"""What drives each right, in the order in which it happens."""


def _drive(life: Life, plane: ControlPlane, behaviour: str) -> None:
    """Have it happen, and see that it asked for what its row says."""
    act, expected = DRIVEN[behaviour]
    act(life)

    def since() -> set[str]:
        return {f"{each.resource} {each.verb}" for each in plane.audit.requests()[life.asked :]}

    wait_until(lambda: expected <= since(), lambda: f"{behaviour}: {sorted(expected - since())} was asked for")
    life.asked = len(plane.audit.requests())


def test_every_right_is_used_every_request_has_its_right_and_none_is_refused(
    plane: ControlPlane,
    rights: frozenset[Right],
    certificate_authority: CertificateAuthority,
    postgres_server: Callable[..., PostgresServer],
    tmp_path: Path,
) -> None:
    before = len(plane.audit.requests())
    server = postgres_server(16, tls=certificate_authority.server())
    flags = ("--leader-election", f"--leader-election-namespace={HOME}", f"--server-secrets-namespace={HOME}")
    operator = Operator(plane, tmp_path, *flags)
    life = Life(plane, server, certificate_authority, operator)
    life.asked = before
    try:
        for behaviour in DRIVEN:
            _drive(life, plane, behaviour)
    finally:
        operator.stop()
    asked = plane.audit.requests()[before:]
    found = compare(rights - ASKED_BY_ADMISSION, asked)
    print(f"{len(asked)} requests, {len(found.used)} rights used")
    assert found.equal, str(found)
    assert _fenced_off(asked) == []


def _fenced_off(asked: list[Request]) -> list[str]:
    return [f"{each.verb} {each.uri}: {each.said}" for each in asked if "ValidatingAdmissionPolicy" in each.said]


def test_each_right_that_is_granted_has_a_row() -> None:
    """The manifests as built by kustomize are compared above; here the names alone, with no cluster."""
    given = granted(documents((MANIFESTS / "base" / "rbac.yaml").read_text()), HOME, ACCOUNT) - ASKED_BY_ADMISSION
    assert {f"{each.resource} {each.verb}" for each in given} == set().union(*(row for _, row in DRIVEN.values()))


def _refusal(plane: ControlPlane, folder: Path, body: object) -> str:
    """Return what the API server says against this object of the operator's account, empty where it takes it."""
    account = plane.kubeconfig_for_service_account(HOME, ACCOUNT, folder / "account")
    try:
        plane.kubectl("create", "-f", "-", "--dry-run=server", input=json.dumps(body), kubeconfig=account)
    except KubectlError as error:
        return error.stderr
    return ""


def test_without_the_right_to_its_finalizers_a_storage_owns_no_secret(plane: ControlPlane, tmp_path: Path) -> None:
    namespace = Namespace(plane, "owners")
    storage = namespace.storage("chat")
    owner = {key: storage[key] for key in ("apiVersion", "kind")}
    owner |= {"name": "chat", "uid": storage["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True}
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "servicebinding.io/postgresql",
        "metadata": {
            "name": "chat-cipher",
            "namespace": namespace.name,
            "labels": {"app.kubernetes.io/managed-by": ACCOUNT},
            "ownerReferences": [owner],
        },
    }
    assert _refusal(plane, tmp_path, body) == ""
    role = yaml.safe_load(plane.kubectl("get", "clusterrole", ACCOUNT, "-o", "yaml"))
    kept = [rule for rule in role["rules"] if "cipherstorages/finalizers" not in rule["resources"]]
    assert len(kept) == len(role["rules"]) - 1
    try:
        plane.kubectl("patch", "clusterrole", ACCOUNT, "--type=merge", "-p", json.dumps({"rules": kept}))
        # The API server notices a moment later.
        wait_until(lambda: "blockOwnerDeletion" in _refusal(plane, tmp_path, body), "the Secret is refused")
    finally:
        rules = json.dumps({"rules": role["rules"]})
        plane.kubectl("patch", "clusterrole", ACCOUNT, "--type=merge", "-p", rules)
    wait_until(lambda: _refusal(plane, tmp_path, body) == "", "the right is back")
