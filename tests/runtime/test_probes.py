"""Probes of lanes that are down, as the process asks them: whatever one ends with, its lane is asked again."""

from typing import Any, cast

import pytest

from cipher_operator.kube.port import Kube
from cipher_operator.queue.lanes import Lanes
from cipher_operator.queue.needs import API
from cipher_operator.runtime import parts
from cipher_operator.runtime.settings import Settings
from support.queue_world import VirtualClock


class Odd:
    """Stands for the API server: its first answer ends with what nobody has thought of."""

    asked = 0

    async def get(self, path: str) -> dict[str, Any]:
        self.asked += 1
        if self.asked == 1:
            raise RuntimeError
        return {}


async def test_a_probe_that_ends_unexpectedly_leaves_no_lane_down(caplog: pytest.LogCaptureFixture) -> None:
    api, clock = Odd(), VirtualClock()
    lanes = Lanes(clock, lambda lane: parts._probe(cast("Kube", api), cast("Settings", None), lane), slots=8)
    lanes.failed(API, "no answer")
    assert not lanes.reachable
    await clock.advance(10.0)
    assert (api.asked, lanes.reachable) == (2, True)
    assert caplog.text.count("a probe failed unexpectedly") == 1
    await lanes.close()
