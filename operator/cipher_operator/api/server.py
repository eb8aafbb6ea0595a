"""A CipherServer in Python: an administrator's login that a platform team shares without giving it away.

As with a CipherStorage, the API server has validated it; whatever cannot be used is named by its field all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cipher_operator.api.choices import AuthMethod, DeletionPolicy, DoorSSLMode, DoorVerification, SSLMode
from cipher_operator.api.connection import Auth, Connection, Scope, parse_connection
from cipher_operator.api.failures import Failure
from cipher_operator.api.fields import Fields
from cipher_operator.api.reasons import Reason
from cipher_operator.api.selectors import Selector, parse_selector

DEFAULT_TEMPLATE = "{namespace}_{name}"
ALL, SELECTED = "All", "Selector"
NAMESPACE_PLACEHOLDER, NAME_PLACEHOLDER = "{namespace}", "{name}"


@dataclass(frozen=True, slots=True)
class AllowedNamespaces:
    """Whose storages may use it: `everybody`, or those that are named or selected."""

    everybody: bool
    names: frozenset[str] = frozenset()
    selector: Selector | None = None

    @property
    def several(self) -> bool:
        """Return whether more than one namespace may come, be it later."""
        return self.everybody or self.selector is not None or len(self.names) > 1

    def admits(self, namespace: str, labels: Mapping[str, str] | None) -> bool:
        """Return whether a namespace is allowed; `labels` None where nothing is known of it."""
        if self.everybody or namespace in self.names:
            return True
        return self.selector is not None and labels is not None and self.selector.matches(labels)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds where a storage says nothing; `interval` in seconds."""

    host: str | None = None
    port: int | None = None
    ssl_mode: SSLMode | None = None
    ca_path: str | None = None
    verify: DoorVerification | None = None
    max_connections: int | None = None
    connection_limit: int | None = None
    interval: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a tenant may; None where nothing is limited beyond what is closed from the start."""

    database_names: str | None = None
    deletion_policies: frozenset[DeletionPolicy] = frozenset({DeletionPolicy.RETAIN})
    existing_databases: bool = False
    adoption: bool = False
    extensions: frozenset[str] = frozenset()
    user_connection_limit: int | None = None
    storages: int | None = None


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """The spec, with defaults. `max_connections` None is the operator's setting."""

    connection: Connection
    allowed: AllowedNamespaces
    template: str
    defaults: Defaults
    limits: Limits
    max_connections: int | None


def parse_server_spec(spec: Mapping[str, Any]) -> ServerSpec:
    """Return the spec with defaults. Raises Failure InvalidSpec that names the field."""
    root = Fields(spec, "spec")
    auth = root.node("auth")
    method = auth.choice("method", AuthMethod, AuthMethod.PASSWORD)
    return ServerSpec(
        connection=parse_connection(
            root.node("connection"), Scope.SERVER, Auth(method, auth.text("region"), auth.text("scope"))
        ),
        allowed=_allowed(root.node("allowedNamespaces")),
        template=_template(root),
        defaults=_defaults(root.node("defaults")),
        limits=_limits(root.node("limits")),
        max_connections=root.number("maxConnections", None),
    )


def _allowed(node: Fields) -> AllowedNamespaces:
    source = node.required("from")
    if source == ALL:
        return AllowedNamespaces(everybody=True)
    selector = node.node("selector")
    allowed = AllowedNamespaces(
        everybody=False,
        names=frozenset(node.words("names")),
        selector=parse_selector(selector) if selector else None,
    )
    if source != SELECTED or not (allowed.names or allowed.selector is not None):
        raise Failure(
            Reason.INVALID_SPEC, f"`{node.path}` must say `from: {ALL}`, or `from: {SELECTED}` with names or a selector"
        )
    return allowed


def _template(root: Fields) -> str:
    template = root.text("databaseNameTemplate") or DEFAULT_TEMPLATE
    if NAMESPACE_PLACEHOLDER not in template or NAME_PLACEHOLDER not in template:
        raise Failure(
            Reason.INVALID_SPEC,
            f"`{root.path}.databaseNameTemplate` must hold `{NAMESPACE_PLACEHOLDER}` and `{NAME_PLACEHOLDER}`",
        )
    return template


def _defaults(node: Fields) -> Defaults:
    app = node.node("app")
    mode = app.choice("sslMode", DoorSSLMode, None)
    return Defaults(
        host=app.text("host"),
        port=app.number("port", None),
        ssl_mode=SSLMode(mode) if mode is not None else None,
        ca_path=app.text("caPath"),
        verify=app.choice("verify", DoorVerification, None),
        max_connections=app.number("maxConnections", None),
        connection_limit=node.node("user").number("connectionLimit", None),
        interval=node.seconds("interval"),
    )


def _limits(node: Fields) -> Limits:
    policies = node.words("deletionPolicies")
    try:
        allowed = frozenset(map(DeletionPolicy, policies))
    except ValueError:
        raise Failure(
            Reason.INVALID_SPEC, f"`{node.path}.deletionPolicies` must name {' and '.join(DeletionPolicy)} only"
        ) from None
    return Limits(
        database_names=node.text("databaseNames"),
        deletion_policies=allowed or Limits().deletion_policies,
        existing_databases=node.flag("existingDatabases", default=False),
        adoption=node.flag("adoption", default=False),
        extensions=frozenset(node.words("extensions")),
        user_connection_limit=node.number("userConnectionLimit", None),
        storages=node.number("storages", None),
    )
