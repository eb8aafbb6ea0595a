"""The CERTIFICATE blocks of a PEM text, and nothing else of it: a key that stands beside them is never published."""

import base64
import binascii
import re

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
