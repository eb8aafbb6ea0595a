"""The kinds that the operator serves: waited for, and what their CRDs lack is said, once, with what mends it."""

import asyncio
import logging
from collections.abc import Sequence

from cipher_operator import __version__
from cipher_operator.api.names import PLURAL
from cipher_operator.kube.backoff import Backoff
from cipher_operator.kube.kinds import MEND, Lack, lacking
from cipher_operator.kube.port import ApiError, ApiUnavailable, Reading

PAUSE = 1.0
"""Seconds between two looks at a kind that is waited for."""
LATER = (2.0, 30.0)
"""The same, at first and at most, where CipherStorages are served, and something else is lacking."""

logger = logging.getLogger(__name__)


class Kinds:
    """Follows the CRDs of `plurals` until nothing is lacking. `served` is set when CipherStorages are served, or when
    discovery is closed to us: then kopf's own words say more. kopf asks discovery when it starts, and only then."""

    def __init__(self, kube: Reading, plurals: Sequence[str]) -> None:
        self._kube, self._plurals = kube, plurals
        self._said: tuple[Lack, ...] = ()
        self.served = asyncio.Event()

    async def follow(self) -> None:
        """Look until nothing is lacking. What is lacking is said when two looks in a row find it: it may be on its
        way."""
        later, before = Backoff(*LATER), None
        while True:
            try:
                lacks = await lacking(self._kube, self._plurals)
            except ApiUnavailable:
                await asyncio.sleep(PAUSE)
                continue
            except ApiError:
                self.served.set()
                await asyncio.sleep(later.next())
                continue
            if all(each.served for each in lacks if each.plural == PLURAL):
                self.served.set()
            if not lacks:
                break
            if lacks == before and lacks != self._said:
                self._say(lacks)
            before = lacks
            await asyncio.sleep(later.next() if self.served.is_set() else PAUSE)
        if self._said:
            logger.info("the CRDs are as cipher-operator %s needs them; it goes on", __version__)

    def _say(self, lacks: tuple[Lack, ...]) -> None:
        self._said = lacks
        what = "; ".join(each.text for each in lacks)
        logger.warning("%s. Apply the CRDs of %s: %s. The operator goes on by itself", what, __version__, MEND)
