"""The app Secret: one login in three forms, for Cipher (node-pg), for libpq, and for Service Binding.

node-pg and libpq give `sslmode` different meanings, so there are two URLs: `CIPHER_PG_URL` and `uri`.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import (
    KEY_DATABASE,
    KEY_HOST,
    KEY_PASSWORD,
    KEY_PORT,
    KEY_SSL,
    KEY_URL,
    KEY_USER,
    MANAGED_BY,
)
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import App, SSLMode
from cipher_operator.core.connection import supabase
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.connection.password import Password
from cipher_operator.core.connection.scram import clients_agree, saslprep
from cipher_operator.core.connection.url import quote

PUBLIC_CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
"""Where Debian, Ubuntu and Alpine images keep the public CAs; libpq needs a path to verify with them."""

_LEFT_BY_DECODE_URI = ";/:@&=+$,"
"""What node-pg does not decode in a database name; `?` and `#` neither, but they cannot stand in a path as they are."""


@dataclass(frozen=True, slots=True)
class AppEndpoint:
    """Where and how pods connect. `tls` is the mode decided: never allow or prefer.

    `ca` is PEM text of certificates; `ca_path` where pods mount them. `ref` is the Supabase project, if any.
    """

    host: str
    port: int
    database: str
    tls: SSLMode
    ca: str | None = None
    ca_path: str | None = None
    max_connections: int | None = None
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class AppCredentials:
    """A role on the server and its password, before any pooler's spelling of the login."""

    role: str
    password: Password


@dataclass(frozen=True, slots=True)
class PublishedLogin:
    """What an app Secret says now: the login as published, the role behind it, and the password."""

    user: str
    role: str
    password: Password


def app_endpoint(admin: AdminConnection, app: App, database: str, *, ssl_in_use: bool) -> AppEndpoint:
    """Return where pods connect: the operator's own endpoint with `spec.app`'s host, port and CA path.

    `ssl_in_use` says whether the operator's own connection used TLS; it decides allow and prefer.
    """
    tls = admin.ssl_mode
    if tls in {SSLMode.ALLOW, SSLMode.PREFER}:
        tls = SSLMode.REQUIRE if ssl_in_use else SSLMode.DISABLE
    return AppEndpoint(
        host=app.host or admin.host,
        port=app.port or admin.port,
        database=database,
        tls=tls,
        ca=admin.ca,
        ca_path=app.ca_path,
        max_connections=app.max_connections or admin.max_connections,
        ref=supabase.project_ref(admin.host, admin.user),
    )


def check_publishable(admin: AdminConnection, app: App, database: str) -> None:
    """Raise Failure(INVALID_SPEC) where no URL leads Cipher's node-pg there, though the operator gets there itself.

    Cipher would go on in memory without a word. node-pg 8.16, which Cipher's lock file names, compares the certificate
    with `localhost` where the host is an address.
    """
    if admin.ssl_mode is SSLMode.VERIFY_FULL and _is_address(app.host or admin.host):
        raise _unpublishable(
            "pods cannot verify the server: sslMode verify-full compares its certificate with the host name, and the "
            "host is an IP address, with which Cipher's client cannot compare it. Set `spec.app.host` to the name in "
            "the certificate, or `spec.connection.sslMode: verify-ca`"
        )
    if _leaves_the_project_open(admin, app):
        raise _unpublishable(
            "pods cannot log in at Supabase's pooler, which `spec.app.host` names: a login there ends in the project's "
            "ref, and the connection Secret names neither `db.<ref>.supabase.co` nor the pooler. Put one of them into "
            "the Secret"
        )
    if set("?#") & set(database) or {".", ".."} & set(database.split("/")):
        raise _unpublishable(
            "the database's name cannot stand in a URL that Cipher's client reads: it has a '?', a '#', or a part that "
            "is '.' or '..'. Rename the database, or name another one"
        )


def check_password(password: Password) -> None:
    """Raise Failure(INVALID_SPEC) for a password with which libpq gets in and Cipher's client would not."""
    if not clients_agree(password):
        raise Failure(
            Reason.INVALID_SPEC,
            "PostgreSQL's clients do not agree on how to encode the login's password. Choose one of letters, digits "
            "and ASCII punctuation",
            stage=ConditionType.ACCESS_GRANTED,
        )


def app_login(admin: AdminConnection, credentials: AppCredentials) -> AdminConnection:
    """Return the operator's own way in with the app's login: what the login test connects with."""
    ref = supabase.project_ref(admin.host, admin.user)
    return replace(
        admin, user=supabase.login_of(admin.host, credentials.role, ref), password=credentials.password, warnings=()
    )


def app_secret_data(endpoint: AppEndpoint, credentials: AppCredentials) -> dict[str, str]:
    """Return the Secret's data as plain text by key; the same input gives the same text, byte for byte."""
    user = supabase.login_of(endpoint.host, credentials.role, endpoint.ref)
    password = credentials.password.reveal()
    # libpq prepares a password before it is used, Cipher's node-pg 8.16 does not.
    prepared = saslprep(password)
    host = endpoint.host.strip("[]")
    data = {
        KEY_URL: _url(endpoint, user, prepared, _node_database(endpoint.database), _node_parameters(endpoint)),
        KEY_HOST: host,
        KEY_PORT: str(endpoint.port),
        KEY_DATABASE: endpoint.database,
        KEY_USER: user,
        KEY_PASSWORD: prepared,
        KEY_SSL: "false" if endpoint.tls is SSLMode.DISABLE else "true",
        "type": "postgresql",
        "provider": MANAGED_BY,
        "host": host,
        "port": str(endpoint.port),
        "database": endpoint.database,
        "username": user,
        "password": password,
        "uri": _url(endpoint, user, password, quote(endpoint.database), _libpq_parameters(endpoint)),
    }
    if endpoint.ca is not None:
        data["certificates"] = endpoint.ca
    return data


def read_app_secret(data: Mapping[str, bytes]) -> PublishedLogin | None:
    """Return the login in an app Secret of ours; None where user or password is missing, empty or not text."""
    try:
        user, password = data["username"].decode(), data["password"].decode()
        host = data.get("host", b"").decode()
    except (KeyError, UnicodeDecodeError):
        return None
    if not user or not password or "\0" in user + password:
        return None
    return PublishedLogin(user, supabase.role_of(host, user), Password(password))


def _url(endpoint: AppEndpoint, user: str, password: str, database: str, parameters: list[tuple[str, str]]) -> str:
    bare = endpoint.host.strip("[]")
    host = f"[{bare}]" if ":" in bare else bare
    query = "&".join(f"{name}={quote(value).replace('%2F', '/')}" for name, value in parameters)
    return (
        f"postgresql://{quote(user)}:{quote(password)}@{host}:{endpoint.port}/{database}{'?' if query else ''}{query}"
    )


def _node_database(database: str) -> str:
    """Return the name as node-pg reads it: with JavaScript's decodeURI, which leaves some characters encoded."""
    return "".join(char if char in _LEFT_BY_DECODE_URI else quote(char) for char in database)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _leaves_the_project_open(admin: AdminConnection, app: App) -> bool:
    """Return whether pods go to Supabase's pooler and nothing says which project is meant."""
    if app.host is None or supabase.is_pooler(admin.host):
        return False
    return supabase.is_pooler(app.host) and supabase.project_ref(admin.host, admin.user) is None


def _unpublishable(message: str) -> Failure:
    return Failure(Reason.INVALID_SPEC, message, stage=ConditionType.SECRET_PUBLISHED)


def _libpq_parameters(endpoint: AppEndpoint) -> list[tuple[str, str]]:
    """Return `sslmode`, and the root certificates without which libpq's verify-* looks into the pod's HOME."""
    parameters = [("sslmode", endpoint.tls.value)]
    if endpoint.tls in {SSLMode.VERIFY_CA, SSLMode.VERIFY_FULL}:
        parameters.append(("sslrootcert", endpoint.ca_path or PUBLIC_CA_BUNDLE))
    return parameters


def _node_parameters(endpoint: AppEndpoint) -> list[tuple[str, str]]:
    """Return the same meaning for node-pg, whose `require` verifies unless `uselibpqcompat` is set."""
    parameters = [("sslmode", endpoint.tls.value)]
    bare = endpoint.host.strip("[]")
    if ":" in bare:
        # node-pg 8.16 keeps the brackets of an address in the URL's own place, and looks that up as a name.
        parameters.insert(0, ("host", bare))
    if endpoint.tls is SSLMode.VERIFY_CA:
        # node-pg throws for verify-ca without a root certificate.
        parameters.append(("sslrootcert", endpoint.ca_path or PUBLIC_CA_BUNDLE))
    elif endpoint.tls is SSLMode.VERIFY_FULL and endpoint.ca_path:
        parameters.append(("sslrootcert", endpoint.ca_path))
    if endpoint.tls in {SSLMode.REQUIRE, SSLMode.VERIFY_CA}:
        parameters.append(("uselibpqcompat", "true"))
    if endpoint.max_connections is not None:
        parameters.append(("max_connections", str(endpoint.max_connections)))
    return parameters
