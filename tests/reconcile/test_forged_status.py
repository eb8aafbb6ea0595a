"""A tenant who may write statuses: what counts beyond his own storage is asked of the server, or stands in the spec."""

import re
from pathlib import Path
from typing import Any

import pytest

from cipher_operator.api.names import FINALIZER, derived_name
from support.runs import NAMESPACE
from support.tenants import PROD, Tenants

EVIL = "evil"
PLATFORM_PAGE = Path(__file__).parents[2] / "docs" / "platform-teams.md"
FEW = {"from": "Selector", "names": [NAMESPACE]}


def database_of(namespace: str, name: str) -> str:
    return derived_name(f"{namespace}_{name}", namespace, name, 63)


def databases(tenants: Tenants) -> set[str]:
    return {name for (name,) in tenants.sql("SELECT datname FROM pg_database")}


async def test_who_empties_the_statuses_of_those_that_stand_has_no_more_places(tenants: Tenants) -> None:
    """Each older one that names the server would be told that nobody stands there."""
    tenants.platform(limits={"storages": 2})
    tenants.label(NAMESPACE)
    names = ("a", "b", "c", "d", "e")
    for name in names:
        tenants.api.storage(name, {"connection": {"serverRef": {"name": "another"}}})
    for name in reversed(names):
        tenants.spec(name, connection={"serverRef": {"name": PROD}})
        for _ in range(2):
            await tenants.look(name)
        for each in names:
            tenants.forget(each)
    made = {name for name in names if database_of(NAMESPACE, name) in databases(tenants)}
    assert made == {"d", "e"}


async def test_a_place_is_free_again_when_who_stood_there_is_gone(tenants: Tenants) -> None:
    """What `Retain` left on the server takes none."""
    tenants.platform(limits={"storages": 1})
    tenants.label(NAMESPACE)
    tenants.api.storage("a", {"connection": {"serverRef": {"name": "another"}}})
    await tenants.ready_tenant("b")
    tenants.spec("a", connection={"serverRef": {"name": PROD}})
    assert await tenants.look("a") == ("False", "LimitExceeded")
    tenants.api.delete("cipherstorages", "b")
    await tenants.look("b")
    assert await tenants.look("a") == ("True", "Ready")
    assert {database_of(NAMESPACE, name) for name in ("a", "b")} <= databases(tenants)
    (statement,) = re.findall(r"```sql\n(SELECT .*?)```", PLATFORM_PAGE.read_text(), re.DOTALL)
    assert tenants.sql(statement) == [(NAMESPACE, name, database_of(NAMESPACE, name)) for name in ("a", "b")]


@pytest.mark.parametrize("recreates", [False, True], ids=["", "and asks to begin again"])
async def test_a_server_that_is_being_deleted_lets_nobody_in_for_his_status(tenants: Tenants, recreates: bool) -> None:
    tenants.platform()
    await tenants.ready_tenant("old")
    await tenants.look_at_server()
    tenants.api.delete("cipherservers", PROD, namespace="")
    before = tenants.there()
    tenants.tenant()
    tenants.forge(database_of(NAMESPACE, "chat"))
    if recreates:
        tenants.ask("recreate")
    for _ in range(2):
        assert await tenants.look() == ("False", "LimitExceeded")
    assert "is being deleted and takes no new storage" in tenants.text()
    assert tenants.there() == before
    assert await tenants.look("old") == ("True", "Ready"), "who stands there goes on"
    assert "takes no new storage" not in tenants.text("old")


@pytest.mark.parametrize("stands", [False, True], ids=["forged", "what was made there"])
async def test_from_outside_a_server_is_held_for_what_stands_on_it_alone(tenants: Tenants, stands: bool) -> None:
    tenants.platform(limits={"deletionPolicies": ["Delete", "Retain"]})
    if stands:
        await tenants.ready_tenant("mine", EVIL, deletionPolicy="Delete")
    else:
        tenants.tenant("mine", EVIL, deletionPolicy="Delete")
    tenants.change_server(allowedNamespaces=FEW)
    await tenants.look("mine", EVIL)
    await tenants.ready_tenant()
    await tenants.look_at_server()
    assert tenants.held("cipherservers", PROD)
    if not stands:
        tenants.api.change("cipherstorages", "mine", {"metadata": {"finalizers": [FINALIZER]}}, namespace=EVIL)
        tenants.forge(database_of(EVIL, "mine"), "mine", EVIL)
    tenants.api.delete("cipherstorages", "chat")
    await tenants.look()
    tenants.api.delete("cipherservers", PROD, namespace="")
    await tenants.look_at_server()
    assert (tenants.api.read("cipherservers", PROD, namespace="") is not None) == stands


async def test_from_outside_a_server_that_does_not_answer_is_held_for_who_says_so(tenants: Tenants) -> None:
    """What is there cannot be known: without the server nothing could be dropped any more."""
    tenants.platform(limits={"deletionPolicies": ["Delete"]})
    await tenants.ready_tenant("mine", EVIL, deletionPolicy="Delete")
    tenants.change_server(allowedNamespaces=FEW)
    await tenants.look("mine", EVIL)
    tenants.change_server(connection={"secretRef": {"name": "prod-admin", "keys": {"url": "NONE"}}})
    tenants.api.delete("cipherservers", PROD, namespace="")
    await tenants.look_at_server()
    assert tenants.held("cipherservers", PROD)


@pytest.mark.parametrize("by", ["spec", "status", "adoptFrom"])
async def test_a_deletion_tells_nobody_whether_there_is_a_database(tenants: Tenants, by: str) -> None:
    """Our finalizer can be put on by whoever makes a storage: then its deletion is carried out, whatever it names."""
    tenants.platform(limits={"deletionPolicies": ["Delete"], "adoption": by == "adoptFrom"})
    tenants.sql("CREATE DATABASE theirs_12345678")
    tenants.sql("CREATE DATABASE closed_12345678 ALLOW_CONNECTIONS false")
    told = set()
    before = tenants.there()
    for number, database in enumerate(("nowhere_12345678", "theirs_12345678", "closed_12345678")):
        name = f"chat{number}"
        spec: dict[str, Any] = {"deletionPolicy": "Delete"}
        if by != "status":
            spec["database"] = {"name": database}
        if by == "adoptFrom":
            spec["adoptFrom"] = {"instance": "instance-1", "namespace": NAMESPACE, "name": "gone"}
        tenants.tenant(name, **spec)
        if by == "status":
            tenants.forge(database, name)
        tenants.api.change("cipherstorages", name, {"metadata": {"finalizers": [FINALIZER]}})
        tenants.api.delete("cipherstorages", name)
        await tenants.look(name)
        status = tenants.api.status(name) if tenants.api.read("cipherstorages", name) else {}
        said = tenants.api.events(name)
        told.add(f"{said} {status.get('conditions')}".replace(database, "X").replace(name, "N"))
    assert len(told) == 1, told
    assert tenants.there() == before
