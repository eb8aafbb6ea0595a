"""What a cloud's webhook puts into the Pod: variables, token files, addresses."""

import ipaddress
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from cipher_operator.identity.refusal import unavailable

MAX_FILE = 64 * 1024
"""Bytes of a token file that are read."""
_TOKEN = re.compile(r"[\x21-\x7e]+")

Environ = Mapping[str, str]


def read_token_file(environ: Environ, variable: str) -> str:
    """Return the token in the file that a variable names, read anew each time: the kubelet replaces it.

    Raises Failure where it cannot be read, or is no single word of visible ASCII.
    """
    try:
        with Path(environ[variable]).open("rb") as file:
            text = file.read(MAX_FILE).decode("ascii").strip()
    except (OSError, ValueError) as error:
        what = f"The token file that {variable} names cannot be read ({type(error).__name__})."
        raise unavailable(what, "Start the operator's Pods anew: the cloud's webhook mounts the file.") from None
    if not is_token(text):
        what = f"The file that {variable} names holds no token."
        raise unavailable(what, "Start the operator's Pods anew: the cloud's webhook mounts the file.")
    return text


def is_token(text: object) -> bool:
    """Return whether this is one word of visible ASCII, as tokens and keys are."""
    return isinstance(text, str) and _TOKEN.fullmatch(text) is not None


def checked_url(text: str, variable: str, plain: Collection[str] = ()) -> str:
    """Return a URL without a trailing slash: `https`, or `http` to this machine or to one of the hosts in `plain`.

    What is asked there is asked with a token. Raises Failure that names the variable.
    """
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    safe = host and (parts.scheme == "https" or (parts.scheme == "http" and (host in plain or _is_this_machine(host))))
    if not safe or not is_token(text):
        what = f"The URL in {variable} is not one that a token may be sent to."
        raise unavailable(what, "Take `https`, or the address that the cloud's webhook sets.")
    return text.rstrip("/")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
