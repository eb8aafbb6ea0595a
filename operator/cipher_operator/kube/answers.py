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
MAX_READ = 8_000
"""Characters of it that are looked at: a policy may quote all of a Secret."""
MAX_RETRY_AFTER = 60.0
WEBHOOK_AWAY = "failed calling webhook"
"""How the API server says that an admission webhook does not answer, with 500 and whatever it stands on."""
HIDDEN = "***"
SHORT = 6
PART = 12
"""Characters of a value that are no coincidence."""

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
    reason, message = str(answer.get("reason") or status), str(answer.get("message") or "")
    # A webhook that is away is no outage of the API server: others' requests go through.
    if (status >= 500 or status == 429) and WEBHOOK_AWAY not in message:
        raise ApiUnavailable(f"{status} {reason}", status=status, retry_after=_seconds(headers.get("Retry-After")))
    said = without_values(message, request if isinstance(request, dict) else {})
    raise ApiError(status, reason, said, _causes(answer))


def without_values(message: str, request: Mapping[str, Any]) -> str:
    """Return what the server says without any value of the Secret that was sent, on one line and cut.

    Policies may quote what they refuse, in part or whole.
    """
    values = _values(request)
    message = message[:MAX_READ]
    for value in sorted(values, key=len, reverse=True):
        message = message.replace(value, HIDDEN)
    message = _without_parts(message, values)
    line = "".join(char if char.isprintable() else " " for char in _CREDENTIALS.sub(HIDDEN, message))
    return " ".join(line.split())[:MAX_SAID]


def _without_parts(message: str, values: set[str]) -> str:
    """Return the message without any run of PART characters or more that stands in one of the values."""
    parts = {value[at : at + PART] for value in values for at in range(len(value) - PART + 1)}
    kept, at = [], 0
    while at < len(message):
        end = at
        while message[end : end + PART] in parts:
            end += 1
        if end > at:
            kept.append(HIDDEN)
            at = end + PART - 1
        else:
            kept.append(message[at])
            at += 1
    return "".join(kept)


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
