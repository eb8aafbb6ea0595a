"""Keys and certificates for tests, made at test time with the `cryptography` package and never committed."""

from __future__ import annotations

import datetime
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class TlsFixture:
    """Files for one server: its certificate and key, and the CA that a client must trust to verify it."""

    certificate: Path
    key: Path
    ca: Path


def private_key_pem() -> bytes:
    """Return a new private key of curve P-256 in PEM."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


class CertificateAuthority:
    """A CA of its own in `folder` (made if missing); `certificate` is the path of its PEM file."""

    def __init__(self, folder: Path, name: str = "devcluster test CA") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = _common_name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(self._name, self._name, self._key.public_key(), expired=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = folder / "ca.crt"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(self) -> TlsFixture:
        """Return a good certificate for localhost, 127.0.0.1 and ::1."""
        return self._issue("server", "localhost", ("localhost",), ("127.0.0.1", "::1"))

    def for_hosts(self, *hosts: str) -> TlsFixture:
        """Return a good certificate for hosts with these names."""
        return self._issue("for-hosts", "a server of several names", hosts, ())

    def expired(self) -> TlsFixture:
        """Return a certificate for localhost that ended yesterday."""
        return self._issue("expired", "localhost", ("localhost",), ("127.0.0.1", "::1"), expired=True)

    def wrong_name(self) -> TlsFixture:
        """Return a valid certificate for another host, `db.example.com`."""
        return self._issue("wrong-name", "db.example.com", ("db.example.com",), ())

    def cloud_sql(self, name: str = "my-project:my-instance") -> TlsFixture:
        """Return a certificate in Cloud SQL's shape: the common name `project:instance` and no SAN at all."""
        return self._issue("cloud-sql", name, (), ())

    def _issue(
        self, file: str, name: str, hosts: tuple[str, ...], addresses: tuple[str, ...], *, expired: bool = False
    ) -> TlsFixture:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _leaf(_builder(_common_name(name), self._name, key.public_key(), expired=expired), hosts, addresses)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = builder.add_extension(issuer, critical=False).sign(self._key, hashes.SHA256())
        return _store(self._folder, file, certificate, key, self.certificate)


def self_signed(folder: Path) -> TlsFixture:
    """Return a certificate for localhost that is its own issuer, as a fresh server's default one; `ca` is itself."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _common_name("localhost")
    builder = _leaf(_builder(name, name, key.public_key(), expired=False), ("localhost",), ("127.0.0.1", "::1"))
    certificate = builder.sign(key, hashes.SHA256())
    return _store(folder, "self-signed", certificate, key, folder / "self-signed.crt")


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, expired: bool
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    begin, end = (now - 30 * _DAY, now - _DAY) if expired else (now - _DAY, now + 365 * _DAY)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _leaf(
    builder: x509.CertificateBuilder, hosts: tuple[str, ...], addresses: tuple[str, ...]
) -> x509.CertificateBuilder:
    names: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    return builder.add_extension(x509.SubjectAlternativeName(names), critical=False) if names else builder


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _store(
    folder: Path, file: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, ca: Path
) -> TlsFixture:
    fixture = TlsFixture(folder / f"{file}.crt", folder / f"{file}.key", ca)
    fixture.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    with open(os.open(fixture.key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
        handle.write(_pem(key))
    return fixture


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    # RFC 5915: kube-apiserver reads keys of elliptic curves in no other form.
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
