"""Durations as the API writes them: hours, minutes and seconds, in that order."""

import re

PATTERN = r"(?:([0-9]{1,5})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,7})s)?"
"""Of the whole text, which is not empty."""


def parse_duration(text: str) -> float:
    """Return seconds for texts such as `30s`, `5m`, `12h`, `1h30m`. Raises ValueError with the rule."""
    match = re.fullmatch(PATTERN, text)
    if match is None or not text:
        raise ValueError("must be a duration such as 30s, 5m, 12h or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(hours * 3600 + minutes * 60 + seconds)
