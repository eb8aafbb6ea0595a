"""Certificates of a shape or in numbers that no authority in the tests has to issue."""

import base64
import datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID


def certificate_of_shape(length: int) -> bytes:
    """Return PEM of the outer shape of X.509, which is all that core looks at: one DER sequence of 128 to 255 bytes."""
    body = bytes(position % 251 for position in range(length))
    text = base64.encodebytes(b"\x30\x81" + bytes([length]) + body)
    return b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n"


@cache
def authorities(count: int) -> bytes:
    """Return a bundle of that many self-signed CAs with RSA keys of 4,096 bits, as a cloud's has them."""
    key = rsa.generate_private_key(65_537, 4_096)
    begin = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    pems = []
    for number in range(count):
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Region {number} root CA")])
        builder = x509.CertificateBuilder(name, name, key.public_key(), number + 1, begin, begin.replace(year=2126))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        pems.append(builder.sign(key, hashes.SHA384()).public_bytes(serialization.Encoding.PEM))
    return b"".join(pems)
