"""overlays/servers-only: an operator that finds no Secret outside its own namespace, and serves tenants."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devcluster import ControlPlane, PostgresServer
from devcluster.tls import CertificateAuthority
from e2e.test_rights import ACCOUNT, HOME, USER, Life
from manifests.manifest_files import documents
from support.cluster import ROOT, Operator, wait_until
from support.rights import ASKED_BY_ADMISSION, compare, granted

OVERLAY = ROOT / "manifests" / "overlays" / "servers-only"

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    flags = ("--enable-admission-plugins=OwnerReferencesPermissionEnforcement",)
    with ControlPlane(apiserver_flags=flags, audited=(USER,)) as running:
        running.kubectl("apply", "-k", str(ROOT / "crds"))
        running.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
        running.kubectl("apply", "-k", str(OVERLAY))
        yield running


def flags_of_the_overlay(plane: ControlPlane) -> tuple[str, ...]:
    """Return what its Deployment sets, as flags."""
    built = documents(plane.kubectl("kustomize", str(OVERLAY)))
    (deployment,) = (each for each in built if each["kind"] == "Deployment")
    variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    prefix = "CIPHER_OPERATOR_"
    named = {each["name"].removeprefix(prefix): each["value"] for each in variables if each["name"].startswith(prefix)}
    return tuple(f"--{name.lower().replace('_', '-')}={value}" for name, value in named.items())


def test_a_whole_life_needs_what_it_has_and_finds_no_secret(
    plane: ControlPlane,
    certificate_authority: CertificateAuthority,
    postgres_server: Callable[..., PostgresServer],
    tmp_path: Path,
) -> None:
    before = len(plane.audit.requests())
    server = postgres_server(16, tls=certificate_authority.server())
    home = (f"--server-secrets-namespace={HOME}", f"--leader-election-namespace={HOME}", "--leader-election")
    operator = Operator(plane, tmp_path, *flags_of_the_overlay(plane), *home)
    life = Life(plane, server, certificate_authority, operator)
    space = life.namespace
    try:
        life.starts()
        life.shares_a_server()
        published = space.app_secret("shared")
        space.annotate("shared", "rotate-requested-at", "1")
        wait_until(lambda: space.app_secret("shared")["username"] != published["username"], "the password is rotated")
        database = published["database"]
        for request in ("1", "2"):
            server.execute("DROP INDEX public.idx_cipher_lists_key", database=database)
            space.annotate("shared", "reconcile-requested-at", request)
            wait_until(lambda: space.handled("shared").get("reconcile") == request, "it was looked at")  # noqa: B023
        space.delete("secrets", "shared-cipher")
        space.annotate("shared", "reconcile-requested-at", "3")
        wait_until(lambda: space.get("secrets", "shared-cipher") is not None, "a check makes the app Secret anew")
        space.wait_ready("shared")
        life.takes_the_server_away()
    finally:
        operator.stop()
    asked = plane.audit.requests()[before:]
    rights = granted(documents(plane.kubectl("kustomize", str(OVERLAY))), HOME, ACCOUNT) - ASKED_BY_ADMISSION
    found = compare(rights, asked)
    print(f"{len(asked)} requests, {len(found.used)} rights used")
    assert found.equal, str(found)
    looked = {each.namespace for each in asked if each.resource == "secrets" and each.verb in ("list", "watch")}
    assert looked == {HOME}


def test_a_storage_with_a_secret_of_its_own_is_refused_at_apply(plane: ControlPlane) -> None:
    body = {
        "apiVersion": "storage.cipher.dev/v1alpha1",
        "kind": "CipherStorage",
        "metadata": {"name": "own", "namespace": "default"},
        "spec": {"connection": {"secretRef": {"name": "pg-admin"}}},
    }
    with pytest.raises(Exception, match="must name a CipherServer in `serverRef`"):
        plane.kubectl("apply", "-f", "-", input=json.dumps(body))
