"""The CERTIFICATE blocks of a PEM text, and nothing else of it: a key that stands beside them is never published."""

import base64
import binascii
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache

MAX_CERTIFICATES = 500
"""Cloud providers' bundles hold up to about 150."""

_BLOCK = re.compile(
    rb"-----BEGIN CERTIFICATE-----[ \t]*\r?\n(?P<body>[A-Za-z0-9+/=\s]{64,65536}?)-----END CERTIFICATE-----"
)


def certificate_blocks(pem: bytes) -> str | None:
    """Return the certificates, freshly encoded with 64 columns and a final newline; None where there is none.

    A block whose body is not base64 of one DER sequence is left out.
    """
    found: list[str] = []
    for match in _BLOCK.finditer(pem):
        der = _der(match["body"])
        if der is not None and len(found) < MAX_CERTIFICATES:
            text = base64.b64encode(der).decode("ascii")
            lines = [text[at : at + 64] for at in range(0, len(text), 64)]
            found.append("\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----"]))
    return "\n".join(dict.fromkeys(found)) + "\n" if found else None


def _der(body: bytes) -> bytes | None:
    try:
        der = base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error:
        return None
    # X.509 is one SEQUENCE with a two- or three-byte length that covers the rest exactly.
    if len(der) < 128 or der[0] != 0x30 or der[1] not in {0x81, 0x82, 0x83}:
        return None
    size = der[1] & 0x7F
    return der if int.from_bytes(der[2 : 2 + size], "big") == len(der) - 2 - size else None


_UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x17, 0x18, 0xA0
_VALIDITY = 3
"""Position in a certificate behind the version: serial, algorithm, issuer, validity (RFC 5280, 4.1)."""


@lru_cache(maxsize=64)
def expiries(pem: str) -> tuple[float, ...]:
    """Return when each certificate of a text ends, in seconds since the epoch; one that cannot be read is left out."""
    ends = (_expiry(der) for match in _BLOCK.finditer(pem.encode()) if (der := _der(match["body"])) is not None)
    return tuple(end for end in ends if end is not None)


def _expiry(der: bytes) -> float | None:
    try:
        (_, certificate), *_ = _elements(der)
        (_, signed), *_ = _elements(certificate)
        parts = [content for tag, content in _elements(signed) if tag != _VERSION]
        _, (tag, text) = _elements(parts[_VALIDITY])
        digits = text.decode("ascii")
        if tag == _UTC_TIME:
            # RFC 5280, 4.1.2.5.1: two digits of a year from 1950 on.
            digits = ("19" if digits[:2] >= "50" else "20") + digits
        elif tag != _GENERALIZED_TIME:
            return None
        return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except (ValueError, IndexError):
        return None


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (tag, content) of the DER elements that stand in a row. Raises IndexError where one is cut off."""
    at = 0
    while at < len(data):
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:
            length = size & 0x7F
            size = int.from_bytes(data[at : at + length], "big")
            at += length
        if at + size > len(data):
            raise IndexError("cut off")
        yield tag, data[at : at + size]
        at += size
