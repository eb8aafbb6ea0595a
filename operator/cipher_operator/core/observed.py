"""What a server is, as plain values: the catalog query's answer in dataclasses."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cipher_operator.core.marker import Marker, parse_marker
from cipher_operator.core.relation import Relation, relation_from

MODERN_MEMBERSHIP = 160000
"""server_version_num from which a membership has INHERIT and SET options."""

INVALID = -2
"""The connection limit of a database whose drop was interrupted."""


@dataclass(frozen=True, slots=True)
class Admin:
    """The session's own role; capability is judged by session_user."""

    name: str
    superuser: bool
    createrole: bool
    createdb: bool
    inherit: bool = True
    """Until 15: what its memberships give is there without SET ROLE."""
    createrole_through: tuple[str, ...] = ()
    """Where it lacks CREATEROLE: the roles that it may act as and that have it. Attributes are not inherited."""
    createdb_through: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Replication:
    """Synchronous replication, where it is set up: `names` and `commit` as the settings of their names."""

    names: str
    commit: str
    counted: int
    """Standbys that a commit may wait for and that are there; those too whose state the admin may not see."""

    @property
    def stuck(self) -> bool:
        """Return whether commits wait for standbys that are away (`synchronous_standby_names` in the manual)."""
        asked = re.match(r"\s*(?:(?:FIRST|ANY)\s+)?([0-9]+)\s*\(", self.names, re.IGNORECASE)
        return self.counted < (int(asked[1]) if asked else 1)


@dataclass(frozen=True, slots=True)
class Server:
    """The server and the database the query ran in. `version` is server_version_num."""

    version: int
    database: str
    read_only: bool
    admin: Admin
    standby: bool = False
    """It follows another server, and may not have heard of what was made there."""
    started: float = 0.0
    """When the postmaster started, in seconds since the epoch."""
    configured: float = 0.0
    """When it read its configuration last."""
    product: str = "PostgreSQL"
    """What version() says, cut."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of what matters to sessions of others: what the configuration sets, as far as the admin's session shows it."""

    replication: Replication | None = None

    @property
    def modern(self) -> bool:
        """Return whether memberships have INHERIT and SET options, and CREATEROLE needs ADMIN (PostgreSQL 16)."""
        return self.version >= MODERN_MEMBERSHIP

    @property
    def by_set_role(self) -> bool:
        """Return whether the admin acts on what its roles own by SET ROLE alone: a NOINHERIT admin before 16,
        where no GRANT can say otherwise."""
        return not (self.modern or self.admin.superuser or self.admin.inherit)


@dataclass(frozen=True, slots=True)
class Role:
    """One of our roles. `usage`, `set` and `admin` say what the session may do with it."""

    name: str
    login: bool
    elevated: bool
    """Superuser, createrole, createdb, replication or bypassrls."""
    connection_limit: int
    inherits: bool
    expires: bool
    comment: str | None
    usage: bool
    set: bool
    admin: bool
    in_owner: bool
    settings: Mapping[str, tuple[str, ...]]
    """'' for all databases, '=' for the desired one; each `name=value`."""
    in_admin: bool = False
    """It is a member of the session's role, which so can be none of it."""
    grants: bool = False
    """The session has its ADMIN option, since PostgreSQL 16 by itself or inherited: without that, no GRANT takes it."""

    @property
    def marker(self) -> Marker | None:
        """Return the marker in the role's comment."""
        return parse_marker(self.comment)


@dataclass(frozen=True, slots=True)
class Database:
    """The desired database, whichever database the query ran in."""

    owner: str
    owned: bool
    """The session's role is, or is a member of, the database's owner."""
    allows_connections: bool
    can_create: bool
    grantable: bool
    """The session may grant everything on it."""
    public: frozenset[str]
    """Privileges of PUBLIC."""
    granted: frozenset[str]
    """Privileges granted to the owner role itself."""
    effective: frozenset[str]
    """Privileges that the owner role has, through whatever way."""
    settable: bool = False
    """The session may SET ROLE to the owner."""
    connection_limit: int = -1
    encoding: str = "UTF8"
    collation: tuple[str, str] | None = None
    """(version that its indexes were made with, that of the server now), where it has versions."""

    @property
    def invalid(self) -> bool:
        """Return whether a DROP DATABASE was interrupted: nothing but another one is possible (release notes of 13.12,
        14.9 and 15.4)."""
        return self.connection_limit == INVALID


@dataclass(frozen=True, slots=True)
class Schema:
    """The desired schema and what the owner role may do in it."""

    owner: str
    effective: frozenset[str]
    grantable: bool
    """The session may grant USAGE and CREATE on it."""
    settable: bool = False
    """The session may SET ROLE to the owner."""
    granted: bool = False
    """The owner role has a grant of its own."""


@dataclass(frozen=True, slots=True)
class ExtensionSchema:
    """The schema that the operator makes for extensions. `trusted`: the admin's or a superuser's; `open`: others may
    create in it."""

    owner: str
    trusted: bool
    open: bool


@dataclass(frozen=True, slots=True)
class Local:
    """What only a session inside the desired database can see."""

    schema: Schema | None
    relations: Mapping[str, Relation]
    taken_names: Mapping[str, str]
    """Index names of ours that another relation has, to the table it stands on."""
    ungranted: tuple[tuple[str, str], ...]
    """(kind 'TABLE' or 'SEQUENCE', name) of the admin's relations in the schema that the owner role lacks."""
    default_privileges: frozenset[str]
    """Of 'r' and 'S': future relations of the admin in the schema come with ALL for the owner role."""
    extensions: Mapping[str, tuple[str, bool]]
    """Wanted extensions that exist, each with its schema and whether the owner role may use that."""
    extension_schema: ExtensionSchema | None = None
    event_triggers: tuple[str, ...] = ()
    """Those in force, of whatever event."""
    taken_types: tuple[str, ...] = ()
    """Names of Cipher's tables that a domain or another type has: a table brings a type of its name."""


@dataclass(frozen=True, slots=True)
class Observed:
    """The state of one storage on the server. `local` is None when seen from another database."""

    server: Server
    roles: Mapping[str, Role]
    database: Database | None
    local: Local | None
    dropping: frozenset[str] = frozenset()
    """Databases that have the name that a deletion gives the desired one."""
    settings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What is set for every role: '' in all databases, '=' in the desired one; each `name=value`."""
    claimants: frozenset[str] = frozenset()
    """Roles with a marker of a storage of the same namespace, where rivals are asked for."""


def decode(raw: Mapping[str, Any]) -> Observed:
    """Return the catalog query's JSON as facts. KeyError or TypeError mean a bug in the query, not bad input."""
    server, database = raw["server"], raw["database"]
    return Observed(
        server=Server(
            version=server["version"],
            database=server["database"],
            read_only=server["recovery"] or server["readonly"],
            admin=admin_from(server["admin"]),
            standby=server["recovery"],
            started=server["started"],
            configured=server["configured"],
            product=server["product"],
            settings={name: value for name, value in server["settings"].items() if value is not None},
            replication=Replication(**found) if (found := server["replication"]) else None,
        ),
        roles={name: _role(name, role) for name, role in raw["roles"].items()},
        database=None
        if database is None
        else Database(
            owner=database["owner"],
            owned=database["owned"],
            allows_connections=database["allowconn"],
            can_create=database["can_create"],
            grantable=database["grantable"],
            public=frozenset(database["public"]),
            granted=frozenset(database["granted"]),
            effective=frozenset(database["effective"]),
            settable=database["settable"],
            connection_limit=database["connlimit"],
            encoding=database["encoding"],
            collation=tuple(database["collation"]) if database["collation"] else None,
        ),
        local=None if raw["local"] is None else _local(raw["local"]),
        dropping=frozenset(raw["dropping"]),
        claimants=frozenset(raw["claimants"]),
        settings={scope: tuple(values) for scope, values in raw["settings"].items()},
    )


def admin_from(admin: Mapping[str, Any]) -> Admin:
    """Return the session's own role from its part of an answer."""
    return Admin(
        name=admin["name"],
        superuser=admin["superuser"],
        createrole=admin["createrole"],
        createdb=admin["createdb"],
        inherit=admin["inherit"],
        createrole_through=tuple(admin["createrole_through"]),
        createdb_through=tuple(admin["createdb_through"]),
    )


def _role(name: str, role: Mapping[str, Any]) -> Role:
    return Role(
        name=name,
        login=role["login"],
        elevated=role["elevated"],
        connection_limit=role["connlimit"],
        inherits=role["inherits"],
        expires=role["expires"],
        comment=role["comment"],
        usage=role["usage"],
        set=role["set"],
        admin=role["admin"],
        in_owner=role["in_owner"],
        settings={scope: tuple(values) for scope, values in role["settings"].items()},
        in_admin=role["in_admin"],
        grants=role["grants"],
    )


def _local(local: Mapping[str, Any]) -> Local:
    schema = local["schema"]
    return Local(
        schema=None
        if schema is None
        else Schema(
            schema["owner"],
            frozenset(schema["effective"]),
            schema["grantable"],
            schema["settable"],
            schema["granted"],
        ),
        relations={name: relation_from(relation) for name, relation in local["relations"].items()},
        taken_names=dict(local["taken"]),
        taken_types=tuple(local["taken_types"]),
        ungranted=tuple((kind, name) for kind, name in local["ungranted"]),
        default_privileges=frozenset(local["defaults"]),
        extensions={name: (schema, usage) for name, (schema, usage) in local["extensions"].items()},
        extension_schema=ExtensionSchema(**place) if (place := local["extension_schema"]) else None,
        event_triggers=tuple(local["event_triggers"]),
    )
