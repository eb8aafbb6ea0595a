"""Which majors of PostgreSQL the tests run on."""

import os

EVERY = (13, 14, 15, 16, 17, 18)
TELLING = (13, 15, 16, 18)
"""What is said to a server changes at 14, at 15 and at 16; so the oldest, both sides of each, and the newest."""


def majors() -> tuple[int, ...]:
    """Return all six with ALL=1 in the environment (`make test ALL=1`), else those between which something changes."""
    return EVERY if os.environ.get("ALL") == "1" else TELLING
