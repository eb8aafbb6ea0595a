"""Digests that tell equal secrets from different ones, and nothing else: keyed with a random key of this process."""

import hashlib
import hmac
import secrets

from cipher_operator.core.connection.password import Password


class Digest:
    """Call it with passwords and texts; equal arguments give equal texts within one process."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def __call__(self, *parts: Password | str | bytes) -> str:
        """Return the digest of the parts, in their order."""
        mac = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in parts:
            text = (
                part if isinstance(part, bytes) else str.encode(part.reveal() if isinstance(part, Password) else part)
            )
            mac.update(len(text).to_bytes(8, "big"))
            mac.update(text)
        return mac.hexdigest()
