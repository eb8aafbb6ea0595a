"""The operator's way in: what the connection Secret and the spec say, checked and decoded."""

from collections.abc import Mapping
from dataclasses import dataclass

from cipher_operator.api.choices import SSLMode
from cipher_operator.api.connection import PASSWORD_AUTH, Auth, CARef, Connection
from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.connection.certificates import certificate_blocks
from cipher_operator.core.connection.keys import Individual, read_individual, read_ssl_key, text_of
from cipher_operator.core.connection.parameters import MAX_POOL, VERIFYING, Parameters, read_parameters
from cipher_operator.core.connection.password import Password
from cipher_operator.core.connection.url import parse_url, quote, unquote
from cipher_operator.core.connection.values import (
    DEFAULT_PORT,
    check_login,
    in_spec,
    parse_database,
    parse_host,
    refuse,
)

__all__ = [
    "MAX_POOL",
    "VERIFYING",
    "AdminConnection",
    "Password",
    "parse_url",
    "quote",
    "read_admin_connection",
    "read_certificates",
    "unquote",
]


@dataclass(frozen=True, slots=True)
class AdminConnection:
    """Everything a session needs, decoded; `host` without brackets, `ca` as PEM text of certificates only.

    `require_auth` is `md5` only where the URL asks for it, `target_session_attrs` is `read-write` or `primary` only
    where it does. `connect_timeout` is in seconds, at most 10, and None where the operator's own setting counts.
    `warnings` are sentences for people, free of secrets.
    """

    host: str
    port: int
    user: str
    password: Password
    database: str | None
    ssl_mode: SSLMode
    ca: str | None = None
    channel_binding: str | None = None
    require_auth: str | None = None
    ssl_negotiation: str | None = None
    max_connections: int | None = None
    connect_timeout: int | None = None
    warnings: tuple[str, ...] = ()
    target_session_attrs: str | None = None
    auth: Auth = PASSWORD_AUTH
    """With another method than a password, `password` is empty until a token is asked for."""
    address: str | None = None
    """The one of the host's addresses that is meant, numeric; None where any of them is."""

    def __repr__(self) -> str:
        return "AdminConnection(***)"


def read_admin_connection(data: Mapping[str, bytes], connection: Connection, ca: bytes | None) -> AdminConnection:
    """Return the admin connection that a Secret's decoded `data` and `spec.connection` describe.

    With `spec.connection.host` the Secret holds a login. Else the URL counts when its key is present and not empty,
    else the individual keys. sslMode: the spec, the URL, the `ssl` key, `require`, in this order. `ca` is the content
    that `caRef` names. Raises Failure: SECRET_KEY_MISSING, INVALID_URL, INVALID_SPEC, or TLS_UNTRUSTED where `ca` holds
    no certificate.
    """
    url = None if connection.host else text_of(data, connection.keys.url)
    if connection.user is not None:
        return _without_secret(connection, connection.user, ca)
    found, asked = _from_url(url, data, connection) if url else (read_individual(data, connection), Parameters())
    mode = connection.ssl_mode or found.ssl_mode or SSLMode.REQUIRE
    if asked.ssl_negotiation == "direct" and mode not in VERIFYING | {SSLMode.REQUIRE}:
        refuse(
            f"`sslnegotiation=direct` in the URL in Secret key `{connection.keys.url}` needs sslMode require, "
            f"verify-ca or verify-full, and it is {mode}. Remove the parameter or set the mode."
        )
    certificates, ca_warning = _certificates(connection, mode, ca)
    return AdminConnection(
        host=found.host,
        port=found.port,
        user=found.user,
        password=Password(found.password),
        database=found.database,
        ssl_mode=mode,
        ca=certificates,
        channel_binding=connection.channel_binding or asked.channel_binding,
        require_auth=asked.require_auth,
        ssl_negotiation=asked.ssl_negotiation,
        max_connections=asked.max_connections,
        connect_timeout=asked.connect_timeout,
        warnings=asked.warnings + ca_warning,
        target_session_attrs=asked.target_session_attrs,
    )


def _without_secret(connection: Connection, user: str, ca: bytes | None) -> AdminConnection:
    """Return the connection of a login that a token is asked for: all of it stands in the spec."""
    mode = connection.ssl_mode or SSLMode.REQUIRE
    if mode not in VERIFYING:
        raise Failure(
            Reason.INVALID_SPEC,
            f"`spec.connection.sslMode` must be verify-ca or verify-full with `auth.method: {connection.auth.method}`: "
            "whoever the token is sent to can use it",
            stage=ConditionType.CONNECTED,
        )
    certificates, warnings = _certificates(connection, mode, ca)
    return AdminConnection(
        host=in_spec(parse_host, connection.host or "", "spec.connection.host"),
        port=connection.port or DEFAULT_PORT,
        user=in_spec(check_login, user, "spec.connection.user"),
        password=Password(""),
        database=in_spec(parse_database, connection.database or "", "spec.connection.database"),
        ssl_mode=mode,
        ca=certificates,
        channel_binding=connection.channel_binding,
        warnings=warnings,
        auth=connection.auth,
    )


def read_certificates(reference: CARef, field: str, content: bytes | None, stage: ConditionType) -> str:
    """Return the PEM certificates that a `caRef` names; `field` is its path. Raises Failure TLS_UNTRUSTED."""
    certificates = certificate_blocks(content or b"")
    if certificates is None:
        raise Failure(
            Reason.TLS_UNTRUSTED,
            f"Key `{reference.key}` of {reference.kind} `{reference.name}` (`{field}`) "
            "holds no PEM certificate. Put the server's CA there, beginning with -----BEGIN CERTIFICATE-----.",
            stage=stage,
        )
    return certificates


def _from_url(url: str, data: Mapping[str, bytes], connection: Connection) -> tuple[Individual, Parameters]:
    key = connection.keys.url
    parsed = parse_url(url, key)
    asked = read_parameters(parsed.parameters, f"The URL in Secret key `{key}`")
    mode = asked.ssl_mode
    if mode is None and connection.ssl_mode is None:
        mode = read_ssl_key(data, connection.keys.ssl)
    return Individual(parsed.host, parsed.port, parsed.user, parsed.password, parsed.database, mode), asked


def _certificates(connection: Connection, mode: SSLMode, ca: bytes | None) -> tuple[str | None, tuple[str, ...]]:
    if connection.ca is None:
        return None, ()
    if mode not in VERIFYING:
        return None, (f"`spec.connection.caRef` is not used with sslMode {mode}: set verify-ca or verify-full.",)
    return read_certificates(connection.ca, "spec.connection.caRef", ca, ConditionType.CONNECTED), ()
