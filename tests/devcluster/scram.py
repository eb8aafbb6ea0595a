"""SCRAM verifiers by the RFC's own rule."""

import base64
import hashlib
import hmac


def verifier(password: str, salt: bytes, rounds: int) -> str:
    """Return what PostgreSQL keeps of a password, and takes in its place (RFC 5803)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    client = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    texts = [base64.b64encode(each).decode() for each in (salt, client, server)]
    return f"SCRAM-SHA-256${rounds}:{texts[0]}${texts[1]}:{texts[2]}"
