"""A managed PostgreSQL that takes tokens: TLS, a cleartext password that it judges itself, and a real server behind.

What RDS computes is computed here by other code than the operator's: from the text of the token alone.
"""

import asyncio
import hashlib
import hmac
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from devcluster import PostgresServer
from devcluster.tls import TlsFixture
from support.clouds import REGION, AWSIssuer, Entra, Issuer, MetadataServer
from support.wire import WireProxy, error_message, message, read_message

TRUST = "host all all 127.0.0.1/32 trust\n"
"""pg_hba.conf of the server behind: the door has judged."""
_CLEARTEXT = struct.pack("!I", 3)


class TokenDoor(WireProxy):
    """Before a server with TRUST. Its time is the issuer's; `passwords` is what was sent."""

    def __init__(self, server: PostgresServer, tls: TlsFixture, issuer: Issuer) -> None:
        super().__init__(server, tls)
        self.issuer = issuer
        self.passwords: list[str] = []

    @property
    def now(self) -> float:
        return self.issuer.now

    def admit(self, parameters: dict[str, str], *, encrypted: bool) -> dict[str, str] | bytes:
        if encrypted:
            return parameters
        said = f'pg_hba.conf rejects connection for host "127.0.0.1", user "{parameters["user"]}", SSL off'
        return _refusal("28000", said)

    async def challenge(
        self, parameters: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | None:
        writer.write(message(b"R", _CLEARTEXT))
        await writer.drain()
        kind, body = await read_message(reader)
        assert kind == b"p", kind
        password = body.rstrip(b"\0").decode()
        self.passwords.append(password)
        return self._judged(parameters["user"], password)

    def _judged(self, user: str, password: str) -> bytes | None:
        match self.issuer:
            case AWSIssuer():
                good = rds_takes(password, self.issuer, "localhost", self.port, user, self.now)
                return None if good else _refusal("28000", f'PAM authentication failed for user "{user}"')
            case MetadataServer():
                scope, end = self.issuer.tokens.get(password, ("", 0.0))
                good = end > self.now and scope == self.issuer.audience and user == self.issuer.user
                said = f'Cloud SQL IAM service account authentication failed for user "{user}"'
                return None if good else _refusal("28000", said)
            case Entra():
                claims = self.issuer.signer.read(password)
                if claims is None or claims["upn"] != user:
                    said = "An error occurred while validating the access token. Please acquire a new token and retry."
                    return _refusal("28000", said)
                if claims["aud"] != self.issuer.resource:
                    return _refusal("28000", "The access token does not have a valid audience claim.")
                return None if claims["exp"] > self.now else _refusal("28000", "The access token has expired.")
        raise AssertionError(self.issuer)


def rds_takes(token: str, issuer: AWSIssuer, host: str, port: int, user: str, now: float) -> bool:
    """Return whether RDS would let `user` in at this endpoint: the signature, the names in it, and its time."""
    address, _, query = token.partition("/?")
    signed, _, signature = query.rpartition("&X-Amz-Signature=")
    asked = dict(parse_qsl(signed, keep_blank_values=True))
    access, day, region, service, end = (asked.get("X-Amz-Credential", "") + "////").split("/")[:5]
    secret, session, until = issuer.keys.get(access, ("", "", 0.0))
    began = datetime.strptime(asked.get("X-Amz-Date", "19700101T000000Z"), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    wanted = {
        "Action": "connect",
        "DBUser": user,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-SignedHeaders": "host",
        "X-Amz-Security-Token": session,
    }
    right = all(asked.get(name) == value for name, value in wanted.items())
    scope = f"{day}/{region}/{service}/{end}"
    if not right or (region, service, end) != (REGION, "rds-db", "aws4_request") or address != f"{host}:{port}":
        return False
    lasts = min(900, int(asked["X-Amz-Expires"]))
    canonical = "&".join(sorted(signed.split("&")))
    request = f"GET\n/\n{canonical}\nhost:{address}\n\nhost\n{hashlib.sha256().hexdigest()}"
    to_sign = f"AWS4-HMAC-SHA256\n{asked['X-Amz-Date']}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    mac: Callable[[bytes, str], bytes] = lambda key, text: hmac.new(key, text.encode(), "sha256").digest()  # noqa: E731
    key = mac(mac(mac(mac(f"AWS4{secret}".encode(), day), region), service), end)
    in_time = began.timestamp() - 300 <= now <= began.timestamp() + lasts and now < until
    return in_time and hmac.compare_digest(mac(key, to_sign).hex(), signature)


def _refusal(code: str, text: str) -> bytes:
    return error_message({"S": "FATAL", "V": "FATAL", "C": code, "M": text})
