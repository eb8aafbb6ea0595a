"""JSON web tokens (RFC 7519) with a shared key, as a cluster and Entra issue them with keys of their own."""

import base64
import hashlib
import hmac
import json
import secrets
from typing import Any


class TokenIssuer:
    """Issues tokens that nobody else can make; a stand-in for whoever trusts this issuer reads them."""

    def __init__(self, name: str) -> None:
        self.name, self._key = name, secrets.token_bytes(32)

    def issue(self, audience: str, subject: str, end: float, **claims: Any) -> str:
        """Return a token; `end` is in seconds since 1970."""
        body = {"iss": self.name, "aud": audience, "sub": subject, "exp": int(end), **claims}
        signed = f"{_encoded({'alg': 'HS256', 'typ': 'JWT'})}.{_encoded(body)}"
        return f"{signed}.{self._signature(signed)}"

    def read(self, token: str) -> dict[str, Any] | None:
        """Return the claims, expired or not; None where it is not of this issuer."""
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature, self._signature(signed)):
            return None
        body = signed.partition(".")[2]
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return claims

    def _signature(self, signed: str) -> str:
        return _plain(hmac.new(self._key, signed.encode(), hashlib.sha256).digest())


def _encoded(part: dict[str, Any]) -> str:
    return _plain(json.dumps(part).encode())


def _plain(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
