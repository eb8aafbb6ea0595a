"""The CRD of before CipherServer, with objects in etcd, and then the one of today over it."""

import json
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from devcluster import ControlPlane, KubectlError
from support import crd
from support.storages import MINIMAL, Storages

EARLIER = Path(__file__).parent / "earlier" / "cipherstorages_before_servers.yaml"
GROUP = "storage.upgraded.dev"
"""Of its own: the CRD of today is shared with other tests."""
NAMESPACE = "crd-upgrade"
APPLIES = [pytest.param((), id="client-side"), pytest.param(("--server-side",), id="server-side")]
FULL: dict[str, Any] = {
    "connection": {
        "secretRef": {"name": "pg", "keys": {"url": "DATABASE_URL"}},
        "sslMode": "verify-full",
        "caRef": {"name": "ca"},
    },
    "database": {"name": "d"},
    "schema": "cipher",
    "user": {"name": "u", "connectionLimit": 5},
    "extensions": [{"name": "vector"}],
    "app": {"caPath": "/ca.crt", "labels": {"a": "b"}, "verify": "Always"},
    "passwordRotation": {"interval": "720h"},
    "interval": "5m",
    "deletionPolicy": "Delete",
}
STORED: dict[str, dict[str, Any]] = {
    "least": MINIMAL,
    "full": FULL,
    "shared": crd.changed(MINIMAL, {"user.mode": "Shared"}),
}
STATUS = {"observedGeneration": 1, "database": "d", "user": "u", "binding": {"name": "x-cipher"}}
SERVED: dict[str, Any] = {"connection": {"serverRef": {"name": "eu"}}}


def _moved(text: str) -> str:
    return text.replace("storage.cipher.dev", GROUP)


@pytest.fixture(scope="module")
def upgraded(installed: ControlPlane) -> Iterator[Storages]:
    """Storages that were made under the earlier CRD, by each kind of apply, and the CRD of today applied since."""
    name = f"crd/cipherstorages.{GROUP}"
    installed.kubectl("create", "namespace", NAMESPACE)
    installed.kubectl("apply", "-f", "-", input=_moved(EARLIER.read_text()))
    installed.kubectl("wait", "--for=condition=Established", name)
    storages = Storages(installed.client(), NAMESPACE, group=GROUP)
    assert _items(storages) == []
    for kind, spec in STORED.items():
        finalizers = [f"{GROUP}/finalizer"]
        for apply in ((), ("--server-side",)):
            made = storages.new(spec, name=_name(kind, apply), finalizers=finalizers)
            installed.kubectl("-n", NAMESPACE, "apply", *apply, "-f", "-", input=json.dumps(made))
    before = {item["metadata"]["name"]: item for item in _items(storages)}
    assert not storages.try_create(SERVED).accepted, "the earlier CRD does not know it"
    installed.kubectl("apply", "-f", "-", input=_moved(crd.path_of().read_text()))
    deadline = time.monotonic() + 20
    while not storages.try_create(SERVED).accepted:
        assert time.monotonic() < deadline, "the CRD of today has no effect"
        time.sleep(0.05)
    # Nothing that is stored changes by the upgrade alone.
    assert {item["metadata"]["name"]: item for item in _items(storages)} == before
    yield storages
    for item in _items(storages):
        item["metadata"]["finalizers"] = []
        storages.request("PUT", f"{storages.path}/{item['metadata']['name']}", item)
    installed.kubectl("delete", name)
    installed.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def _items(storages: Storages) -> list[dict[str, Any]]:
    """Return what is stored, as soon as it is served: after a change of the CRD the answer is 429 for a moment."""
    deadline = time.monotonic() + 20
    while not (answer := storages.request("GET", storages.path)).accepted:
        assert time.monotonic() < deadline, answer
        time.sleep(0.05)
    return list(answer.body["items"])


def _name(kind: str, apply: tuple[str, ...]) -> str:
    return f"{kind}-{'server' if apply else 'client'}"


def _apply(plane: ControlPlane, storages: Storages, name: str, spec: dict[str, Any], *flags: str) -> dict[str, Any]:
    made = storages.new(spec, name=name, finalizers=[f"{GROUP}/finalizer"])
    plane.kubectl("-n", NAMESPACE, "apply", *flags, "-f", "-", input=json.dumps(made))
    return dict(storages.get(name))


@pytest.mark.parametrize("apply", APPLIES)
@pytest.mark.parametrize("kind", STORED)
def test_the_same_manifest_changes_nothing(
    upgraded: Storages, installed: ControlPlane, kind: str, apply: tuple[str, ...]
) -> None:
    name = _name(kind, apply)
    made = json.dumps(upgraded.new(STORED[kind], name=name, finalizers=[f"{GROUP}/finalizer"]))
    installed.kubectl("-n", NAMESPACE, "diff", *apply, "-f", "-", input=made)
    before = upgraded.get(name)
    assert _apply(installed, upgraded, name, STORED[kind], *apply)["spec"] == before["spec"]
    assert upgraded.get(name)["metadata"]["generation"] == before["metadata"]["generation"] == 1


@pytest.mark.parametrize("kind", STORED)
def test_status_is_written_and_the_finalizer_goes(upgraded: Storages, kind: str) -> None:
    made = deepcopy(dict(upgraded.get(_name(kind, ()))))
    written = upgraded.write_status(made, STATUS)
    assert written.accepted, written.causes
    released = deepcopy(dict(written.body))
    released["metadata"]["finalizers"] = []
    answer = upgraded.request("PUT", f"{upgraded.path}/{_name(kind, ())}?dryRun=All", released)
    assert answer.accepted, answer.causes


def test_what_was_defaulted_then_stays_and_new_ones_are_left_open(upgraded: Storages) -> None:
    # A default that is stored would hide that of a CipherServer.
    old, new = upgraded.get("least-client")["spec"], upgraded.try_create(MINIMAL).body["spec"]
    assert (old["user"]["connectionLimit"], old["app"]["verify"]) == (-1, "IfReachable")
    assert "connectionLimit" not in new["user"] and "verify" not in new["app"]


@pytest.mark.parametrize("apply", APPLIES)
@pytest.mark.parametrize("kind", ["least", "full"])
def test_to_a_server_and_back_in_one_apply_each(
    upgraded: Storages, installed: ControlPlane, kind: str, apply: tuple[str, ...]
) -> None:
    name, before = _name(kind, apply), STORED[kind]
    upgraded.write_status(upgraded.get(name), STATUS)
    there = _apply(installed, upgraded, name, {**before, **SERVED}, *apply)
    assert there["spec"]["connection"] == SERVED["connection"]
    back = _apply(installed, upgraded, name, before, *apply)
    filled = crd.with_defaults(before, crd.schema("spec"))
    assert back["spec"]["connection"] == filled["connection"]
    assert back["status"] == there["status"] == STATUS
    assert back["metadata"]["generation"] == there["metadata"]["generation"] + 1


def test_shared_does_not_go_to_a_server(upgraded: Storages, installed: ControlPlane) -> None:
    with pytest.raises(KubectlError, match=r"spec\.user\.mode: Forbidden: may not be 'Shared' when"):
        _apply(installed, upgraded, "shared-client", {**STORED["shared"], **SERVED})


def test_a_second_manager_that_names_the_secret_too_must_let_go_first(
    upgraded: Storages, installed: ControlPlane
) -> None:
    flags = {who: ("--server-side", f"--field-manager={who}") for who in ("git", "person")}
    for who in flags.values():
        _apply(installed, upgraded, "owned-by-two", dict(MINIMAL), *who)
    assert upgraded.get("owned-by-two")["metadata"]["generation"] == 1
    with pytest.raises(KubectlError, match=r"spec\.connection\.secretRef: Forbidden: may not be specified when"):
        _apply(installed, upgraded, "owned-by-two", SERVED, *flags["git"])
    installed.kubectl("-n", NAMESPACE, "apply", *flags["person"], "-f", "-", input=json.dumps(
        {**upgraded.new({}, name="owned-by-two"), "spec": {"interval": "10m"}}
    ))  # fmt: skip
    there = _apply(installed, upgraded, "owned-by-two", SERVED, *flags["git"])
    assert (there["spec"]["connection"], there["spec"]["interval"]) == (SERVED["connection"], "10m")


BOTH: dict[str, Any] = {"connection": {"secretRef": {"name": "pg"}, "serverRef": {"name": "eu"}, "host": "db"}}
NEITHER: dict[str, Any] = {"connection": {}}


@crd.takes_late_statuses
@pytest.mark.parametrize(
    ("stored", "mended"),
    [pytest.param(BOTH, SERVED, id="both"), pytest.param(NEITHER, MINIMAL, id="neither")],
)
def test_what_no_rule_let_in_is_finished_and_mended(
    upgraded: Storages, installed: ControlPlane, stored: dict[str, Any], mended: dict[str, Any]
) -> None:
    """As after a CRD was rolled back and forth: only `connection` itself must be mended when it is edited."""
    group = f"{'both' if stored is BOTH else 'neither'}.upgraded.dev"
    strict = json.loads(json.dumps(crd.document()).replace("storage.cipher.dev", group))
    loose = deepcopy(strict)
    for _, node in crd.nodes(loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"]):
        assert isinstance(node, dict)
        node.pop(crd.RULES, None)
    installed.kubectl("apply", "-f", "-", input=json.dumps(loose))
    installed.kubectl("wait", "--for=condition=Established", f"crd/{loose['metadata']['name']}")
    storages = Storages(installed.client(), NAMESPACE, group=group)
    assert _items(storages) == []
    made = storages.create(stored, name="bad", finalizers=[f"{group}/finalizer"]).body
    installed.kubectl("apply", "-f", "-", input=json.dumps(strict))
    deadline = time.monotonic() + 20
    while storages.try_create(stored).accepted:
        assert time.monotonic() < deadline, "the rules have no effect"
        time.sleep(0.05)
    assert _items(storages) == [made]
    made = storages.write_status(made, STATUS).body
    assert storages.try_update(made, {**made["spec"], "interval": "10m"}).accepted
    assert not storages.try_update(made, crd.changed(made["spec"], {"connection.port": 5432})).accepted
    assert storages.try_update(made, {**made["spec"], **mended}).accepted
    released = deepcopy(dict(made))
    released["metadata"]["finalizers"] = []
    assert storages.request("PUT", f"{storages.path}/bad", released).accepted
    installed.kubectl("delete", f"crd/{strict['metadata']['name']}")
