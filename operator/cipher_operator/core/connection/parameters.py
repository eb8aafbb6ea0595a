"""What the query of a connection URL asks for: an allow-list of parameters, and of the values they may have."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cipher_operator.api.spec import ChannelBinding, SSLMode
from cipher_operator.core.connection.values import refuse

VERIFYING = frozenset({SSLMode.VERIFY_CA, SSLMode.VERIFY_FULL})
MAX_CONNECT_TIMEOUT = 10
"""Seconds a URL may ask for; more would let one storage hold a worker."""
MAX_POOL = 10_000

_FIXED_VALUES: Mapping[str, tuple[str, ...]] = {
    "channel_binding": tuple(ChannelBinding),
    "sslnegotiation": ("postgres", "direct"),
    "require_auth": ("md5", "scram-sha-256"),
    "target_session_attrs": ("any", "read-write", "primary"),
}
_USED = frozenset({"sslmode", "connect_timeout", "max_connections", *_FIXED_VALUES})
_WITHOUT_MEANING = frozenset(
    {
        "application_name",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "uselibpqcompat",
        "supa",
        "statement_cache_size",
        "socket_timeout",
    }
)
"""Dropped without a word: the operator sets its own, or they are another client's and change nothing here."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """The query's meaning. None is what it does not say, and what is the rule anyway."""

    ssl_mode: SSLMode | None = None
    channel_binding: ChannelBinding | None = None
    ssl_negotiation: str | None = None
    require_auth: str | None = None
    target_session_attrs: str | None = None
    max_connections: int | None = None
    connect_timeout: int | None = None
    warnings: tuple[str, ...] = ()


def read_parameters(query: Mapping[str, str], where: str) -> Parameters:
    """Return what the decoded query means; `where` begins the messages. Raises Failure InvalidURL."""
    mode = _ssl_mode(query, where)
    for name, allowed in _FIXED_VALUES.items():
        if name in query and query[name] not in allowed:
            refuse(f"{where} has a `{name}` that is not allowed. Allowed: {', '.join(allowed)}.")
    timeout = _number(query, "connect_timeout", 0, 2_147_483_647, where)
    binding = query.get("channel_binding")
    session = query.get("target_session_attrs")
    return Parameters(
        ssl_mode=mode,
        channel_binding=ChannelBinding(binding) if binding else None,
        ssl_negotiation=query.get("sslnegotiation"),
        require_auth="md5" if query.get("require_auth") == "md5" else None,
        target_session_attrs=session if session != "any" else None,
        max_connections=_number(query, "max_connections", 1, MAX_POOL, where),
        connect_timeout=min(timeout, MAX_CONNECT_TIMEOUT) if timeout else None,
        warnings=tuple(_ignored(query, mode)),
    )


def _ignored(query: Mapping[str, str], mode: SSLMode | None) -> list[str]:
    return [
        f"`{name}` in the URL is ignored."
        + (" A new CipherStorage can have `spec.schema`." if name == "schema" else "")
        for name, value in query.items()
        if name not in _USED | _WITHOUT_MEANING
        and not (name == "ssl" and value == "true" and mode in VERIFYING | {SSLMode.REQUIRE})
    ]


def _ssl_mode(query: Mapping[str, str], where: str) -> SSLMode | None:
    value = query.get("sslmode")
    if value is None:
        # Older drivers' word for it, which libpq takes too: a URL that asks for TLS never goes without.
        return SSLMode.REQUIRE if query.get("ssl") == "true" else None
    try:
        return SSLMode(value)
    except ValueError:
        hint = " For node's `no-verify` write `require`." if value == "no-verify" else ""
    refuse(f"{where} has an `sslmode` that is not allowed. Allowed: {', '.join(SSLMode)}.{hint}")


def _number(query: Mapping[str, str], name: str, low: int, high: int, where: str) -> int | None:
    value = query.get(name)
    if value is None:
        return None
    if not (re.fullmatch(r"[0-9]{1,10}", value) and low <= int(value) <= high):
        refuse(f"{where} has a `{name}` that is not a whole number from {low} to {high}.")
    return int(value)
