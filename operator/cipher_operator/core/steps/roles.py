"""Steps on roles: the owner role, the logins, their passwords and settings."""

from dataclasses import dataclass, field
from typing import ClassVar

from psycopg import sql

from cipher_operator.api.failures import ConditionType
from cipher_operator.core.steps.composing import compose, identifiers, number


def _with_inherit(modern: bool) -> sql.SQL:
    """Return the options that make a membership usable since PostgreSQL 16 (release notes, GRANT)."""
    return sql.SQL(" WITH INHERIT TRUE, SET TRUE" if modern else "")


def _comment(role: str, text: str) -> sql.Composed:
    return compose("COMMENT ON ROLE {role} IS {text}", role=role, text=sql.Literal(text))


def unchanged(role: str, comment: str) -> sql.Composed:
    """Return what aborts its message with a division by zero unless the role's comment is still this one."""
    return compose(
        "SELECT 1 / (COALESCE((SELECT shobj_description(r.oid, 'pg_authid') FROM pg_roles r "
        "WHERE r.rolname = {role}), '') = {comment})::int",
        role=sql.Literal(role),
        comment=sql.Literal(comment),
    )


@dataclass(frozen=True, slots=True)
class CreateOwner:
    """Create the NOLOGIN role that owns Cipher's relations, with its marker."""

    owner: str
    marker: str
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("CREATE ROLE {owner} NOLOGIN", owner=self.owner), _comment(self.owner, self.marker))


@dataclass(frozen=True, slots=True)
class WriteMarker:
    """Bring the marker up to date. Fenced."""

    owner: str
    marker: str
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (_comment(self.owner, self.marker),)


@dataclass(frozen=True, slots=True)
class ReleaseTables:
    """Take its tables off the marker of the former owner, in the message that takes them over: a deletion or any
    other message of that one, planned before, then fails at its fence. Fenced itself, by what stood there."""

    owner: str
    standing: str
    marker: str
    stage: ClassVar[ConditionType] = ConditionType.SCHEMA_APPLIED

    def statements(self) -> tuple[sql.Composed, ...]:
        return unchanged(self.owner, self.standing), _comment(self.owner, self.marker)


@dataclass(frozen=True, slots=True)
class JoinRole:
    """Make a role a member of another, so that it can use what that one owns."""

    role: str
    member: str
    modern: bool
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        options = _with_inherit(self.modern)
        return (compose("GRANT {role} TO {member}{options}", role=self.role, member=self.member, options=options),)


@dataclass(frozen=True, slots=True)
class CreateLogin:
    """Create a login that acts as the owner role."""

    login: str
    owner: str
    verifier: str = field(repr=False)
    connection_limit: int
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (
            compose(
                "CREATE ROLE {login} LOGIN PASSWORD {verifier} CONNECTION LIMIT {limit} IN ROLE {owner}",
                login=self.login,
                verifier=sql.Literal(self.verifier),
                limit=number(self.connection_limit),
                owner=self.owner,
            ),
            compose("ALTER ROLE {login} SET role = {owner}", login=self.login, owner=sql.Literal(self.owner)),
        )


@dataclass(frozen=True, slots=True)
class SetPassword:
    """Set a login's password and let it log in. Fenced."""

    login: str
    verifier: str = field(repr=False)
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        verifier = sql.Literal(self.verifier)
        return (compose("ALTER ROLE {login} LOGIN PASSWORD {verifier}", login=self.login, verifier=verifier),)


@dataclass(frozen=True, slots=True)
class DisableLogin:
    """End a login's password; its open sessions go on. Fenced."""

    login: str
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("ALTER ROLE {login} NOLOGIN PASSWORD NULL", login=self.login),)


@dataclass(frozen=True, slots=True)
class AlterLogin:
    """Restore LOGIN, the connection limit and a password that does not expire."""

    login: str
    connection_limit: int
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        limit = number(self.connection_limit)
        return (
            compose(
                "ALTER ROLE {login} LOGIN CONNECTION LIMIT {limit} VALID UNTIL 'infinity'",
                login=self.login,
                limit=limit,
            ),
        )


@dataclass(frozen=True, slots=True)
class InheritRoles:
    """Let an adopted login use what the roles it is a member of may do; since 16 the membership says so itself."""

    login: str
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("ALTER ROLE {login} INHERIT", login=self.login),)


@dataclass(frozen=True, slots=True)
class SetActingRole:
    """Let everything a login makes belong to the owner role."""

    login: str
    owner: str
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (compose("ALTER ROLE {login} SET role = {owner}", login=self.login, owner=sql.Literal(self.owner)),)


@dataclass(frozen=True, slots=True)
class ResetSetting:
    """Take back a role setting that would shadow ours."""

    login: str
    setting: str
    database: str | None
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        place = sql.SQL("") if self.database is None else compose(" IN DATABASE {database}", database=self.database)
        return (
            compose("ALTER ROLE {login}{place} RESET {setting}", login=self.login, place=place, setting=self.setting),
        )


@dataclass(frozen=True, slots=True)
class SetSearchPath:
    """Point a login at Cipher's schema in this database."""

    login: str
    database: str
    path: tuple[str, ...]
    stage: ClassVar[ConditionType] = ConditionType.ACCESS_GRANTED

    def statements(self) -> tuple[sql.Composed, ...]:
        return (
            compose(
                "ALTER ROLE {login} IN DATABASE {database} SET search_path = {path}",
                login=self.login,
                database=self.database,
                path=identifiers(self.path),
            ),
        )
