"""How many slots a server gives the operator, as whoever runs it says: by who says it, not by the login that is used.

A login is changed, or used for a deletion alone; what its owner gives stands until he says something else.
"""

from collections.abc import Callable, Hashable
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
    `setting` is how many slots a lane has of which nobody says it; `changed` is called with a lane of which something
    else is said than before."""

    def __init__(self, setting: int, changed: Callable[[Name], None]) -> None:
        self._setting, self._changed = setting, changed
        self._lanes: dict[Hashable, Name] = {}
        self._said: dict[Name, dict[Hashable, Offer]] = {}

    def say(self, name: Name, offer: Offer) -> None:
        """Note what an owner says of a lane."""
        if self._said.get(name, {}).get(offer.by) == offer:
            return
        if self._lanes.get(offer.by, name) != name:
            self.withdraw(offer.by)
        self._lanes[offer.by] = name
        self._said.setdefault(name, {})[offer.by] = offer
        self._changed(name)

    def withdraw(self, by: Hashable) -> None:
        """Forget what an owner said who runs no server any more, or another one."""
        name = self._lanes.pop(by, None)
        if name is None:
            return
        del self._said[name][by]
        if not self._said[name]:
            del self._said[name]
        self._changed(name)

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

    def clear(self) -> None:
        """Forget everything: another process hears of it from now on."""
        for by in list(self._lanes):
            self.withdraw(by)
