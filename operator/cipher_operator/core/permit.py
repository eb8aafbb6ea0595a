"""Who may write: what every write to the API server and every message to a database asks before it is sent."""

import math
from collections.abc import Callable

Permit = Callable[[], float]
"""Returns for how many seconds writes may go out still. Raises NotLeading where none may."""


class NotLeading(Exception):
    """This process does not lead, or cannot know any more whether it does: what it was about to send stays unsent."""


def unlimited() -> float:
    """Permit everything, for ever: where no other process works on the same storages."""
    return math.inf
