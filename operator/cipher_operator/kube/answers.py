"""From an HTTP answer of the API server to an object, or to one of the two errors."""

import json
from collections.abc import Mapping
from typing import Any

from cipher_operator.kube.port import ApiError, ApiUnavailable, Json


def decode_answer(path: str, status: int, headers: Mapping[str, str], content: bytes) -> Json:
    """Return the object in an answer. Raises ApiError, and ApiUnavailable for 429 and 5xx."""
    answer = _object(content)
    if status < 400:
        return answer
    reason = str(answer.get("reason") or status)
    if status >= 500 or status == 429:
        raise ApiUnavailable(f"{status} {reason}", status=status, retry_after=_seconds(headers.get("Retry-After")))
    message = str(answer.get("message") or "")
    if "/secrets" in path and status in (400, 422):
        message = ""
    raise ApiError(status, reason, message, _causes(answer))


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


def _seconds(retry_after: str | None) -> float | None:
    try:
        return float(retry_after) if retry_after is not None else None
    except ValueError:
        return None
