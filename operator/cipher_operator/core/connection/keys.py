"""The individual parameters of a connection: from keys of the Secret, and host, port and database from the spec."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import Connection, SSLMode
from cipher_operator.core.connection import foreign
from cipher_operator.core.connection.values import (
    DEFAULT_PORT,
    check_login,
    has_port,
    in_spec,
    parse_database,
    parse_host,
    parse_port,
    refuse,
)


@dataclass(frozen=True, slots=True)
class Individual:
    """What the individual parameters say; `ssl_mode` None where the `ssl` key is absent or empty."""

    host: str
    port: int
    user: str
    password: str
    database: str | None
    ssl_mode: SSLMode | None

    def __repr__(self) -> str:
        return "Individual(***)"


def read_individual(data: Mapping[str, bytes], connection: Connection) -> Individual:
    """Return the connection that keys of a Secret and the spec describe together; a field of the spec goes first.

    Raises Failure: SECRET_KEY_MISSING, INVALID_URL for a value of the Secret, INVALID_SPEC for one of the spec.
    """
    keys = connection.keys
    if said := foreign.crossed(keys):
        raise Failure(Reason.INVALID_SPEC, said, stage=ConditionType.CONNECTED)
    needed = (*(() if connection.host else (keys.host,)), keys.user, keys.password)
    values = {key: text_of(data, key) or "" for key in (*needed, keys.port, keys.database)}
    _check_present(data, connection, needed, values)
    for key in (*needed, keys.database):
        # The name of a database stands in status and events: with such a document its password would.
        if said := foreign.check_document(values[key], f"Secret key `{key}`"):
            refuse(said)
    if foreign.encoded_again(text for key in (*needed, keys.port) if (text := values[key])):
        refuse(
            f"The values of Secret keys {_listed(needed)} are base64 once more than they may be: in `data` a value is "
            "encoded once, in `stringData` not at all."
        )
    return Individual(
        host=_host(connection, values),
        port=_port(connection, values[keys.port]),
        user=check_login(values[keys.user], f"Secret key `{keys.user}`"),
        password=values[keys.password],
        database=_database(connection, values[keys.database]),
        ssl_mode=read_ssl_key(data, keys.ssl),
    )


def read_ssl_key(data: Mapping[str, bytes], key: str) -> SSLMode | None:
    """Return require for "true", disable for "false", None where the key is absent or empty."""
    value = text_of(data, key)
    if not value:
        return None
    if value not in {"true", "false"}:
        refuse(f'Secret key `{key}` must be "true" (TLS, as sslMode require) or "false" (no TLS, as disable).')
    return SSLMode.REQUIRE if value == "true" else SSLMode.DISABLE


def text_of(data: Mapping[str, bytes], key: str) -> str | None:
    """Return a value as text with exactly one trailing newline stripped; None where the key is absent."""
    value = data.get(key)
    if value is None:
        return None
    try:
        text = re.sub(r"\r?\n\Z", "", value.decode("utf-8"), count=1)
    except UnicodeDecodeError:
        text = None
    if text is None or "\0" in text:
        refuse(f"The value of Secret key `{key}` is not UTF-8 text without NUL bytes. Write it again as plain text.")
    return text


def _host(connection: Connection, values: Mapping[str, str]) -> str:
    if connection.host:
        return in_spec(parse_host, connection.host, "spec.connection.host")
    key = connection.keys.host
    if has_port(values[key]):
        refuse(
            f"The host in Secret key `{key}` has a port behind it. Write the name or the IP address alone, name a key "
            "that holds it alone in `spec.connection.secretRef.keys.host`, or set `spec.connection.host`."
        )
    return parse_host(values[key], f"The host in Secret key `{key}`")


def _port(connection: Connection, text: str) -> int:
    if connection.port is not None:
        return in_spec(parse_port, str(connection.port), "spec.connection.port")
    return parse_port(text, f"The port in Secret key `{connection.keys.port}`") if text else DEFAULT_PORT


def _database(connection: Connection, text: str) -> str | None:
    if connection.database is not None:
        return in_spec(parse_database, connection.database, "spec.connection.database")
    return parse_database(text, f"Secret key `{connection.keys.database}`")


def _check_present(
    data: Mapping[str, bytes], connection: Connection, needed: tuple[str, ...], values: Mapping[str, str]
) -> None:
    keys, secret = connection.keys, f"Secret `{connection.secret_name}`"
    missing = [key for key in needed if not values[key]]
    if not missing:
        return
    key, remedy = missing[0], foreign.proposal(data, keys, host_in_spec=bool(connection.host))
    if connection.host is None and missing == list(needed):
        state = "an empty" if keys.url in data else "no"
        what = f"{secret} has {state} key `{keys.url}`, and no keys {_listed(needed)} either."
        renaming = "name the keys that are there in `spec.connection.secretRef.keys`"
        remedy = remedy or f"Add the URL, or all three, or {renaming}."
    else:
        state = "is empty" if key in data else "is missing"
        why = "With `spec.connection.host`" if connection.host else f"Without a URL in `{keys.url}`"
        unread = f", and the URL in `{keys.url}` is not read" if connection.host and data.get(keys.url) else ""
        what = f"Key `{key}` {state} in {secret}. {why} the keys {_listed(needed)} are needed{unread}."
        remedy = remedy or "Add it, or name the right one in `spec.connection.secretRef.keys`."
    raise Failure(Reason.SECRET_KEY_MISSING, f"{what} {remedy}", stage=ConditionType.CONNECTED)


def _listed(keys: tuple[str, ...]) -> str:
    *first, last = (f"`{key}`" for key in keys)
    return f"{', '.join(first)} and {last}"
