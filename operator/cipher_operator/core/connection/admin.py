"""The operator's way in: what the connection Secret says, checked and decoded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import Connection, SSLMode
from cipher_operator.core.connection.certificates import certificate_blocks
from cipher_operator.core.connection.password import Password
from cipher_operator.core.connection.url import (
    DEFAULT_PORT,
    check_database,
    check_login,
    parse_host,
    parse_port,
    parse_url,
    quote,
    unquote,
)

__all__ = ["AdminConnection", "Password", "parse_url", "quote", "read_admin_connection", "unquote"]

VERIFYING = frozenset({SSLMode.VERIFY_CA, SSLMode.VERIFY_FULL})
MAX_CONNECT_TIMEOUT = 10
"""Seconds a URL may ask for; more would let one storage hold a worker."""
MAX_POOL = 10_000

_FIXED_VALUES = {
    "channel_binding": ("disable", "prefer", "require"),
    "sslnegotiation": ("postgres", "direct"),
    "require_auth": ("md5", "scram-sha-256"),
    "target_session_attrs": ("any", "read-write", "primary"),
}
_SILENTLY_DROPPED = frozenset(
    {
        "application_name",
        "target_session_attrs",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "uselibpqcompat",
        "supa",
        "statement_cache_size",
        "socket_timeout",
        "connect_timeout",
    }
)
_USED = frozenset({"sslmode", "channel_binding", "sslnegotiation", "require_auth", "max_connections"})


@dataclass(frozen=True, slots=True)
class AdminConnection:
    """Everything a session needs, decoded; `host` without brackets, `ca` as PEM text of certificates only.

    `require_auth` is `md5` only where the URL asks for it. `connect_timeout` is in seconds, at most 10, and None
    where the operator's own setting counts. `warnings` are sentences for people, free of secrets.
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

    def __repr__(self) -> str:
        return "AdminConnection(***)"


@dataclass(frozen=True, slots=True)
class _Raw:
    """What either method says, before sslMode and CA are decided."""

    host: str
    port: int
    user: str
    password: str
    database: str | None
    ssl_mode: SSLMode | None
    parameters: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def read_admin_connection(data: Mapping[str, bytes], connection: Connection, ca: bytes | None) -> AdminConnection:
    """Return the admin connection that a Secret's decoded `data` and `spec.connection` describe.

    The URL counts when its key is present and not empty, else the individual keys. sslMode: the spec, the URL,
    the `ssl` key, `require`, in this order. `ca` is the content that `caRef` names. Raises Failure:
    SECRET_KEY_MISSING, INVALID_URL, or TLS_UNTRUSTED where `ca` holds no certificate.
    """
    url = _text(data, connection.keys.url)
    raw = _from_url(url, data, connection) if url else _from_keys(data, connection)
    mode = connection.ssl_mode or raw.ssl_mode or SSLMode.REQUIRE
    negotiation = raw.parameters.get("sslnegotiation")
    if negotiation == "direct" and mode not in VERIFYING | {SSLMode.REQUIRE}:
        _invalid(
            f"`sslnegotiation=direct` in the URL in Secret key `{connection.keys.url}` needs sslMode require, "
            f"verify-ca or verify-full, and it is {mode}. Remove the parameter or set the mode."
        )
    timeout = raw.parameters.get("connect_timeout")
    pool = raw.parameters.get("max_connections")
    certificates, ca_warning = _certificates(connection, mode, ca)
    return AdminConnection(
        host=raw.host,
        port=raw.port,
        user=raw.user,
        password=Password(raw.password),
        database=raw.database,
        ssl_mode=mode,
        ca=certificates,
        channel_binding=raw.parameters.get("channel_binding"),
        require_auth="md5" if raw.parameters.get("require_auth") == "md5" else None,
        ssl_negotiation=negotiation,
        max_connections=int(pool) if pool else None,
        connect_timeout=min(int(timeout), MAX_CONNECT_TIMEOUT) if timeout and int(timeout) > 0 else None,
        warnings=raw.warnings + ca_warning,
    )


def _from_url(url: str, data: Mapping[str, bytes], connection: Connection) -> _Raw:
    key = connection.keys.url
    parsed = parse_url(url, key)
    where = f"The URL in Secret key `{key}`"
    mode = _url_ssl_mode(parsed.parameters, where)
    for name, allowed in _FIXED_VALUES.items():
        if name in parsed.parameters and parsed.parameters[name] not in allowed:
            _invalid(f"{where} has a `{name}` that is not allowed. Allowed: {', '.join(allowed)}.")
    _check_number(parsed.parameters, "connect_timeout", 0, 2_147_483_647, where)
    _check_number(parsed.parameters, "max_connections", 1, MAX_POOL, where)
    warnings = tuple(
        f"`{name}` in the URL is ignored."
        + (" A new CipherStorage can have `spec.schema`." if name == "schema" else "")
        for name, value in parsed.parameters.items()
        if name not in _USED | _SILENTLY_DROPPED
        and not (name == "ssl" and value == "true" and mode in VERIFYING | {SSLMode.REQUIRE})
    )
    if mode is None and connection.ssl_mode is None:
        mode = _ssl_key(data, connection.keys.ssl)
    return _Raw(
        parsed.host, parsed.port, parsed.user, parsed.password, parsed.database, mode, parsed.parameters, warnings
    )


def _from_keys(data: Mapping[str, bytes], connection: Connection) -> _Raw:
    keys = connection.keys
    values = {key: _text(data, key) for key in (keys.host, keys.user, keys.password)}
    if not any(values.values()):
        state = "an empty" if keys.url in data else "no"
        _missing(
            f"Secret `{connection.secret_name}` has {state} key `{keys.url}`, and no keys `{keys.host}`, "
            f"`{keys.user}` and `{keys.password}` either. Add the URL, or all three, or "
            "name the keys that are there in `spec.connection.secretRef.keys`."
        )
    for key, value in values.items():
        if not value:
            state = "is empty" if key in data else "is missing"
            _missing(
                f"Key `{key}` {state} in Secret `{connection.secret_name}`. Without a URL in `{keys.url}` the keys "
                f"`{keys.host}`, `{keys.user}` and `{keys.password}` are needed."
            )
    port, database = _text(data, keys.port), _text(data, keys.database)
    user = values[keys.user] or ""
    return _Raw(
        host=parse_host(values[keys.host] or "", f"The host in Secret key `{keys.host}`"),
        port=parse_port(port, f"The port in Secret key `{keys.port}`") if port else DEFAULT_PORT,
        user=check_login(user, f"Secret key `{keys.user}`"),
        password=values[keys.password] or "",
        database=check_database(database, f"Secret key `{keys.database}`") if database else None,
        ssl_mode=_ssl_key(data, keys.ssl),
        parameters={},
    )


def _text(data: Mapping[str, bytes], key: str) -> str | None:
    """Return a value as text with exactly one trailing newline stripped; None where the key is absent."""
    value = data.get(key)
    if value is None:
        return None
    try:
        text = re.sub(r"\r?\n\Z", "", value.decode("utf-8"), count=1)
    except UnicodeDecodeError:
        text = None
    if text is None or "\0" in text:
        _invalid(f"The value of Secret key `{key}` is not UTF-8 text without NUL bytes. Write it again as plain text.")
    return text


def _url_ssl_mode(parameters: Mapping[str, str], where: str) -> SSLMode | None:
    value = parameters.get("sslmode")
    if value is None:
        # Older drivers' word for it, which libpq takes too: a URL that asks for TLS never goes without.
        return SSLMode.REQUIRE if parameters.get("ssl") == "true" else None
    try:
        return SSLMode(value)
    except ValueError:
        hint = " For node's `no-verify` write `require`." if value == "no-verify" else ""
    _invalid(f"{where} has an `sslmode` that is not allowed. Allowed: {', '.join(SSLMode)}.{hint}")


def _ssl_key(data: Mapping[str, bytes], key: str) -> SSLMode | None:
    value = _text(data, key)
    if not value:
        return None
    if value not in {"true", "false"}:
        _invalid(f'Secret key `{key}` must be "true" (TLS, as sslMode require) or "false" (no TLS, as disable).')
    return SSLMode.REQUIRE if value == "true" else SSLMode.DISABLE


def _check_number(parameters: Mapping[str, str], name: str, low: int, high: int, where: str) -> None:
    value = parameters.get(name)
    if value is not None and not (re.fullmatch(r"[0-9]{1,10}", value) and low <= int(value) <= high):
        _invalid(f"{where} has a `{name}` that is not a whole number from {low} to {high}.")


def _certificates(connection: Connection, mode: SSLMode, ca: bytes | None) -> tuple[str | None, tuple[str, ...]]:
    if connection.ca is None:
        return None, ()
    if mode not in VERIFYING:
        return None, (f"`spec.connection.caRef` is not used with sslMode {mode}: set verify-ca or verify-full.",)
    certificates = certificate_blocks(ca or b"")
    if certificates is None:
        raise Failure(
            Reason.TLS_UNTRUSTED,
            f"Key `{connection.ca.key}` of {connection.ca.kind} `{connection.ca.name}` (`spec.connection.caRef`) "
            "holds no PEM certificate. Put the server's CA there, beginning with -----BEGIN CERTIFICATE-----.",
            stage=ConditionType.CONNECTED,
        )
    return certificates, ()


def _invalid(message: str) -> NoReturn:
    raise Failure(Reason.INVALID_URL, message, stage=ConditionType.CONNECTED)


def _missing(message: str) -> NoReturn:
    raise Failure(Reason.SECRET_KEY_MISSING, message, stage=ConditionType.CONNECTED)
