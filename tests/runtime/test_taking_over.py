"""A process that begins to lead is at work at once, whatever it went through before."""

import asyncio
from typing import Any, cast

import pytest

from cipher_operator.core.permit import unlimited
from cipher_operator.kube.client import KubeClient
from cipher_operator.kube.outage import ApiOutage
from cipher_operator.queue.following import Next
from cipher_operator.queue.lanes import LEFT
from cipher_operator.queue.needs import API
from cipher_operator.queue.ticket import Ticket
from cipher_operator.reconcile.inputs import Key
from cipher_operator.runtime.lane_outages import LaneOutages
from cipher_operator.runtime.metrics import Metrics
from cipher_operator.runtime.parts import Parts
from cipher_operator.runtime.settings import parse_settings
from support.memory_api import MemoryApi
from support.virtual_loop import in_virtual_time


class Runs:
    """Notes what is run, and when."""

    def __init__(self) -> None:
        self.began: list[tuple[float, Key]] = []

    async def run(self, key: Key, ticket: Ticket) -> Next:
        self.began.append((asyncio.get_running_loop().time(), key))
        return Next(after=300.0)

    async def close(self) -> None:
        """Nothing goes on beside."""

    async def reset(self) -> None:
        """Nothing is remembered."""


@pytest.mark.parametrize("away", [1.0, 30.0, 600.0])
async def test_an_outage_that_a_leader_has_met_is_over_when_it_leads_again(away: float) -> None:
    """That it leads, the API server has told it; the longer it was away, the later it would be asked again."""

    async def play() -> None:
        api, runs, loop = MemoryApi(), Runs(), asyncio.get_running_loop()
        make: Any = lambda around: runs  # noqa: E731
        parts = Parts.of(parse_settings([], {}), cast(KubeClient, api), "x", Metrics(), make, unlimited)
        parts.triggers.storage(None, api.storage("chat"))
        parts.triggers.complete()
        parts.lead(False)
        await asyncio.sleep(1.0)
        assert len(runs.began) == 1
        fault = api.fault(network=True)
        parts.lanes.failed(API, "away")
        await asyncio.sleep(0.1)
        await parts.follow()
        await asyncio.sleep(away)
        parts.triggers.storage("MODIFIED", api.storage("other"))
        api.mend(fault)
        began = loop.time()
        parts.lead(True)
        await asyncio.sleep(0.5)
        assert {key[1] for at, key in runs.began if at >= began} == {"chat", "other"}
        await parts.close()

    await asyncio.to_thread(in_virtual_time, play())


@pytest.mark.parametrize(
    ("cause", "said"), [(None, "answers again"), ("away", "answers again"), (LEFT, "nobody needs it")]
)
def test_the_end_of_an_outage_is_told_as_what_it_is(cause: object, said: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    LaneOutages(ApiOutage())(("db.example.com", 5432), over=True, cause=cause, seconds=5.0)
    assert said in caplog.messages[-1]
