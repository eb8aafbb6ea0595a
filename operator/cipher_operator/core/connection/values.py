"""The parts of a connection, wherever they are written: each checked, and refused by the name of its place.

`what` begins every message, for example "The host in Secret key `HOST`"; no message repeats a value, except the name
of a reserved database. Everything here raises Failure InvalidURL, stage Connected, unless it says otherwise.
"""

import ipaddress
import re
from collections.abc import Callable
from typing import NoReturn, TypeVar

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import MAX_NAME
from cipher_operator.api.reasons import Reason
from cipher_operator.api.reserved import is_reserved_database

SCHEMES = ("postgresql://", "postgres://")
DEFAULT_PORT = 5432
MAX_LOGIN = 255
NO_DATABASE = "*"
"""What CloudNativePG writes in place of its superuser's database: that one belongs to none."""

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_WITH_PORT = re.compile(r"(?:\[[^\[\]]*\]|[^:\[\]/]+):[0-9]*")

Value = TypeVar("Value")


def refuse(message: str) -> NoReturn:
    """Raise the Failure."""
    raise Failure(Reason.INVALID_URL, message, stage=ConditionType.CONNECTED)


def in_spec(
    read: Callable[[str, str], Value], text: str, field: str, stage: ConditionType = ConditionType.CONNECTED
) -> Value:
    """Return what `read` makes of a field of the spec. Raises Failure InvalidSpec that names the field."""
    try:
        return read(text, f"`{field}`")
    except Failure as failure:
        message = failure.message
    raise Failure(Reason.INVALID_SPEC, message, stage=stage)


def parse_host(text: str, what: str) -> str:
    """Return a host name or an IP address without brackets."""
    if not text:
        refuse(f"{what} is empty. Write the name or the IP address of the server.")
    if text.startswith(("/", "%2F", "%2f")):
        refuse(f"{what} is a path. Unix sockets are not supported; write a name or an IP address.")
    if "," in text:
        refuse(f"{what} lists several hosts. Write one host, the writer endpoint.")
    if has_port(text):
        refuse(f"{what} has a port behind it. Write the name or the IP address alone; the port has its own place.")
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare or bare != text:
        address = ipv6_address(bare)
        if address is None:
            refuse(f"{what} is not a host name, an IPv4 address or an IPv6 address in brackets without a zone.")
        return address
    if not _HOST.fullmatch(text) or ".." in text:
        refuse(
            f"{what} may have only letters, digits, '.', '-' and '_', and begins and ends with a letter or a "
            "digit (an international name is written as xn--…)."
        )
    return text


def has_port(host: str) -> bool:
    """Return whether a port stands behind the host."""
    return _WITH_PORT.fullmatch(host) is not None


def parse_port(text: str, what: str) -> int:
    """Return a port from 1 to 65535."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        refuse(f"{what} must be a whole number from 1 to 65535.")
    return int(text)


def check_login(user: str, what: str) -> str:
    """Return the user name, refused where it is empty, too long or not printable."""
    if not user:
        refuse(f"{what} has no user name. Write it as postgresql://USER:PASSWORD@HOST/DATABASE.")
    if "://" in user:
        refuse(f"{what} has a URL where the user name belongs. Write the name alone.")
    if len(user.encode("utf-8", "replace")) > MAX_LOGIN or not user.isprintable():
        refuse(f"{what} has a user name that is longer than {MAX_LOGIN} bytes or not printable.")
    return user


def parse_database(text: str, what: str) -> str | None:
    """Return the database's name, None where none is meant; refused where no storage can live in it."""
    if text in ("", NO_DATABASE):
        return None
    if is_reserved_database(text):
        refuse(
            f"{what} names the database `{text}`, which belongs to the server itself. "
            "Name another one, for example `postgres`."
        )
    if "://" in text:
        # Names of databases stand in status and events, where a password in such a URL would be read.
        refuse(f"{what} has a URL where the name of the database belongs. Write the name alone.")
    if len(text.encode("utf-8", "replace")) > MAX_NAME or not text.isprintable():
        refuse(f"{what} names a database that is longer than {MAX_NAME} bytes or not printable.")
    return text


def ipv6_address(text: str) -> str | None:
    """Return an IPv6 address in its short form; None for anything else, and for one with a zone."""
    try:
        return None if "%" in text else str(ipaddress.IPv6Address(text))
    except ValueError:
        return None
