"""How many slots a server gives the operator, as whoever runs it says: by who says it, not by the login that is used.

A login is changed, or used for a deletion alone; what its owner gives stands until he says something else.
"""

from collections.abc import Hashable
from dataclasses import dataclass

from cipher_operator.queue.needs import Name


@dataclass(frozen=True, slots=True)
class Offer:
    """What one owner says of the lane that he leads to, and of no other: `slots`, None where the setting counts, and
    whether `several` namespaces may come there, be it that only one has yet."""

    by: Hashable
    slots: int | None = None
    several: bool = False


class Offers:
    """What was said last, by lane. Where several owners lead to one, the least counts for all: it is one server.
    `setting` is how many slots a lane has of which nobody says it."""

    def __init__(self, setting: int) -> None:
        self._setting = setting
        self._lanes: dict[Hashable, Name] = {}
        self._said: dict[Name, dict[Hashable, Offer]] = {}

    def say(self, name: Name, offer: Offer) -> frozenset[Name]:
        """Note what an owner says of a lane; return the lanes of which something else is said than before."""
        if self._said.get(name, {}).get(offer.by) == offer:
            return frozenset()
        changed = self.withdraw(offer.by)
        self._lanes[offer.by] = name
        self._said.setdefault(name, {})[offer.by] = offer
        return changed | {name}

    def withdraw(self, by: Hashable) -> frozenset[Name]:
        """Forget what an owner said; return the lanes of which something else is said than before."""
        name = self._lanes.pop(by, None)
        if name is None:
            return frozenset()
        del self._said[name][by]
        if not self._said[name]:
            del self._said[name]
        return frozenset({name})

    def slots(self, name: Name) -> int:
        """Return how many slots a lane has."""
        given = (offer.slots for offer in self._said.get(name, {}).values())
        return min((slots for slots in given if slots is not None), default=self._setting)

    def several(self, name: Name) -> bool:
        """Return whether an owner lets several namespaces come to a lane."""
        return any(offer.several for offer in self._said.get(name, {}).values())

    def drop(self, name: Name) -> None:
        """Forget what was said of a lane that nobody uses."""
        for by in self._said.pop(name, {}):
            del self._lanes[by]

    def clear(self) -> frozenset[Name]:
        """Forget everything; return the lanes of which something was said."""
        names = frozenset(self._said)
        self._lanes.clear()
        self._said.clear()
        return names
