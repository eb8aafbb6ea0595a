"""The password of an AWS IAM login: a presigned URL without its scheme, signed with Signature Version 4.

Sources: IAM user guide, "Create a signed AWS API request"; RDS user guide, "Connecting to your DB instance using IAM
authentication". Nothing is sent to make one, and RDS looks at it only when a connection begins.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from cipher_operator.core.connection.password import Password

LIFETIME = 900
"""Seconds for which RDS takes a token; it takes none that asks for more."""
_ALGORITHM = "AWS4-HMAC-SHA256"
_SERVICE = "rds-db"
_EMPTY = hashlib.sha256(b"").hexdigest()
# `<id>.<region>.rds.<suffix>`, and in China and GovCloud also `<id>.rds.<region>.<suffix>`.
_REGION = r"([a-z]{2,5}(?:-[a-z]+)+-\d{1,2})"
_HOST = re.compile(
    rf"\.(?:{_REGION}\.rds(?:-fips)?|rds(?:-fips)?\.{_REGION})"
    r"\.(?:amazonaws\.(?:com|com\.cn|eu)|c2s\.ic\.gov|sc2s\.sgov\.gov)\.?$"
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What AWS signs with. Temporary ones have a session token, which becomes part of what is signed."""

    access_key: str
    secret_key: Password
    session_token: Password | None = None


def rds_login_token(
    credentials: Credentials, *, host: str, port: int, user: str, region: str, at: datetime
) -> Password:
    """Return the password with which `user` logs in at this host and port in the LIFETIME seconds from `at` on.

    The host must be the endpoint's own name, and the region that of the server: RDS computes the signature with both.
    """
    stamp = at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = (stamp[:8], region, _SERVICE, "aws4_request")
    parameters = {
        "Action": "connect",
        "DBUser": user,
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": "/".join((credentials.access_key, *scope)),
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(LIFETIME),
        "X-Amz-SignedHeaders": "host",
    }
    if credentials.session_token is not None:
        parameters["X-Amz-Security-Token"] = credentials.session_token.reveal()
    request = ("GET", "/", _query(sorted(parameters.items())), f"host:{host.lower()}:{port}", "", "host", _EMPTY)
    signed = (_ALGORITHM, stamp, "/".join(scope), hashlib.sha256("\n".join(request).encode()).hexdigest())
    key = b"AWS4" + credentials.secret_key.reveal().encode()
    for part in scope:
        key = _mac(key, part)
    signature = _mac(key, "\n".join(signed)).hex()
    return Password(f"{host}:{port}/?{_query([*parameters.items(), ('X-Amz-Signature', signature)])}")


def region_of(host: str) -> str | None:
    """Return the region that an endpoint's name of RDS or Aurora holds, None for any other name."""
    found = _HOST.search(host.lower())
    return (found[1] or found[2]) if found else None


def _query(parameters: list[tuple[str, str]]) -> str:
    return "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in parameters)


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
