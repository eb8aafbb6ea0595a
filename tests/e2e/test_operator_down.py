"""What is done while no operator runs is made right by its next start, each row without another change.

All rows are played in one outage. Nothing is looked at by interval meanwhile: that is an hour.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
import yaml

from devcluster import ControlPlane, PostgresServer
from support.cluster import ROOT, Namespace, Operator, install, wait_until

CRD_FILE = ROOT / "crds" / "storage.cipher.dev_cipherstorages.yaml"


@pytest.fixture(scope="module")
def operator_flags() -> tuple[str, ...]:
    return ("--interval", "1h")


@dataclass
class Outage:
    """One storage of a name of its own for each row, and what a row saw before."""

    namespace: Namespace
    server: PostgresServer
    operator: Operator
    seen: dict[str, Any] = field(default_factory=dict)

    def user(self, name: str) -> str:
        return f"{self.namespace.name}_{name}".replace("-", "_")

    def create(self, name: str, **spec: Any) -> None:
        """Create a storage with a connection Secret, a database and a login of its own."""
        self.namespace.admin_secret(self.server, f"{name}-admin")
        user = {"name": self.user(name), "connectionLimit": 3}
        connection = {"secretRef": {"name": f"{name}-admin"}}
        self.namespace.storage(
            name, {"connection": connection, "database": {"name": self.user(name)}, "user": user, **spec}
        )

    def change(self, name: str, **spec: Any) -> None:
        self.namespace.patch(name, {"spec": spec})

    def get(self, name: str) -> dict[str, Any]:
        return self.namespace.get("cipherstorages", name) or {}

    def on_the_server(self, name: str) -> set[str]:
        """Return which of its roles and databases exist."""
        rows = self.server.execute("SELECT rolname FROM pg_roles UNION ALL SELECT datname FROM pg_database")
        user = self.user(name)
        return {str(row[0]) for row in rows} & {user, f"{user}_b", f"{user}_owner"}

    def looked_at(self, name: str, word: str) -> bool:
        """Return whether the operator's log says this of a storage."""
        about = f"{self.namespace.name}/{name}"
        return any(word in line and f'"{about}"' in line for line in self.operator.log().splitlines())

    def limit(self, name: str) -> int:
        ((limit,),) = self.server.execute("SELECT rolconnlimit FROM pg_roles WHERE rolname = %s", [self.user(name)])
        return int(limit)

    def ready(self, name: str) -> bool:
        """Return whether Ready is True for the present generation, and the published login works."""
        storage, found = self.get(name), self.namespace.condition(name)
        if found.get("status") != "True" or found["observedGeneration"] != storage["metadata"]["generation"]:
            return False
        psycopg.connect(self.namespace.app_secret(name)["uri"]).close()
        return True


@dataclass(frozen=True)
class Row:
    """`act` is done during the outage; `right` is what must come true after it. `before` makes the storage, Ready
    before the outage; None where there is none yet."""

    act: Callable[[Outage, str], None]
    right: Callable[[Outage, str], bool]
    before: dict[str, Any] | None = field(default_factory=dict)


def gone(outage: Outage, name: str) -> bool:
    return not outage.get(name) and not outage.on_the_server(name)


def let_go(outage: Outage, name: str) -> bool:
    """It is gone, its app Secret with it, and the login stays valid."""
    namespace = outage.namespace
    if outage.get(name) or namespace.get("secrets", f"{name}-cipher") is not None:
        return False
    psycopg.connect(outage.seen[name]["uri"]).close()
    return True


def note_and_delete(outage: Outage, name: str) -> None:
    outage.seen[name] = outage.namespace.app_secret(name)
    outage.namespace.delete("cipherstorages", name)


def lose_the_app_secret(outage: Outage, name: str) -> None:
    outage.seen[name] = outage.namespace.app_secret(name)
    outage.namespace.delete("secrets", f"{name}-cipher")


def another_login_and_the_one_before(outage: Outage, name: str) -> bool:
    if outage.namespace.get("secrets", f"{name}-cipher") is None or not outage.ready(name):
        return False
    before = outage.seen[name]
    psycopg.connect(before["uri"]).close()
    return bool(outage.namespace.app_secret(name)["username"] != before["username"])


def create_and_delete(outage: Outage, name: str) -> None:
    outage.create(name, deletionPolicy="Delete")
    outage.namespace.delete("cipherstorages", name)


def delete_with_force(outage: Outage, name: str) -> None:
    outage.namespace.annotate(name, "force-delete", "true")
    note_and_delete(outage, name)


def delete_and_make_anew(outage: Outage, name: str) -> None:
    outage.seen[name] = outage.get(name)["metadata"]["uid"]
    outage.namespace.delete("cipherstorages", name)
    outage.create(name)


def suspend_and_drift(outage: Outage, name: str) -> None:
    outage.seen[name] = outage.get(name)["status"]
    outage.change(name, suspend=True)
    outage.server.execute("DROP TABLE cipher_lists", database=outage.user(name))


def left_alone(outage: Outage, name: str) -> bool:
    if not outage.looked_at(name, "suspended by spec.suspend"):
        return False
    rows = outage.server.execute("SELECT to_regclass('cipher_lists')", database=outage.user(name))
    return rows == [(None,)] and outage.get(name)["status"] == outage.seen[name]


def older_crd() -> dict[str, Any]:
    """Return the CRD as a version before this one may have been: without a column and a field that has a default."""
    document: dict[str, Any] = copy.deepcopy(yaml.safe_load(CRD_FILE.read_text()))
    (version,) = document["spec"]["versions"]
    columns = version["additionalPrinterColumns"]
    version["additionalPrinterColumns"] = [each for each in columns if each["name"] != "Suspended"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    del spec["adoptionPolicy"]
    return document


def replace_crd(plane: ControlPlane, document: dict[str, Any]) -> None:
    plane.kubectl("replace", "-f", "-", input=yaml.safe_dump(document))


def stored_by_the_older(outage: Outage, name: str) -> bool:
    """It is Ready under the newer schema, whose default it has got, and its status was not written for that."""
    storage = outage.get(name)
    return outage.ready(name) and storage["spec"]["adoptionPolicy"] == "Never"


ROWS: dict[str, Row] = {
    "created": Row(lambda outage, name: outage.create(name), lambda outage, name: outage.ready(name), None),
    "created and deleted, Delete": Row(create_and_delete, gone, None),
    "the spec changed": Row(
        lambda outage, name: outage.change(name, user={"connectionLimit": 5}),
        lambda outage, name: outage.ready(name) and outage.limit(name) == 5,
    ),
    "the spec became invalid for this server": Row(
        lambda outage, name: outage.change(name, extensions=[{"name": "hstore"}]),
        lambda outage, name: outage.namespace.condition(name)["reason"] == "InvalidSpec",
    ),
    "deleted, Delete": Row(note_and_delete, gone, {"deletionPolicy": "Delete"}),
    "deleted, Retain": Row(note_and_delete, let_go),
    "deleted and created again, Retain": Row(
        delete_and_make_anew,
        lambda outage, name: outage.ready(name) and outage.get(name)["metadata"]["uid"] != outage.seen[name],
    ),
    "deleted with force": Row(delete_with_force, let_go, {"deletionPolicy": "Delete"}),
    "the connection Secret changed": Row(
        lambda outage, name: outage.namespace.secret(
            f"{name}-admin", {"CIPHER_PG_URL": outage.server.admin_url(sslmode="disable", max_connections="7")}
        ),
        lambda outage, name: (
            outage.ready(name) and "max_connections=7" in outage.namespace.app_secret(name)["CIPHER_PG_URL"]
        ),
    ),
    "the connection Secret was deleted": Row(
        lambda outage, name: outage.namespace.delete("secrets", f"{name}-admin"),
        lambda outage, name: outage.namespace.condition(name)["reason"] == "SecretNotFound",
    ),
    "the app Secret was deleted": Row(lose_the_app_secret, another_login_and_the_one_before),
    "asked for a new password": Row(
        lambda outage, name: outage.namespace.annotate(name, "rotate-requested-at", "1"),
        lambda outage, name: outage.ready(name) and outage.namespace.handled(name) == {"rotate": "1"},
    ),
    "suspended": Row(suspend_and_drift, left_alone),
    "turned to Observe": Row(
        lambda outage, name: outage.change(name, managementPolicy="Observe"),
        lambda outage, name: (
            outage.namespace.condition(name)["reason"] == "Observed"
            and "finalizers" not in outage.get(name)["metadata"]
        ),
        {"deletionPolicy": "Delete"},
    ),
    "the CRD became a newer one": Row(lambda outage, name: install(outage.namespace.plane), stored_by_the_older),
}


def _name(row: str) -> str:
    return f"s{list(ROWS).index(row)}"


@pytest.fixture(scope="module")
def outage(cluster: ControlPlane, operator: Operator, server: PostgresServer) -> Iterator[Outage]:
    """All storages after an outage in which every row was played."""
    operator.stop()
    replace_crd(cluster, older_crd())
    operator.start()
    made = Outage(Namespace(cluster, "outage"), server, operator)
    try:
        for row, what in ROWS.items():
            if what.before is not None:
                made.create(_name(row), **what.before)
        for row, what in ROWS.items():
            if what.before is not None:
                made.namespace.wait_ready(_name(row))
        operator.stop()
        for row, what in ROWS.items():
            what.act(made, _name(row))
    finally:
        install(cluster)
    operator.start()
    yield made
    made.namespace.let_go()


@pytest.mark.parametrize("row", list(ROWS))
def test_the_next_start_makes_it_right(outage: Outage, row: str) -> None:
    name = _name(row)
    wait_until(
        lambda: ROWS[row].right(outage, name),
        lambda: f"it is made right; it says {outage.namespace.condition(name)}",
    )
