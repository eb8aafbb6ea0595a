"""From an HTTP answer of the API server to an object, or to one of the two errors."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from cipher_operator.kube.port import ApiError, ApiUnavailable, Json

MAX_SAID = 500
"""Characters of what the API server says that are kept."""
MAX_RETRY_AFTER = 60.0
HIDDEN = "***"
SHORT = 6

_CREDENTIALS = re.compile(r"(?i)\S*://\S*|\b(?:password|token|secret)\s*[=:]\s*\S+|SCRAM-SHA-256\S*")


def decode_answer(
    status: int, headers: Mapping[str, str], content: bytes, request: Json | list[Json] | None = None
) -> Json:
    """Return the object in an answer. Raises ApiError, and ApiUnavailable for 429 and 5xx.

    Nothing of the data of a Secret that was sent stands in what is raised.
    """
    answer = _object(content)
    if status < 400:
        return answer
    reason = str(answer.get("reason") or status)
    if status >= 500 or status == 429:
        raise ApiUnavailable(f"{status} {reason}", status=status, retry_after=_seconds(headers.get("Retry-After")))
    said = without_values(str(answer.get("message") or ""), request if isinstance(request, dict) else {})
    raise ApiError(status, reason, said, _causes(answer))


def without_values(message: str, request: Mapping[str, Any]) -> str:
    """Return what the server says without any value of the Secret that was sent, on one line and cut.

    Policies may quote what they refuse.
    """
    for value in sorted(_values(request), key=len, reverse=True):
        message = message.replace(value, HIDDEN)
    line = "".join(char if char.isprintable() else " " for char in _CREDENTIALS.sub(HIDDEN, message))
    return " ".join(line.split())[:MAX_SAID]


def _values(request: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    for value in (request.get("data") or {}).values() if request.get("kind") == "Secret" else ():
        found.add(str(value))
        try:
            found.add(base64.b64decode(str(value)).decode())
        except (binascii.Error, ValueError):
            continue
    # Short ones are words of the language too: "true", "5432".
    return {value for value in found if len(value) >= SHORT}


def _object(content: bytes) -> Json:
    try:
        decoded = json.loads(content) if content else {}
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _causes(answer: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    details = answer.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return tuple(
        (str(cause.get("reason") or ""), str(cause.get("field") or ""))
        for cause in (causes if isinstance(causes, list) else ())
        if isinstance(cause, dict)
    )


def _seconds(header: str | None) -> float | None:
    """Return the seconds that a server asks to wait (RFC 9110, 10.2.3), at most a minute; None where it does not."""
    if not header:
        return None
    if header.strip().isdecimal():
        return min(float(header), MAX_RETRY_AFTER)
    try:
        seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
