"""When a password is due to change, read off the app Secret that carries it."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from cipher_operator.api.names import GROUP
from cipher_operator.core.requests import Requests

ANNOTATION_PASSWORD_SET = f"{GROUP}/password-set-at"
"""When the password in the app Secret was made, RFC 3339."""
ANNOTATION_ROTATION = f"{GROUP}/rotate-handled"
"""The rotate request that the password in the app Secret answers: written with it, so that a status write that
failed afterwards does not rotate a second time."""
LEAST_GAP = timedelta(seconds=10)
"""Between two rotations, whoever asks for them: each is written to the server and to the cluster, and of the logins of
before only the last one stays valid."""


def rotation_due(requests: Requests, interval: float | None, annotations: Mapping[str, str], now: datetime) -> bool:
    """Return whether the published password shall change now. `interval` is in seconds, None for never."""
    request = requests.new.get("rotate")
    if request is not None and annotations.get(ANNOTATION_ROTATION) != request:
        return True
    remaining = seconds_to_rotation(interval, annotations, now)
    return remaining is not None and remaining <= 0


def seconds_of_rest(rotated: datetime | None, now: datetime) -> float:
    """Return the seconds until another rotation may follow the last; a clock that went back keeps nobody waiting."""
    since = now - rotated if rotated is not None else LEAST_GAP
    return (LEAST_GAP - since).total_seconds() if timedelta() <= since < LEAST_GAP else 0.0


def seconds_to_rotation(interval: float | None, annotations: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds until the interval has passed; None without one. A time that cannot be read is due."""
    if interval is None:
        return None
    try:
        since = datetime.fromisoformat(annotations.get(ANNOTATION_PASSWORD_SET, ""))
        return (since + timedelta(seconds=interval) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return 0.0


def password_annotations(
    requests: Requests, annotations: Mapping[str, str], now: datetime, *, changed: bool
) -> dict[str, str]:
    """Return the annotations that the app Secret gets with its password."""
    kept = {} if changed else {key: annotations[key] for key in (ANNOTATION_PASSWORD_SET,) if key in annotations}
    written = {ANNOTATION_PASSWORD_SET: now.isoformat(timespec="seconds"), **kept}
    if changed and "rotate" in requests.new:
        written[ANNOTATION_ROTATION] = requests.new["rotate"]
    return written
