"""Roles and tables that have a name or a comment of another storage are not nobody's, whatever `IfUnowned` asks for."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import AdoptFrom
from cipher_operator.core.connection.password import Password
from cipher_operator.core.orders import Credential
from devcluster import PostgresServer
from support.provision import Storage, desired, seen, snapshot, superuser

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(16) as running:
        yield running


@dataclass(frozen=True)
class Row:
    """What stands behind a stem in the user names of the first storage and of the one that comes later."""

    first: str
    later: str
    rotated: bool = False
    """Whether the first uses its second login."""
    revoked: bool = False
    """And lets nobody in with the other."""


ROWS = {
    "a second login": Row("", "_b", rotated=True),
    "a second login that is still to be made": Row("", "_b"),
    "an owner role": Row("", "_owner"),
    "a login for its own second one": Row("_b", ""),
    "a login for its own owner role": Row("_owner", ""),
    "a login for its own owner role, which lets nobody in": Row("_owner", "", rotated=True, revoked=True),
}


@pytest.mark.parametrize("adopting", [False, True], ids=["Never", "IfUnowned"])
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_a_role_of_another_storage_is_not_taken_for_nobodys(
    server: PostgresServer, row: Row, adopting: bool
) -> None:
    stem = f"stem{next(_numbers)}"
    first, later = named(stem + row.first, "first"), named(stem + row.later, "later", adopt_unowned=adopting)
    admin = superuser(server)
    await admin.run(first)
    if row.rotated:
        again = Credential(first.logins[1], Password("another"), change=True)
        first = replace(first, credential=again, established=True)
        await admin.run(first)
    if row.revoked:
        await admin.run(replace(first, published=first.logins[1], revoke_previous=True))
    before = snapshot(server)
    with pytest.raises(Failure) as refused:
        await admin.run(later)
    assert refused.value.reason is Reason.CONFLICT
    assert f"CipherStorage 'team/{first.identity.name}'" in refused.value.message
    assert "another `spec.user.name`" in refused.value.message
    assert snapshot(server) == before


async def test_one_that_is_made_anew_under_another_name_has_its_own_roles(server: PostgresServer) -> None:
    stem, admin = f"stem{next(_numbers)}", superuser(server)
    first = named(stem, "same")
    await admin.run(first)
    await admin.run(named(f"{stem}_b", "same", database=f"{first.database}_2", schema="other"))


async def test_the_longest_name_means_no_other_by_being_cut(server: PostgresServer) -> None:
    """With `_b` and `_owner` it would have 65 bytes, of which the server keeps 63: somebody else's."""
    wanted, admin = named("u" * 57, f"long{next(_numbers)}"), superuser(server)
    server.execute(f'CREATE ROLE "{"u" * 57}_b_own"')
    assert seen(await admin.run(wanted)).roles.keys() <= {wanted.owner, *wanted.logins}


async def test_tables_of_a_storage_in_mode_shared_are_taken_over_by_name_alone(server: PostgresServer) -> None:
    admin, name = superuser(server), f"shared{next(_numbers)}"
    shared = desired(name, user=server.superuser, shared=True, credential=None)
    await admin.run(shared)
    server.execute("INSERT INTO cipher_store VALUES ('k', 'kept', now(), now())", database=shared.database)
    grab = named(f"{name}_heir", f"{name}-heir", database=shared.database, adopt_unowned=True)
    before = snapshot(server, shared.database)
    with pytest.raises(Failure) as refused:
        await admin.run(grab)
    assert refused.value.reason is Reason.CONFLICT
    source = f'`spec.adoptFrom: {{instance: "instance-1", namespace: "team", name: "{name}"}}'
    assert f"{source}` and `spec.adoptionPolicy: IfUnowned`" in refused.value.message
    assert snapshot(server, shared.database) == before
    heir = replace(grab, adopt_from=AdoptFrom("instance-1", "team", name))
    await admin.provision(heir)
    with admin.app(heir) as app:
        assert app.execute("SELECT value FROM cipher_store").fetchall() == [("kept",)]
    assert (await admin.run(replace(heir, established=True, adopted=True, adopt_unowned=False))).executed == ()
    with pytest.raises(Failure, match=f"'team/{name}-heir'"):
        await admin.run(replace(shared, established=True))


def named(user: str, name: str, **changes: object) -> Storage:
    """Return a storage of that user name."""
    credential = Credential(user, Password("app-Password-1"))
    made = desired(name, user=user, credential=credential, database=f"db_{user[-50:]}")
    return replace(made, **changes)  # type: ignore[arg-type]
