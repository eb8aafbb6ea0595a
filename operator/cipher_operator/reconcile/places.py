"""Who comes first for the places that a namespace has on a CipherServer: listed once for all that ask.

Each storage that is one too many asks again and again. If each asked for a list of all of them, a tenant with some
thousands would keep the operator busy with nothing else.
"""

import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from cipher_operator.api.names import SERVER_KIND
from cipher_operator.api.spec import Resource
from cipher_operator.core.tenancy import Neighbours
from cipher_operator.kube.neighbours import Created, in_order
from cipher_operator.kube.port import Reading
from cipher_operator.queue.references import References
from cipher_operator.reconcile.inputs import Key, Ref

GOOD_FOR = 60.0
"""Seconds for which a list counts: one that is deleted and made anew at once keeps its name, and loses its place."""


@dataclass(slots=True)
class _Listed:
    order: list[Created]
    until: float
    stale: bool = False
    """Somebody has come since: who had no place has none now either, all else is asked anew."""


class Places:
    """The storages that name a CipherServer, by namespace. `inputs` tells when one begins or ceases to."""

    def __init__(self, inputs: "References[Key, Ref]", monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._listed: dict[tuple[str, str], _Listed] = {}
        inputs.listen(self._named)

    async def neighbours(self, kube: Reading, resource: Resource, server: str, most: int) -> Neighbours:
        """Return who may have a place before a storage, where there are `most`; those that are younger only where it
        matters. Raises ApiError, ApiUnavailable."""
        where, own = (resource.namespace, server), (resource.created, resource.name)
        listed = self._listed.get(where)
        if listed is None or self._monotonic() >= listed.until or (listed.stale and _older(listed, own) < most):
            listed = await self._list(kube, where)
            if self._listed.get(where) is not listed:
                # Somebody has gone meanwhile, who is told to those alone that wait by then.
                listed = await self._list(kube, where)
        older = _older(listed, own)
        if older >= most:
            return Neighbours(older)
        return Neighbours(older, tuple(name for created, name in listed.order[older:] if (created, name) != own))

    async def _list(self, kube: Reading, where: tuple[str, str]) -> _Listed:
        now = self._monotonic()
        # Until it is there it stands for what happens meanwhile, and is good for nobody.
        self._listed[where] = asked = _Listed([], now)
        listed = _Listed(await in_order(kube, *where), now + GOOD_FOR)
        if self._listed.get(where) is asked:
            listed.stale = asked.stale
            self._listed = {each: kept for each, kept in self._listed.items() if now < kept.until}
            self._listed[where] = listed
        return listed

    def _named(self, key: Key, begun: frozenset[Ref], ceased: frozenset[Ref]) -> None:
        for kind, _, name in begun:
            if kind == SERVER_KIND and (listed := self._listed.get((key[0], name))) is not None:
                listed.stale = True
        for kind, _, name in ceased:
            if kind == SERVER_KIND:
                self._listed.pop((key[0], name), None)


def _older(listed: _Listed, own: Created) -> int:
    return bisect_left(listed.order, own)
