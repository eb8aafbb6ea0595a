"""The app Secret: one login in three forms, for Cipher (node-pg), for libpq, and for Service Binding.

node-pg and libpq give `sslmode` different meanings, so there are two URLs: `CIPHER_PG_URL` and `uri`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

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
from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection import supabase
from cipher_operator.core.connection.password import Password
from cipher_operator.core.connection.scram import clients_agree, saslprep
from cipher_operator.core.connection.url import quote
from cipher_operator.core.door import (
    AppCredentials,
    AppEndpoint,
    app_door,
    app_login,
    check_publishable,
    door_login,
)

__all__ = [
    "MAX_PASSWORD",
    "MAX_VALUE",
    "PUBLIC_CA_BUNDLE",
    "AppCredentials",
    "AppEndpoint",
    "AppSecretData",
    "PublishedLogin",
    "app_door",
    "app_login",
    "app_secret_data",
    "check_password",
    "check_publishable",
    "door_login",
    "read_app_secret",
]

PUBLIC_CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
"""Where Debian, Ubuntu and Alpine images keep the public CAs; libpq needs a path to verify with them."""

MAX_VALUE = 65_536
"""Bytes of one value. Linux starts no program that has 131,072 or more in one variable of its environment."""
MAX_PASSWORD = 4_096
"""Bytes of a password: percent-encoded in a URL it becomes three times as long."""

_LEFT_BY_DECODE_URI = ";/:@&=+$,"
"""What node-pg does not decode in a database name; `?` and `#` neither, but they cannot stand in a path as they are."""


@dataclass(frozen=True, slots=True)
class AppSecretData:
    """The Secret's data as plain text by key, each of at most MAX_VALUE bytes; `warnings` say what was left out."""

    data: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "AppSecretData(***)"


@dataclass(frozen=True, slots=True)
class PublishedLogin:
    """What an app Secret says now: the login as published, the role behind it, and the password."""

    user: str
    role: str
    password: Password


def check_password(password: Password) -> None:
    """Raise Failure(INVALID_SPEC) for a password with which libpq gets in and Cipher's client would not."""
    if len(password.reveal().encode()) > MAX_PASSWORD:
        raise Failure(
            Reason.INVALID_SPEC,
            f"the login's password is longer than {MAX_PASSWORD} bytes, and pods have it in their environment several "
            "times. Choose a shorter one",
            stage=ConditionType.ACCESS_GRANTED,
        )
    if not clients_agree(password):
        raise Failure(
            Reason.INVALID_SPEC,
            "PostgreSQL's clients do not agree on how to encode the login's password. Choose one of letters, digits "
            "and ASCII punctuation",
            stage=ConditionType.ACCESS_GRANTED,
        )


def app_secret_data(endpoint: AppEndpoint, credentials: AppCredentials) -> AppSecretData:
    """Return what the Secret holds; the same input gives the same text, byte for byte."""
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
    if endpoint.ca is None:
        return AppSecretData(data)
    if len(endpoint.ca.encode()) > MAX_VALUE:
        return AppSecretData(
            data,
            (
                f"key `certificates` is left out of the Secret, as the CA bundle is longer than {MAX_VALUE // 1024} "
                "KiB, and pods could not be started with it in their environment. They verify with what is mounted at "
                "`spec.app.caPath`; to have the key, name a bundle with fewer certificates, such as the region's own",
            ),
        )
    return AppSecretData({**data, "certificates": endpoint.ca})


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


def _libpq_parameters(endpoint: AppEndpoint) -> list[tuple[str, str]]:
    """Return `sslmode`, the root certificates without which libpq's verify-* looks into the pod's HOME, and what the
    way in asks for and no other client knows."""
    parameters = [("sslmode", endpoint.tls.value)]
    if endpoint.tls in {SSLMode.VERIFY_CA, SSLMode.VERIFY_FULL}:
        parameters.append(("sslrootcert", endpoint.ca_path or PUBLIC_CA_BUNDLE))
    if endpoint.channel_binding in {"disable", "require"}:
        parameters.append(("channel_binding", endpoint.channel_binding))
    if endpoint.target_session_attrs is not None:
        parameters.append(("target_session_attrs", endpoint.target_session_attrs))
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
