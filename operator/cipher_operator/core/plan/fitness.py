"""Whether Cipher can work here: refused where it cannot, before anything is made, and told where it may end.

What only a try can tell, such as a trigger of others, is left to the proof (`postgres.login`); `judged_by_proof` says
what that was, so that a change of it is a reason for a new proof.
"""

from collections.abc import Iterator

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core import remedies
from cipher_operator.core.desired import Desired
from cipher_operator.core.observed import Observed
from cipher_operator.core.plan.flaws import tables_there, told
from cipher_operator.core.plan.settings import effective, refuse_settings, risky_settings
from cipher_operator.core.relation import Relation
from cipher_operator.core.sql.composing import quoted

OLDEST, UNTRIED = 130000, 190000
"""server_version_num of the oldest server that is supported, and of the first that the operator was not tested with."""
POOL = 10
"""Connections that one Cipher opens."""
_WAITS_FOR_NOBODY = frozenset({"local", "off", "false", "no", "0"})
"""Values of synchronous_commit with which a commit waits for no standby."""
_POSTGRES, _YUGABYTE = "PostgreSQL", "-YB-"


def refuse_unfit(desired: Desired, observed: Observed, login: str) -> None:
    """Raise Failure where server, database or a setting keeps Cipher from working: UnsupportedServer, DatabaseLost,
    SchemaConflict, AccessDenied, ReadOnlyServer or ServerNotReady."""
    refuse_unsupported(observed.server.version, observed.server.product)
    database = observed.database
    if database is not None and database.invalid:
        raise Failure(
            Reason.DATABASE_LOST,
            f"database '{desired.database}' is invalid: a DROP DATABASE of it was interrupted, and what was in it is "
            f"lost; {remedies.run(desired.tenant, f'DROP DATABASE {quoted(desired.database)}')} (as its owner)",
            stage=ConditionType.DATABASE_READY,
        )
    if database is not None and database.encoding != "UTF8":
        raise Failure(
            Reason.SCHEMA_CONFLICT,
            f"database '{desired.database}' has encoding {database.encoding}, which does not hold every text that "
            "Cipher writes; create a new CipherStorage for a database in UTF8 (CREATE DATABASE … ENCODING 'UTF8' "
            "TEMPLATE template0)",
            stage=ConditionType.DATABASE_READY,
        )
    exempt = desired.shared and observed.server.admin.superuser
    if database is not None and database.connection_limit == 0 and not exempt:
        raise Failure(
            Reason.ACCESS_DENIED,
            f"database '{desired.database}' has CONNECTION LIMIT 0 and lets no login in; "
            + remedies.run(desired.tenant, f"ALTER DATABASE {quoted(desired.database)} CONNECTION LIMIT -1"),
            stage=ConditionType.ACCESS_GRANTED,
        )
    refuse_settings(desired, observed, login)
    _refuse_stuck(observed, login)


def _refuse_stuck(observed: Observed, login: str) -> None:
    """Raise ServerNotReady where each commit of this login waits for ever. A proof, rolled back, does not."""
    replication = observed.server.replication
    if replication is None or not replication.stuck:
        return
    setting = effective(observed, login).get("synchronous_commit")
    if (setting.value if setting is not None else replication.commit).strip().lower() in _WAITS_FOR_NOBODY:
        return
    raise Failure(
        Reason.SERVER_NOT_READY,
        "commits on the server wait for a synchronous standby that is away, so what Cipher writes hangs. Bring it "
        "back, or name those that are there: ALTER SYSTEM SET synchronous_standby_names = '…'; SELECT pg_reload_conf()",
        stage=ConditionType.DATABASE_READY,
    )


def refuse_unsupported(version: int, product: str = _POSTGRES) -> None:
    """Raise UnsupportedServer for a server older than PostgreSQL 13, or one that only speaks its protocol."""
    name = "YugabyteDB" if _YUGABYTE in product else product.split("(", maxsplit=1)[0].strip()
    if name.startswith(_POSTGRES):
        if version >= OLDEST:
            return
        name = f"{_POSTGRES} {_number(version)}"
    raise Failure(
        Reason.UNSUPPORTED_SERVER,
        f"the server is {' '.join(name.split()[:3])[:60]}; PostgreSQL 13 to 18 are supported",
        stage=ConditionType.CONNECTED,
    )


def fitness_warnings(desired: Desired, observed: Observed, login: str) -> Iterator[str]:
    """Yield what lets Cipher work now and may end that, and what only a person can mend."""
    if observed.server.version >= UNTRIED:
        yield f"the server is {_POSTGRES} {_number(observed.server.version)}; the operator is tested with 13 to 18"
    database, role = observed.database, observed.roles.get(login)
    if database is not None and 0 < database.connection_limit < POOL:
        yield (
            f"database '{desired.database}' has CONNECTION LIMIT {database.connection_limit}, and each Cipher opens up "
            f"to {POOL}"
        )
    if database is not None and database.collation is not None and database.collation[0] != database.collation[1]:
        made, now = database.collation
        name = quoted(desired.database)
        mending = f"REINDEX DATABASE {name}; ALTER DATABASE {name} REFRESH COLLATION VERSION (in that database)"
        yield (
            f"database '{desired.database}' was made with version {made} of its collation, and the server has {now}: "
            f"indexes on text may miss rows; {remedies.run(desired.tenant, mending)}"
        )
    if (
        desired.shared
        and role is not None
        and 0 < role.connection_limit <= POOL
        and not observed.server.admin.superuser
    ):
        yield (
            f"login '{login}' has CONNECTION LIMIT {role.connection_limit}, each Cipher opens up to {POOL}, and the "
            f"operator logs in with it too; run: ALTER ROLE {quoted(login)} CONNECTION LIMIT -1"
        )
    if desired.shared and role is not None and role.expires:
        yield f"login '{login}' has an end (VALID UNTIL), after which pods are refused"
    yield from risky_settings(desired, observed, login)
    yield from told(desired, observed)


def judged_by_proof(observed: Observed, login: str) -> tuple[str, ...]:
    """Return, sorted, all that others made and that only a try can judge: a change of it makes a proof due."""
    found = [f"{each.place.name} {each.name}={each.value}" for each in effective(observed, login).values()]
    # pg_hba.conf and settings of the server are not seen from here.
    found.append(f"configuration of {observed.server.configured}")
    if observed.local is not None:
        found += [f"event trigger {name}" for name in observed.local.event_triggers]
    for table, relation in tables_there(observed):
        found += [f"{table.name}: {thing}" for thing in _put_on(relation)]
    return tuple(sorted(found))


def _put_on(relation: Relation) -> Iterator[str]:
    others = relation.others
    yield f"{relation.kind} of {relation.owner}, row security {relation.row_security}, {relation.replica_identity}"
    yield f"written {others.stamps}"
    for kind, names in (
        ("trigger", others.triggers),
        ("policy", others.policies),
        ("child", others.children),
        ("publication", tuple(name for name, _ in others.publications)),
        ("constraint", tuple(map(" ".join, others.constraints))),
        ("reference", tuple(map(" ".join, others.references))),
        ("rule", tuple(map(" ".join, others.rules))),
        ("index", tuple(relation.indexes)),
    ):
        for name in names:
            yield f"{kind} {name}"
    for name, column in relation.columns.items():
        yield f"column {name} {column}"


def _number(version: int) -> str:
    return f"{version // 10_000}" if version >= 100_000 else f"{version // 10_000}.{version // 100 % 100}"
