"""When certificates end, read off their DER without a library: against certificates that one made."""

import datetime
import ssl
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cipher_operator.core.connection.certificates import MAX_CERTIFICATES, certificate_blocks, expiries
from support.certificates import certificate_of_shape


def made(end: datetime.datetime) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a CA")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(1951, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    "end",
    [
        datetime.datetime(1999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC),
        datetime.datetime(2049, 12, 31, 23, 59, 59, tzinfo=datetime.UTC),
        datetime.datetime(2061, 5, 1, tzinfo=datetime.UTC),
    ],
    ids=["two digits of the last century", "two digits of this one", "four digits"],
)
def test_one(end: datetime.datetime) -> None:
    assert expiries(made(end)) == (end.timestamp(),)


def test_all_of_a_bundle_as_a_library_reads_them() -> None:
    pem = Path(certifi.where()).read_bytes()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem.decode())
    expected = [ssl.cert_time_to_seconds(str(each["notAfter"])) for each in context.get_ca_certs()]
    assert 100 < len(expected) <= MAX_CERTIFICATES
    assert sorted(expiries(certificate_blocks(pem) or "")) == sorted(expected)


@pytest.mark.parametrize("length", [128, 200, 255])
def test_what_has_only_the_shape_of_one_is_left_out(length: int) -> None:
    text = certificate_of_shape(length).decode()
    assert certificate_blocks(text.encode()) is not None
    assert expiries(text) == ()
