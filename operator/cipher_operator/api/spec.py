"""A CipherStorage in Python. The API server has validated it against the schema; an object stored under another
schema may still have any shape, so every reading names the field that it cannot use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cipher_operator.api import names
from cipher_operator.api.choices import (
    AdoptionPolicy,
    CAKind,
    ChannelBinding,
    DeletionPolicy,
    DoorSSLMode,
    DoorVerification,
    ManagementPolicy,
    SSLMode,
    UserMode,
)
from cipher_operator.api.connection import (
    DEFAULT_KEYS,
    CARef,
    Connection,
    KeyRef,
    SecretKeys,
    parse_ca_ref,
    parse_key_ref,
    parse_storage_connection,
)
from cipher_operator.api.fields import Fields
from cipher_operator.api.reserved import is_reserved_database, is_reserved_role, is_reserved_schema

__all__ = [
    "DEFAULT_KEYS",
    "AdoptFrom",
    "AdoptionPolicy",
    "App",
    "CAKind",
    "CARef",
    "ChannelBinding",
    "Connection",
    "Database",
    "DeletionPolicy",
    "DoorSSLMode",
    "DoorVerification",
    "KeyRef",
    "ManagementPolicy",
    "Resource",
    "SSLMode",
    "SecretKeys",
    "Spec",
    "Tenant",
    "User",
    "UserMode",
    "parse_resource",
    "parse_spec",
]


@dataclass(frozen=True, slots=True)
class Database:
    """The database; `name` None means the connection URL's."""

    name: str | None
    create: bool


@dataclass(frozen=True, slots=True)
class User:
    """The login that is published; `name` None means the derived one."""

    mode: UserMode
    name: str | None
    connection_limit: int
    password_ref: KeyRef | None


@dataclass(frozen=True, slots=True)
class App:
    """What pods are given; `ssl_mode` and `ca` None mean those of the connection."""

    secret_name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    host: str | None
    port: int | None
    ca_path: str | None
    max_connections: int | None
    ssl_mode: SSLMode | None = None
    ca: CARef | None = None
    verify: DoorVerification | None = None
    """None means IfReachable."""


@dataclass(frozen=True, slots=True)
class AdoptFrom:
    """The owner whose objects are taken over."""

    instance: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Excess:
    """What of a storage is beyond a limit of its CipherServer, and whose move that is. It is refused, unless it stood
    there before the limit; `told` where Ready then goes on to say it: not of a name that nobody chose."""

    what: str
    remedy: str
    told: bool = True


@dataclass(frozen=True, slots=True)
class Tenant:
    """A storage that uses a CipherServer: whoever writes its spec is not the administrator.

    `foreign_database` allows to use a database that it did not create; `heir` that of the owner whom `adoptFrom` names
    alone, and says what is refused else. `adoption` allows to take over what nobody owns. `derived`: its database's
    name is not of its own choice; `former` says what is refused of one that today's template does not yield: to begin
    again there. `max_connections` are the operator's own at once, None where its setting counts; `several` namespaces
    may come to the server. `rivals` may have the place that it asks for.
    """

    server: str
    beyond: tuple[Excess, ...] = ()
    foreign_database: bool = False
    max_connections: int | None = None
    adoption: bool = False
    derived: bool = False
    heir: Excess | None = None
    former: Excess | None = None
    rivals: "Rivals | None" = None
    several: bool = False


@dataclass(frozen=True, slots=True)
class Rivals:
    """Storages of the same namespace, by their owner roles, that come before another one where they stand on the
    server: if `places` of them do, it has none, and `excess` is said."""

    owners: frozenset[str]
    places: int
    excess: Excess


@dataclass(frozen=True, slots=True)
class Spec:
    """The spec, with defaults. Durations are seconds; `interval` None is the operator's, 0 means on change only.

    `tenant` is set once the CipherServer's defaults and limits are applied.
    """

    connection: Connection
    database: Database
    schema: str
    user: User
    extensions: tuple[str, ...]
    app: App
    rotation_interval: float | None
    interval: float | None
    deletion_policy: DeletionPolicy
    adoption_policy: AdoptionPolicy
    adopt_from: AdoptFrom | None
    management_policy: ManagementPolicy
    suspend: bool
    tenant: Tenant | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """A CipherStorage, or a CipherServer, as the API server gave it; `status` and `raw_spec` are JSON.

    `namespace` is '' of a CipherServer; `created` is RFC 3339.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    deleting: bool
    finalizers: tuple[str, ...]
    annotations: Mapping[str, str]
    raw_spec: Mapping[str, Any]
    status: Mapping[str, Any]
    created: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Return (namespace, name)."""
        return self.namespace, self.name


def parse_resource(body: Mapping[str, Any]) -> Resource:
    """Return the object's facts; whatever has another shape than it must have counts as empty."""
    metadata = _mapping(body.get("metadata"))
    finalizers = metadata.get("finalizers")
    return Resource(
        namespace=str(metadata.get("namespace", "")),
        name=str(metadata.get("name", "")),
        uid=str(metadata.get("uid", "")),
        generation=generation if type(generation := metadata.get("generation")) is int else 0,
        resource_version=str(metadata.get("resourceVersion", "")),
        deleting=bool(metadata.get("deletionTimestamp")),
        finalizers=tuple(map(str, finalizers)) if isinstance(finalizers, list) else (),
        annotations={str(k): str(v) for k, v in _mapping(metadata.get("annotations")).items()},
        raw_spec=_mapping(body.get("spec")),
        status=_mapping(body.get("status")),
        created=str(metadata.get("creationTimestamp", "")),
    )


def parse_spec(namespace: str, name: str, spec: Mapping[str, Any]) -> Spec:
    """Return the spec with defaults. Raises Failure InvalidSpec that names the field."""
    root = Fields(spec, "spec")
    connection, database, user = root.node("connection"), root.node("database"), root.node("user")
    mode = user.choice("mode", UserMode, UserMode.DEDICATED)
    return Spec(
        connection=parse_storage_connection(connection),
        database=Database(
            database.name("name", names.MAX_NAME, is_reserved_database), database.flag("create", default=True)
        ),
        schema=root.name("schema", names.MAX_NAME, is_reserved_schema) or "public",
        user=User(
            mode,
            user.name("name", names.MAX_USER_NAME, is_reserved_role),
            user.number("connectionLimit", -1),
            parse_key_ref(user, "passwordSecretRef"),
        ),
        extensions=tuple(item.required("name") for item in root.items("extensions")),
        app=_app(root.node("app"), name),
        rotation_interval=root.node("passwordRotation").seconds("interval"),
        interval=root.seconds("interval"),
        deletion_policy=root.choice("deletionPolicy", DeletionPolicy, DeletionPolicy.RETAIN),
        adoption_policy=root.choice("adoptionPolicy", AdoptionPolicy, AdoptionPolicy.NEVER),
        adopt_from=_adopt_from(root),
        management_policy=root.choice("managementPolicy", ManagementPolicy, ManagementPolicy.MANAGE),
        suspend=root.flag("suspend", default=False),
    )


def _app(node: Fields, name: str) -> App:
    mode = node.choice("sslMode", DoorSSLMode, None)
    return App(
        secret_name=node.text("secretName") or names.default_secret_name(name),
        labels=node.texts("labels"),
        annotations=node.texts("annotations"),
        host=node.text("host"),
        port=node.number("port", None),
        ca_path=node.text("caPath"),
        max_connections=node.number("maxConnections", None),
        ssl_mode=SSLMode(mode) if mode is not None else None,
        ca=parse_ca_ref(node),
        verify=node.choice("verify", DoorVerification, None),
    )


def _adopt_from(root: Fields) -> AdoptFrom | None:
    node = root.node("adoptFrom")
    return AdoptFrom(node.required("instance"), node.required("namespace"), node.required("name")) if node else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
