"""From an HTTP answer of the API server to an object, or to one of the two errors."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from cipher_operator.kube.decoding import decode
from cipher_operator.kube.outage import is_everybodys
from cipher_operator.kube.port import ApiError, ApiUnavailable, Json
from cipher_operator.kube.redaction import redacted
from cipher_operator.kube.refusals import ADMISSION, WEBHOOK_AWAY

MAX_RETRY_AFTER = 60.0
"""Seconds that are waited at most because a server, or what stands before it, asks for it."""


def decode_answer(
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    request: Json | list[Json] | None = None,
    *,
    path: str = "",
) -> Json:
    """Return the object in an answer to what was asked for at `path`. Raises ApiError, and ApiUnavailable for 429, for
    5xx, and for what is no object.

    Nothing of the data of a Secret that was sent stands in what is raised.
    """
    answer = _object(content)
    if status < 400:
        if answer is None:
            # Of what stands before the server, or half of its own: a write was perhaps carried out.
            raise ApiUnavailable("the answer is no object", status=status)
        return answer
    answer = answer or {}
    reason, message = str(answer.get("reason") or _phrase(status)), str(answer.get("message") or "")
    if (away := WEBHOOK_AWAY.search(message)) is not None:
        # No outage of the API server: others' requests go through. The rest of the sentence is an address.
        message = away[0]
    elif status >= 500 or status == 429:
        asked = seconds_asked(headers.get("Retry-After"))
        alone = not is_everybodys(status)
        raise ApiUnavailable(f"{status} {reason}", status=status, retry_after=asked, alone=alone, path=path)
    elif status == 400 and not ADMISSION.search(message):
        # What cannot be decoded is quoted by the decoder, in pieces that nobody finds again.
        message = ""
    raise ApiError(status, reason, redacted(message, request), _causes(answer))


def _phrase(status: int) -> str:
    """Return the word for a status where the answer has none: a path that is not served answers in plain text."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "without a reason"


def _object(content: bytes) -> Json | None:
    try:
        decoded = decode(content)
    except ValueError:
        return None
    return decoded if isinstance(decoded, dict) else None


def _causes(answer: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    details = answer.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return tuple(
        (str(cause.get("reason") or ""), str(cause.get("field") or ""))
        for cause in (causes if isinstance(causes, list) else ())
        if isinstance(cause, dict)
    )


def seconds_asked(retry_after: str | None) -> float | None:
    """Return the seconds that the server asks to wait, MAX_RETRY_AFTER at most; it says so in seconds, or names a time.
    None where it says neither."""
    if retry_after is None:
        return None
    try:
        wait = float(retry_after)
    except ValueError:
        try:
            at = parsedate_to_datetime(retry_after)
        except (ValueError, OverflowError):
            return None
        wait = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(MAX_RETRY_AFTER, max(0.0, wait))
