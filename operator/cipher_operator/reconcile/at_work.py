"""Which storages are run at this moment, by the CipherServer that they name.

What a first run makes there no object says before its end, and a CipherServer that is deleted meanwhile must not go.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cipher_operator.reconcile.inputs import Key, Ref


class AtWork:
    """The runs of this process: no other one works on the same storages. `ended` is called with a server that waits for
    a run, when that has ended."""

    def __init__(self, ended: Callable[[str], None] = lambda server: None) -> None:
        self._ended = ended
        self._keys: dict[Ref, set[Key]] = {}
        self._awaited: set[Ref] = set()

    @contextmanager
    def on(self, server: Ref | None, key: Key) -> Iterator[None]:
        """Note that a storage is at work while the block runs, its words included; None where it names no server."""
        if server is None:
            yield
            return
        keys = self._keys.setdefault(server, set())
        keys.add(key)
        try:
            yield
        finally:
            keys.discard(key)
            if not keys:
                del self._keys[server]
            if server in self._awaited:
                self._awaited.discard(server)
                self._ended(server[2])

    def await_on(self, server: Ref) -> frozenset[Key]:
        """Return who is at work, whose end the server is told of."""
        keys = frozenset(self._keys.get(server, ()))
        if keys:
            self._awaited.add(server)
        return keys
