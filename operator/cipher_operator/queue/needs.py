"""What a run needs of the lanes, and what keeps it out."""

from collections.abc import Hashable, Iterable
from typing import Protocol

API = "api"
"""The lane of the API server: every run holds a slot of it."""

Name = Hashable
"""API, or a server."""
Need = tuple[Name, Hashable | None]
"""A lane, and the credential that is used in it."""

KEPT_FREE = 4
"""Of so many places one, and one at least, is for namespaces that hold none, where several share them: the slots of a
lane, those for servers that fail, the workers. Triggers and locks of a tenant, or servers of his, keep each of his runs
for as long as it may take: what is taken cannot be taken back, so what others need must not be taken. Two of eight:
with one, two namespaces of one owner would hold all."""


def kept_free(places: int) -> int:
    """Return how many of so many places are for namespaces that hold none."""
    return max(1, places // KEPT_FREE)


def lanes_of(needs: Iterable[Need]) -> list[Name]:
    """Return the lanes of needs, each once."""
    return list(dict.fromkeys(name for name, _ in needs))


class Busy(Exception):
    """No slot is free: the run ends, holds nothing, and is run again when one is."""


class Closed(Exception):
    """The lane is down or the credential refused; `cause` is what was told of it."""

    def __init__(self, cause: object) -> None:
        super().__init__("closed")
        self.cause = cause


class Listener(Protocol):
    """Who is told of lanes, and asked: a queue."""

    def shares(self, name: Name) -> bool:
        """Return whether keys of several namespaces are known to need this lane."""

    def needs(self, name: Name) -> bool:
        """Return whether any key is known to need this lane."""

    def freed(self) -> None:
        """Something may be entered that could not be before."""

    def opened(self, need: Need) -> None:
        """A lane (with None), or a credential of it, that was closed may be tried again."""

    def told(self, need: Need) -> None:
        """It is closed for so long, or so finally, that all its keys shall say so."""
