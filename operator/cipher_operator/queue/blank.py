"""Keys that are remembered for how often they began alone: until they may begin as often as a new one."""

from collections import deque
from collections.abc import Container, Hashable, Mapping
from typing import Generic, TypeVar

from cipher_operator.queue.entry import Entry

K = TypeVar("K", bound=Hashable)


class Blank(Generic[K]):
    """Those whose run has ended with nothing to come. Thousands of objects are looked at once and never again."""

    def __init__(self) -> None:
        self._until: deque[tuple[float, K]] = deque()

    def add(self, key: K, entry: Entry) -> None:
        """Note that a key's run has ended."""
        if entry.blank:
            self._until.append((entry.rested, key))

    def over(self, now: float, entries: Mapping[K, Entry], waiting: Container[K]) -> list[K]:
        """Return, once, those that need be remembered no more; of whom something is planned again is not among them."""
        over: dict[K, None] = {}
        while self._until and self._until[0][0] <= now:
            _, key = self._until.popleft()
            entry = entries.get(key)
            if entry is not None and entry.blank and entry.rested <= now and key not in waiting:
                over[key] = None
        return list(over)
