"""The way to a server, as both kinds write it: `spec.connection`, and references to Secrets and ConfigMaps."""

from dataclasses import dataclass
from enum import Enum

from cipher_operator.api import names
from cipher_operator.api.choices import AuthMethod, CAKind, ChannelBinding, SSLMode
from cipher_operator.api.failures import Failure
from cipher_operator.api.fields import Fields
from cipher_operator.api.reasons import Reason


class Scope(Enum):
    """Where references are looked up. No spec names a namespace: which one it is follows from whose spec it is."""

    STORAGE = "the namespace of the CipherStorage"
    SERVER = "the operator's own namespace"


@dataclass(frozen=True, slots=True)
class SecretKeys:
    """Names of the keys inside the connection Secret."""

    url: str
    host: str
    port: str
    database: str
    user: str
    password: str
    ssl: str


DEFAULT_KEYS = SecretKeys(
    names.KEY_URL,
    names.KEY_HOST,
    names.KEY_PORT,
    names.KEY_DATABASE,
    names.KEY_USER,
    names.KEY_PASSWORD,
    names.KEY_SSL,
)


@dataclass(frozen=True, slots=True)
class KeyRef:
    """A key of a Secret in the same namespace."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class CARef:
    """A key of a Secret or ConfigMap that holds the server's CA as PEM."""

    kind: CAKind
    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Auth:
    """How the operator logs in; `region` and `scope` None mean what its surroundings say."""

    method: AuthMethod = AuthMethod.PASSWORD
    region: str | None = None
    scope: str | None = None


PASSWORD_AUTH = Auth()


@dataclass(frozen=True, slots=True)
class Connection:
    """The operator's way in, as administrator.

    `host`, `port` and `database` stand in the spec where the Secret holds a login alone; with `host` no URL is read.
    `user` stands there where `auth` needs no Secret. `scope` says where the Secret and the CA are. `server` is the
    CipherServer that has the connection, where a CipherStorage names one: all the rest is that one's.
    """

    secret_name: str
    keys: SecretKeys
    ssl_mode: SSLMode | None
    ca: CARef | None
    host: str | None = None
    port: int | None = None
    database: str | None = None
    channel_binding: ChannelBinding | None = None
    user: str | None = None
    auth: Auth = PASSWORD_AUTH
    scope: Scope = Scope.STORAGE
    server: str | None = None


def parse_storage_connection(node: Fields) -> Connection:
    """Return a CipherStorage's `spec.connection`. Raises Failure InvalidSpec."""
    reference = node.node("serverRef")
    if not reference:
        return parse_connection(node, Scope.STORAGE)
    if beside := [field for field in node.fields if field != "serverRef"]:
        raise Failure(
            Reason.INVALID_SPEC,
            f"`{node.path}.{beside[0]}` may not be set beside `serverRef`: the CipherServer has the whole connection",
        )
    return Connection("", DEFAULT_KEYS, None, None, server=reference.required("name"))


def parse_connection(node: Fields, scope: Scope, auth: Auth = PASSWORD_AUTH) -> Connection:
    """Return a connection of its own; with another `auth` than a password the login's name stands in the spec.

    Raises Failure InvalidSpec.
    """
    secret = auth.method is AuthMethod.PASSWORD
    reference = node.node("secretRef")
    keys = reference.node("keys")
    return Connection(
        secret_name=reference.required("name") if secret else "",
        keys=SecretKeys(**{field: keys.text(field) or getattr(DEFAULT_KEYS, field) for field in SecretKeys.__slots__}),
        ssl_mode=node.choice("sslMode", SSLMode, None),
        ca=parse_ca_ref(node),
        host=node.text("host") if secret else node.required("host"),
        port=node.number("port", None),
        database=node.text("database"),
        channel_binding=node.choice("channelBinding", ChannelBinding, None),
        user=None if secret else node.required("user"),
        auth=auth,
        scope=scope,
    )


def parse_ca_ref(parent: Fields) -> CARef | None:
    """Return the `caRef` beside other fields, None where there is none. Raises Failure InvalidSpec."""
    node = parent.node("caRef")
    if not node:
        return None
    return CARef(node.choice("kind", CAKind, CAKind.SECRET), node.required("name"), node.text("key") or "ca.crt")


def parse_key_ref(parent: Fields, field: str) -> KeyRef | None:
    """Return a reference to a key of a Secret, None where there is none. Raises Failure InvalidSpec."""
    node = parent.node(field)
    return KeyRef(node.required("name"), node.text("key") or "password") if node else None
