"""Who watches a queue: what is told of every key that waits, so that others can count it."""

from typing import Protocol, TypeVar

K_contra = TypeVar("K_contra", contravariant=True)


class Observer(Protocol[K_contra]):
    """Called at once and often: it must neither wait nor raise."""

    def added(self, key: K_contra) -> None:
        """A key that did not wait waits now."""

    def taken(self, key: K_contra) -> None:
        """A key that waited is run now."""

    def dropped(self, key: K_contra) -> None:
        """A key that waited is not to be run any more."""


class Nobody:
    """The observer of a queue that nobody watches."""

    def added(self, key: object) -> None:
        """Take no note."""

    def taken(self, key: object) -> None:
        """Take no note."""

    def dropped(self, key: object) -> None:
        """Take no note."""
