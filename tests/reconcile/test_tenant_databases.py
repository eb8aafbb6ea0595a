"""Which database a tenant's storage lives in: names that nobody chose, and his own data under another name."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from cipher_operator.api.names import derived_name
from support.runs import NAMESPACE
from support.tenants import PROD, Tenants

VICTIM = "victim"
PATTERN = {"databaseNames": "{namespace}_[a-z]*"}


def database_of(namespace: str, name: str, readable: str = "") -> str:
    return derived_name(readable or f"{namespace}_{name}", namespace, name, 63)


def message(tenants: Tenants, name: str = "chat") -> str:
    text: str = tenants.api.condition(name)["message"]
    return text


# A name that nobody chose.


@pytest.mark.parametrize("limits", [{}, PATTERN], ids=["no names are free", "names of a pattern are"])
async def test_a_name_of_a_connection_of_before_is_no_field_of_his(tenants: Tenants, limits: dict[str, Any]) -> None:
    tenants.platform(limits=limits)
    tenants.tenant()
    tenants.forge("team-7")
    assert await tenants.look() == ("False", "LimitExceeded")
    assert "`spec.database.name" not in message(tenants)
    assert "lives, as its status says, in database 'team-7'" in message(tenants)
    assert "`databaseNameTemplate` of the CipherServer does not yield" in message(tenants)
    assert "make a new CipherStorage, which gets a name of the template" in message(tenants)


async def test_a_derived_name_that_is_taken_is_for_whoever_runs_the_server(tenants: Tenants) -> None:
    tenants.sql(f"CREATE DATABASE {database_of(NAMESPACE, 'chat')}")
    tenants.platform()
    tenants.tenant()
    assert await tenants.look() == ("False", "LimitExceeded")
    assert "`spec.database.name" not in message(tenants)
    assert "whose name comes from `databaseNameTemplate` of the CipherServer" in message(tenants)
    assert f"Ask whoever runs CipherServer '{PROD}' to drop or rename that database" in message(tenants)


# What was derived stays.


@pytest.mark.parametrize("limits", [{}, PATTERN], ids=["no names are free", "names of a pattern are"])
async def test_another_template_is_for_new_storages_and_nothing_to_say(
    tenants: Tenants, limits: dict[str, Any]
) -> None:
    tenants.platform(limits=limits)
    await tenants.ready_tenant()
    before, ready = tenants.there(), message(tenants)
    tenants.change_server(databaseNameTemplate="t_{namespace}_{name}")
    assert await tenants.look() == ("True", "Ready")
    assert message(tenants) == ready
    assert tenants.there() == before
    await tenants.ready_tenant("late")
    assert tenants.api.status("late")["database"] == database_of(NAMESPACE, "late", "t_ns_late")


async def test_a_name_of_before_is_said_where_a_limit_refuses_it(tenants: Tenants) -> None:
    tenants.api.secret("pg-admin", {"CIPHER_PG_URL": tenants.server.admin_url(tenants.database, sslmode="disable")})
    tenants.api.storage("chat")
    await tenants.until(lambda: tenants.told() == ("True", "Ready"))
    tenants.platform()
    tenants.spec(connection={"serverRef": {"name": PROD}, "secretRef": None})
    assert await tenants.look() == ("True", "Ready")
    assert "limits" not in message(tenants), "no limit is set that it could exceed"
    tenants.change_server(limits=PATTERN)
    assert await tenants.look() == ("True", "Ready")
    assert message(tenants).count("`limits.databaseNames`") == 1
    assert "it goes on because it stood before (to make it anew, " in message(tenants)


# Their derived names end in the same digits: found in a second by trying names.
MINE, VICTIMS = "c17042", "c49615"


@pytest.mark.parametrize("existing", [False, True], ids=["", "existing databases allowed"])
@pytest.mark.parametrize("first", ["the victim", "the attacker"])
async def test_a_name_with_the_digits_of_anothers_is_not_had_by_a_forged_status(
    tenants: Tenants, first: str, existing: bool
) -> None:
    name = database_of("victim", VICTIMS)
    assert name.endswith(database_of(NAMESPACE, MINE)[-9:]), "else this shows nothing"
    tenants.platform(limits={"existingDatabases": existing})
    if first == "the victim":
        await tenants.ready_tenant(VICTIMS, "victim")
    before = tenants.there()
    tenants.tenant(MINE, schema="mine")
    tenants.forge(name, MINE)
    for again in (None, "1"):
        if again is not None:
            tenants.ask("recreate", again, MINE)
        for _ in range(3):
            status, _ = await tenants.look(MINE)
            assert status == "False"
    assert tenants.told(MINE) == ("False", "LimitExceeded")
    assert tenants.there() == before, "nothing is made, and nothing is changed"
    if first == "the attacker":
        await tenants.ready_tenant(VICTIMS, "victim")


async def test_a_storage_of_a_former_template_that_lost_its_data_is_told_so_and_begins_again(tenants: Tenants) -> None:
    tenants.platform()
    await tenants.ready_tenant()
    tenants.change_server(databaseNameTemplate="t_{namespace}_{name}")
    tenants.sql(f'DROP DATABASE "{database_of(NAMESPACE, "chat")}"')
    assert await tenants.look() == ("False", "DatabaseLost")
    tenants.ask("recreate")
    assert await tenants.look() == ("True", "Ready"), "its marker says that it stood there"


# His own data under another name.


def heir(**spec: Any) -> dict[str, Any]:
    """Return the spec of a storage that takes over what `chat` of its namespace has."""
    source = {"instance": "", "namespace": NAMESPACE, "name": "chat"} | spec.pop("adoptFrom", {})
    return {"database": {"name": database_of(NAMESPACE, "chat")}, "adoptFrom": source, **spec}


@pytest.fixture
def own(tenants: Tenants) -> Callable[..., dict[str, Any]]:
    def made(**spec: Any) -> dict[str, Any]:
        found = heir(**spec)
        found["adoptFrom"]["instance"] = found["adoptFrom"]["instance"] or tenants.instance
        return found

    return made


TEMPLATES = {"the same template": {}, "another template since": {"databaseNameTemplate": "t_{namespace}_{name}"}}


@pytest.mark.parametrize("change", TEMPLATES.values(), ids=TEMPLATES)
async def test_a_storage_is_renamed_with_its_data(
    tenants: Tenants, own: Callable[..., dict[str, Any]], change: dict[str, Any]
) -> None:
    tenants.platform(limits={"adoption": True})
    await tenants.ready_tenant()
    with tenants.app() as app:
        app.execute("INSERT INTO cipher_store VALUES ('k', 'v', now(), now())")
    tenants.api.delete("cipherstorages", "chat")
    await tenants.look()
    tenants.change_server(**change)
    await tenants.ready_tenant("talk", **own())
    with tenants.app("talk-cipher") as app:
        assert app.execute("SELECT value FROM cipher_store").fetchone() == ("v",)
    assert tenants.api.status("talk")["database"] == database_of(NAMESPACE, "chat")
    ready = message(tenants, "talk")
    assert "limits" not in ready
    tenants.seconds += 400
    tenants.restart()
    logins = tenants.counts.connections["admin"]
    assert await tenants.look("talk") == ("True", "Ready")
    assert tenants.counts.connections["admin"] == logins + 1
    assert message(tenants, "talk") == ready


async def test_a_renamed_storage_whose_data_is_gone_says_so(
    tenants: Tenants, own: Callable[..., dict[str, Any]]
) -> None:
    tenants.platform(limits={"adoption": True})
    await tenants.ready_tenant()
    await tenants.ready_tenant("talk", **own())
    tenants.sql(f"DROP DATABASE {database_of(NAMESPACE, 'chat')} WITH (FORCE)")
    assert await tenants.look("talk") == ("False", "DatabaseLost")


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
@pytest.mark.parametrize("last", ["", "once it has been renamed"])
async def test_a_storage_is_renamed_again_and_back(
    tenants: Tenants, own: Callable[..., dict[str, Any]], policy: str, last: str
) -> None:
    tenants.platform(limits={"adoption": True, "deletionPolicies": ["Retain", "Delete"]})
    await tenants.ready_tenant(deletionPolicy=policy)
    with tenants.app() as app:
        app.execute("INSERT INTO cipher_store VALUES ('k', 'v', now(), now())")
    for before, name in (("chat", "talk"), ("talk", "walk"), ("walk", "speak"), ("speak", "chat2")):
        if not last:
            tenants.api.change("cipherstorages", before, {"spec": {"deletionPolicy": "Retain"}})
            tenants.api.delete("cipherstorages", before)
            await tenants.look(before)
        tenants.change_server(databaseNameTemplate=f"{name}_{{namespace}}_{{name}}")
        await tenants.ready_tenant(name, **own(adoptFrom={"name": before}, deletionPolicy=policy))
        if last:
            assert await tenants.look(before) == ("False", "Conflict")
            tenants.api.delete("cipherstorages", before)
            await tenants.look(before)
            assert tenants.api.read("cipherstorages", before) is None
        with tenants.app(f"{name}-cipher") as app:
            assert app.execute("SELECT value FROM cipher_store").fetchone() == ("v",)
        assert await tenants.look(name) == ("True", "Ready")


async def test_what_was_inherited_is_not_had_from_whom_it_was_inherited_from(
    tenants: Tenants, own: Callable[..., dict[str, Any]]
) -> None:
    """The marker of `talk` speaks of the database still, and the tables are another's by now."""
    tenants.platform(limits={"adoption": True})
    await tenants.ready_tenant()
    await tenants.ready_tenant("talk", **own())
    await tenants.ready_tenant("walk", **own(adoptFrom={"name": "talk"}))
    before = tenants.there()
    tenants.tenant("late", **own(adoptFrom={"name": "talk"}))
    for _ in range(2):
        assert await tenants.look("late") == ("False", "LimitExceeded")
    assert tenants.there() == before
    assert await tenants.look("walk") == ("True", "Ready")


async def test_a_name_of_a_pattern_is_inherited_too(tenants: Tenants, own: Callable[..., dict[str, Any]]) -> None:
    tenants.platform(limits={"adoption": True, **PATTERN})
    await tenants.ready_tenant(database={"name": "ns_mine"})
    tenants.tenant("talk", database={"name": "ns_mine"})
    assert await tenants.look("talk") == ("False", "LimitExceeded")
    await tenants.ready_tenant("walk", **own(database={"name": "ns_mine"}))


@dataclass(frozen=True)
class Attempt:
    """What a tenant asks for in the name of a rename; `says` is what stops it."""

    spec: dict[str, Any]
    says: str
    limits: dict[str, Any] = field(default_factory=lambda: {"adoption": True})
    before: Callable[[Tenants], object] = lambda tenants: None


NOBODYS = database_of(NAMESPACE, "nobody")
DOES_NOT = "may be chosen only where it holds the data of the owner that `spec.adoptFrom` names"


def _with_tables_of_the_victim(tenants: Tenants) -> None:
    (owner,) = tenants.sql("SELECT rolname FROM pg_roles WHERE rolname ~ 'victim_chat.*_owner'")[0]
    tenants.sql(f"CREATE DATABASE {NOBODYS}")
    tenants.sql(f"CREATE TABLE cipher_store (key text); ALTER TABLE cipher_store OWNER TO {owner}", database=NOBODYS)


def _marked_elsewhere(tenants: Tenants) -> None:
    """His own owner role, whose marker is for another database, has a table here."""
    tenants.sql(f"CREATE DATABASE {database_of(NAMESPACE, 'chat', 'victim_chat')}")
    (owner,) = tenants.sql("SELECT rolname FROM pg_roles WHERE rolname ~ 'ns_chat.*_owner'")[0]
    tenants.sql(
        f"CREATE TABLE cipher_store (key text); ALTER TABLE cipher_store OWNER TO {owner}",
        database=database_of(NAMESPACE, "chat", "victim_chat"),
    )


ATTEMPTS = {
    "adoption is closed": Attempt({}, "limits.adoption", {}),
    "adoption is closed, existing databases are not": Attempt({}, "limits.adoption", {"existingDatabases": True}),
    "another namespace's data": Attempt(
        {"adoptFrom": {"namespace": VICTIM}, "database": {"name": database_of(VICTIM, "chat")}},
        "spec.adoptFrom.namespace",
    ),
    "another namespace's data, as his own": Attempt({"database": {"name": database_of(VICTIM, "chat")}}, DOES_NOT),
    "a namespace of the same name, of another operator": Attempt(
        {"adoptFrom": {"instance": "other"}}, "spec.adoptFrom.instance"
    ),
    "an owner that has nothing": Attempt({"adoptFrom": {"name": "nobody"}, "database": {"name": NOBODYS}}, DOES_NOT),
    "an owner that has nothing, in a database of others": Attempt(
        {"adoptFrom": {"name": "nobody"}, "database": {"name": NOBODYS}},
        DOES_NOT,
        {"adoption": True, "existingDatabases": True},
        lambda tenants: tenants.sql(f"CREATE DATABASE {NOBODYS}"),
    ),
    "an owner that has nothing, in a database with another's tables": Attempt(
        {"adoptFrom": {"name": "nobody"}, "database": {"name": NOBODYS}},
        DOES_NOT,
        {"adoption": True, "existingDatabases": True},
        _with_tables_of_the_victim,
    ),
    "an owner whose marker is for another database": Attempt(
        {"database": {"name": database_of(NAMESPACE, "chat", "victim_chat")}},
        DOES_NOT,
        {"adoption": True, "existingDatabases": True},
        _marked_elsewhere,
    ),
    "to look, without being let in": Attempt(
        {"adoptFrom": {"name": "nobody"}, "database": {"name": NOBODYS}, "managementPolicy": "Observe"}, DOES_NOT
    ),
    "to be told apart": Attempt(
        {"adoptFrom": {"name": "nobody"}, "database": {"name": NOBODYS, "create": False}}, DOES_NOT
    ),
}


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
@pytest.mark.parametrize("stood", [False, True], ids=["new", "with a status that says it stood there"])
async def test_a_rename_reaches_nothing_but_his_own(
    tenants: Tenants, own: Callable[..., dict[str, Any]], attempt: Attempt, stood: bool
) -> None:
    tenants.platform()
    await tenants.ready_tenant(namespace=VICTIM)
    await tenants.ready_tenant()
    attempt.before(tenants)
    tenants.change_server(limits=attempt.limits)
    before, spec = tenants.there(), own(**attempt.spec)
    tenants.tenant("talk", **spec)
    if stood:
        tenants.forge(spec["database"]["name"], "talk")
    for _ in range(2):
        assert await tenants.look("talk") == ("False", "LimitExceeded")
    assert attempt.says in message(tenants, "talk")
    assert tenants.there() == before
    assert tenants.api.data("talk-cipher") is None
    assert await tenants.look() == ("True", "Ready"), "nor is anything taken from its owner"


ELSEWHERE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "by the names that are his own": ({"adoption": True}, {}),
    "in a database of a pattern": (
        {"adoption": True, "existingDatabases": True, **PATTERN},
        {"database": {"name": "ns_mine"}},
    ),
}


@pytest.mark.parametrize("stood", [False, True], ids=["new", "with a status that says it stood there"])
@pytest.mark.parametrize("name", ["chat", "talk"], ids=["", "under another name"])
@pytest.mark.parametrize(("limits", "spec"), ELSEWHERE.values(), ids=ELSEWHERE)
async def test_another_operators_data_is_not_had_by_a_namespace_of_its_name(
    tenants: Tenants, limits: dict[str, Any], spec: dict[str, Any], name: str, stood: bool
) -> None:
    """Two clusters share a server: the namespace `ns` of one need not be that of the other."""
    tenants.platform(limits=limits)
    await tenants.ready_tenant(**spec)
    source = {"instance": tenants.instance, "namespace": NAMESPACE, "name": "chat"}
    before, home = tenants.there(), tenants.api.status()["database"]
    tenants.api.delete("cipherstorages", "chat")
    await tenants.look()
    tenants.api.delete("secrets", "chat-cipher")
    tenants.instance = "the-other-cluster"
    tenants.restart()
    tenants.tenant(name, adoptFrom=source, **spec)
    if stood:
        tenants.forge(home, name)
        tenants.ask("recreate", "1", name)
    for _ in range(2):
        assert await tenants.look(name) == ("False", "LimitExceeded")
    assert tenants.there() == before
    assert tenants.api.data(f"{name}-cipher") is None
