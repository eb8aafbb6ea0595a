"""The probes and the metrics over real HTTP."""

import aiohttp
import pytest

from cipher_operator.runtime.health import HealthServer
from cipher_operator.runtime.metrics import Metrics
from cipher_operator.runtime.settings import Address

FREE = Address("127.0.0.1", 0)


async def get(address: Address, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}{path}") as response:
        return response.status, await response.text()


async def test_the_checks_decide_what_the_probes_answer(caplog: pytest.LogCaptureFixture) -> None:
    wrong: list[str] = ["the first lists are not complete"]
    server = HealthServer(FREE, FREE, lambda: None, lambda: wrong[0] if wrong else None, Metrics())
    with caplog.at_level("INFO"):
        await server.start()
    try:
        health, metrics = server.addresses["health"], server.addresses["metrics"]
        assert health.port != metrics.port and 0 not in (health.port, metrics.port)
        assert f"health is served on http://{health}/healthz" in caplog.text
        assert await get(health, "/healthz") == (200, "ok\n")
        assert await get(health, "/readyz") == (503, "the first lists are not complete\n")
        wrong.clear()
        assert await get(health, "/readyz") == (200, "ok\n")
        status, text = await get(metrics, "/metrics")
        assert status == 200 and "cipher_operator_build_info" in text
        assert (await get(health, "/metrics"))[0] == 404
    finally:
        await server.stop()


async def test_one_address_for_both() -> None:
    first = HealthServer(FREE, FREE, lambda: None, lambda: None, Metrics())
    await first.start()
    both = first.addresses["health"]
    await first.stop()
    server = HealthServer(both, both, lambda: "stuck", lambda: None, Metrics())
    await server.start()
    try:
        assert await get(both, "/healthz") == (503, "stuck\n")
        assert (await get(both, "/metrics"))[0] == 200
    finally:
        await server.stop()
