"""Secrets as other tools write them, and values as people paste them: what they are taken for, and what to do.

The keys are CloudNativePG's, Crunchy's, Zalando's, Crossplane's, External Secrets', Vault's and those of providers and
charts. Nothing is used under a key that the spec does not name; a message proposes the field to set. Only keys from
these lists are named in it, and never a value.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping

from cipher_operator.api.failures import Failure
from cipher_operator.api.spec import SecretKeys
from cipher_operator.core.connection.values import SCHEMES, parse_host

MAX_DOCUMENT = 65_536
"""Characters of a value that is looked into."""

URL_KEYS = (
    *("fqdn-uri", "uri", "url", "URL", "DATABASE_URL", "POSTGRES_URL", "POSTGRESQL_URL", "database_url", "DB_URL"),
    *("connectionString", "connection_string", "connection-string"),
)
"""CloudNativePG's `fqdn-uri` comes before its `uri`: it is found from every namespace."""
KEYS: Mapping[str, tuple[str, ...]] = {
    "host": ("host", "hostname", "address", "endpoint", "PGHOST", "POSTGRES_HOST", "DB_HOST"),
    "port": ("port", "PGPORT", "POSTGRES_PORT", "DB_PORT"),
    "database": ("dbname", "database", "PGDATABASE", "POSTGRES_DB", "DB_NAME"),
    "user": ("username", "user", "master_username", "PGUSER", "POSTGRES_USER", "DB_USER"),
    "password": (
        *("password", "attribute.password", "attribute.master_password", "PGPASSWORD", "POSTGRES_PASSWORD"),
        "DB_PASSWORD",
    ),
}
"""What stands under which keys, by the field of `spec.connection.secretRef.keys`."""

_BASE64 = re.compile(r"[A-Za-z0-9+/]{2,}={0,2}")
_DOCUMENT = "holds a JSON document, which is not read"
SPLIT_IT = "Let the tool that writes the Secret give each value a key (External Secrets: `dataFrom` with `extract`)"

FORM = "postgresql://USER:PASSWORD@HOST/DATABASE"
_TAKEN_FOR = tuple(
    (re.compile(pattern, re.IGNORECASE), said)
    for pattern, said in (
        (r"\{", f" It seems to be a JSON document, which is not read. {SPLIT_IT}."),
        (r"postgres(?:ql)?://", " Write the scheme in lower case."),
        (r"jdbc:", " A JDBC URL is not read: name the key of the plain one, such as `uri`, or write it anew."),
        (r"postgres(?:ql)?\+[a-z0-9_]+://", " Take the driver's name out of the scheme."),
        (r"psql ", " Take only the URL out of the command, without quotes."),
        (
            r"(?:export )?[a-z_][a-z0-9_]{0,63}=['\"]?postgres(?:ql)?://",
            " Take off what stands before it: a value has no name and no `=`.",
        ),
    )
)
"""What a value begins with that is pasted where a URL belongs, and what to say of it."""


def proposal(data: Mapping[str, bytes], keys: SecretKeys, host_in_spec: bool) -> str | None:
    """Return a sentence that says which fields make this Secret readable; None where it is like none of these tools'.

    It proposes what is missing under `keys`, all that the Secret has for it, and `spec.connection.host` where it has
    no host.
    """
    if not host_in_spec and (url := _first(data, URL_KEYS, lambda text: text.startswith(SCHEMES))):
        return f"It has a URL under `{url}`: set `spec.connection.secretRef.keys: {{url: {url}}}`."
    present = {field: _under(data, field, keys) for field in KEYS}
    if not (present["user"] and present["password"]):
        documents = (text for value in data.values() if (text := _text(value)) is not None)
        return f"One of its keys {_DOCUMENT}. {SPLIT_IT}." if any(map(is_document, documents)) else None
    if host_in_spec:
        present |= {"host": None}
    renamed = {field: key for field, key in present.items() if key and key != getattr(keys, field)}
    mapping = ", ".join(f"{field}: {key}" for field, key in renamed.items())
    fields = [f"`spec.connection.secretRef.keys: {{{mapping}}}`"] if mapping else []
    if not host_in_spec and present["host"] is None:
        return f"It has a login and no host: set {' and '.join([*fields, '`spec.connection.host`'])}."
    return f"Set {fields[0]}." if fields else None


def crossed(keys: SecretKeys) -> str | None:
    """Return what to say of a field that names another one's key; None where none does.

    A password that is read as the name of a login would stand in status, events and the server's log.
    """
    shown = {getattr(keys, field): field for field in KEYS if field != "password"}
    if (known := next((key for key in shown if key in KEYS["password"]), None)) is not None:
        return _names(shown[known], known, "a password")
    if keys.password in KEYS["user"]:
        return _names("password", keys.password, "a login's name")
    # Whatever its name: the spec says what it is.
    return _names(shown[keys.password], keys.password, "a password") if keys.password in shown else None


def _names(field: str, key: str, what: str) -> str:
    return f"`spec.connection.secretRef.keys.{field}` names the key `{key}`, which is {what}. Name another key."


def check_document(text: str, what: str) -> str | None:
    """Return what to say of a value that is a JSON document with a login in it; None for any other."""
    return f"{what} {_DOCUMENT}. {SPLIT_IT}." if is_document(text) else None


def is_document(text: str) -> bool:
    """Return whether a text is a JSON object that has a password."""
    if len(text) > MAX_DOCUMENT or not text.lstrip().startswith("{"):
        return False
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and any("password" in str(key).lower() for key in document)


def encoded_again(texts: Iterable[str]) -> bool:
    """Return whether every one of these texts, at least one, is base64 of printable text.

    A single value may be so by chance; that all of a login are so is none.
    """
    found = [_decodes(text) for text in texts]
    return bool(found) and all(found)


def not_a_url(text: str) -> str:
    """Return what to say, beside the rule, of a value that does not begin as a URL."""
    head = text[:MAX_DOCUMENT].lstrip(" \t\r\n")
    if _without_invisible(head) != head and _without_invisible(head).startswith(SCHEMES):
        return " A character that nobody sees stands before it, such as a byte order mark: write the value anew."
    if (inner := _decoded(head)) is not None and inner.startswith(SCHEMES):
        return " It is base64 once more: in `data` a value is encoded once, in `stringData` not at all."
    return next((said for looks, said in _TAKEN_FOR if looks.match(head)), f" Write it as {FORM}.")


def is_placeholder(password: str) -> bool:
    """Return whether this is what a provider's console shows in place of a password."""
    return re.fullmatch(r"\[[A-Za-z][A-Za-z _-]*\]|\*{4,}|<[A-Za-z][A-Za-z _-]*>", password) is not None


def _under(data: Mapping[str, bytes], field: str, keys: SecretKeys) -> str | None:
    usable = _is_host if field == "host" else bool
    named = getattr(keys, field)
    return _first(data, (named, *KEYS[field]), usable)


def _first(data: Mapping[str, bytes], names: tuple[str, ...], usable: Callable[[str], bool]) -> str | None:
    return next((name for name in names if (text := _text(data.get(name))) is not None and usable(text)), None)


def _is_host(text: str) -> bool:
    try:
        return bool(parse_host(text.strip(), "The host"))
    except Failure:
        return False


def _text(value: bytes | None) -> str | None:
    try:
        return value.decode() if value is not None else None
    except UnicodeDecodeError:
        return None


def _without_invisible(text: str) -> str:
    """Return the text from its first character on that can be seen."""
    return text.lstrip("".join(char for char in dict.fromkeys(text[:8]) if not char.isprintable() or char.isspace()))


def _decodes(text: str) -> bool:
    return _decoded(text) is not None


def _decoded(text: str) -> str | None:
    """Return the printable text that base64 stands for; None where it stands for none."""
    bare = "".join(text.split())
    if len(bare) % 4 or not _BASE64.fullmatch(bare):
        return None
    try:
        decoded = base64.b64decode(bare, validate=True).decode("utf-8").removesuffix("\n")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return decoded if decoded and decoded.isprintable() else None
