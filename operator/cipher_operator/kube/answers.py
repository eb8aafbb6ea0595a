"""From an HTTP answer of the API server to an object, or to one of the two errors."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from cipher_operator.kube.port import ApiError, ApiUnavailable, Json
from cipher_operator.kube.redaction import redacted
from cipher_operator.kube.refusals import ADMISSION

MAX_MESSAGE = 500
"""Characters of a message that is kept."""
MAX_RETRY_AFTER = 60.0
"""Seconds that are waited at most because a server, or what stands before it, asks for it."""
_WEBHOOK = re.compile(r"failed calling webhook \"[^\"]*\"")


def decode_answer(path: str, status: int, headers: Mapping[str, str], content: bytes, sent: Any = None) -> Json:
    """Return the object in an answer to a request that `sent` this body.

    Raises ApiError, and ApiUnavailable for 429 and 5xx.
    """
    answer = _object(content)
    if status < 400:
        return answer
    reason, message = str(answer.get("reason") or status), _line(answer.get("message"))
    if status >= 500 or status == 429:
        # The rest of that sentence is the address of the webhook.
        webhook = _WEBHOOK.search(message)
        text = f"{status} {reason}" + (f": {webhook[0]}" if webhook else "")
        raise ApiUnavailable(text, status=status, retry_after=_seconds(headers.get("Retry-After")))
    if "/secrets" in path:
        # What cannot be decoded is quoted by the decoder, in pieces that nobody finds again.
        message = "" if status == 400 and not ADMISSION.search(message) else redacted(message, sent)
    raise ApiError(status, reason, _cut(message), _causes(answer))


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


def _line(text: object) -> str:
    """Return a text as one line of printable characters."""
    return " ".join("".join(each if each.isprintable() else " " for each in str(text or "")).split())


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds that the server asks to wait; it says so in seconds, or names a time."""
    if retry_after is None:
        return None
    try:
        wait = float(retry_after)
    except ValueError:
        try:
            at = parsedate_to_datetime(retry_after)
        except ValueError:
            return None
        wait = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(MAX_RETRY_AFTER, max(0.0, wait))
