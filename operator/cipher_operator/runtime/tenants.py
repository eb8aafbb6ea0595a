"""From a watch event of a CipherServer or a Namespace to what is run: the server, and the storages it concerns."""

from collections.abc import Callable, Iterable, Set

from cipher_operator.api.names import SERVER_KIND
from cipher_operator.kube.seen import Seen
from cipher_operator.queue.queue import Queue
from cipher_operator.queue.references import References
from cipher_operator.reconcile.inputs import NAMESPACE, PLACE, Key, Ref
from cipher_operator.reconcile.namespaces import Namespaces

COUNTED_AFTER = 1.0
"""Seconds after which a server that has more or fewer users looks at them: many come at once."""


class Tenants:
    """What the reflectors of CipherServers and Namespaces call. Between `follow` and `lead` nothing is run: `touch` is
    called with the storages that a change concerns, and all servers are run when the turn of this process comes."""

    def __init__(
        self,
        storages: Queue[Key],
        servers: Queue[Key],
        inputs: "References[Key, Ref]",
        namespaces: Namespaces,
        touch: Callable[[Iterable[Key]], None],
    ) -> None:
        self._storages, self._servers = storages, servers
        self._inputs, self._namespaces, self._touch = inputs, namespaces, touch
        self._known: dict[str, tuple[str, int, bool]] = {}
        self._follows = False
        inputs.listen(self._named)

    def follow(self) -> None:
        """Run nothing from now on."""
        self._follows = True

    def lead(self) -> None:
        """Run all servers, and whatever changes from now on."""
        self._follows = False
        for name in self._known:
            self._servers.enqueue(("", name))

    def server(self, ref: Ref, seen: Seen | None) -> None:
        """Run a CipherServer that is new, changed or gone, and the storages that name it. A status changes nothing."""
        name = ref[2]
        now = None if seen is None else (seen.uid, seen.generation, seen.deleting)
        before = self._known.get(name)
        if before == now:
            return
        if now is None:
            self._known.pop(name)
        else:
            self._known[name] = now
        self._storages.relearn(ref)
        if self._follows:
            # The first list brings each once, and tells of no change.
            if before is not None:
                self._touch(self._inputs.users(ref))
            if now is None:
                # What it named is nobody's any more, also for a process that ran it before: let go when it leads.
                self._inputs.forget(("", name))
            return
        self._servers.enqueue(("", name), changed=True)
        for key in self._inputs.users(ref):
            self._storages.enqueue(key, urgent=False, changed=True, way=ref)

    def namespace(self, ref: Ref, seen: Seen | None) -> None:
        """Run what is in a namespace whose labels are others than before, and count the users of its servers anew."""
        name = ref[2]
        known = self._namespaces.labels(name) is not None
        if not self._namespaces.saw(name, None if seen is None else seen.labels):
            return
        keys = tuple(self._inputs.users((NAMESPACE, "", name)))
        if self._follows:
            if known:
                self._touch(keys)
            return
        for key in keys:
            self._storages.enqueue(key)
        self._count({found for key in keys for found in self._inputs.references(key)})

    def _named(self, key: Key, begun: frozenset[Ref], ceased: frozenset[Ref]) -> None:
        """Let the CipherServers that a storage begins or ceases to name count; run who waits for its place there."""
        if self._follows:
            return
        self._count(begun | ceased)
        for server in _servers(ceased):
            for waiting in self._inputs.users((PLACE, key[0], server)):
                self._storages.enqueue(waiting, urgent=False)

    def _count(self, refs: Set[Ref]) -> None:
        for name in _servers(refs):
            self._servers.enqueue(("", name), urgent=False, after=COUNTED_AFTER)


def _servers(refs: Set[Ref]) -> frozenset[str]:
    return frozenset(name for kind, _, name in refs if kind == SERVER_KIND)
