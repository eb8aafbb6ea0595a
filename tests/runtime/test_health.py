"""The probes and the metrics over real HTTP, on both families of addresses."""

import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from cipher_operator.runtime.flags import Address
from cipher_operator.runtime.health import AddressError, HealthServer
from cipher_operator.runtime.metrics import Metrics
from cipher_operator.runtime.settings import Settings, parse_settings

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


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[HealthServer]:
    """Give a server on the addresses of the settings, each with a free port in place of its own."""
    health, metrics = (replace(address, port=0) for address in (settings.health_address, settings.metrics_address))
    server = HealthServer(health, metrics, lambda: None, lambda: None, Metrics())
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


ANSWERS = pytest.mark.parametrize("client", ["127.0.0.1", "::1"], ids=["an IPv4 probe", "an IPv6 probe"])
SERVED = pytest.mark.parametrize(("served", "path"), [("health", "/healthz"), ("metrics", "/metrics")])


@SERVED
@ANSWERS
@pytest.mark.parametrize(
    "argv",
    [(), ("--health-address", ":0", "--metrics-address", ":0")],
    ids=["by default", "an address without a host"],
)
async def test_both_families_are_answered(argv: tuple[str, ...], client: str, served: str, path: str) -> None:
    """The kubelet of an IPv6-only cluster probes the Pod's only address."""
    async with serving(parse_settings(argv, {})) as server:
        status, _ = await get(Address(client, server.addresses[served].port), path)
        assert status == 200


def no_family(family: int, *_: object) -> None:
    if family == socket.AF_INET6:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")


def no_address(family: int, *_: object) -> None:
    if family == socket.AF_INET6:
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")


class Without(socket.socket):
    """A socket of a machine without IPv6: the place where that shows differs."""

    at_birth: Callable[..., None] = staticmethod(lambda *_: None)
    at_bind: Callable[..., None] = staticmethod(lambda *_: None)

    def __init__(self, family: int = -1, *rest: Any, **named: Any) -> None:
        type(self).at_birth(family)
        super().__init__(family, *rest, **named)

    def bind(self, address: Any, /) -> None:
        type(self).at_bind(self.family)
        super().bind(address)


@SERVED
@pytest.mark.parametrize(
    "missing",
    [
        {"at_birth": staticmethod(no_family)},
        {"at_bind": staticmethod(no_address)},
    ],
    ids=["the kernel has no IPv6", "IPv6 is turned off"],
)
async def test_without_ipv6_ipv4_is_answered_and_the_log_says_so(
    missing: dict[str, Any], served: str, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"), monkeypatch.context() as patched:
        patched.setattr(socket, "socket", type("Missing", (Without,), missing))
        async with serving(Settings()) as server:
            address = server.addresses[served]
            assert address.host == "0.0.0.0"
            patched.undo()
            assert (await get(Address("127.0.0.1", address.port), path))[0] == 200
    assert f"{served} is served on http://{address}{path}" in caplog.text


@pytest.mark.parametrize("taken", ["0.0.0.0", "::"])
async def test_a_port_that_is_taken_is_an_error_and_not_a_machine_without_ipv6(taken: str) -> None:
    family = socket.AF_INET6 if ":" in taken else socket.AF_INET
    with socket.create_server((taken, 0), family=family) as other:
        port = other.getsockname()[1]
        server = HealthServer(Address("::", port), FREE, lambda: None, lambda: None, Metrics())
        with pytest.raises(AddressError, match=rf"^--health-address: \[::\]:{port} cannot be had: .*in use"):
            await server.start()
        await server.stop()


async def test_an_address_of_one_family_stays_with_it() -> None:
    server = HealthServer(FREE, FREE, lambda: None, lambda: None, Metrics())
    await server.start()
    try:
        with pytest.raises(aiohttp.ClientConnectorError):
            await get(Address("::1", server.addresses["health"].port), "/healthz")
    finally:
        await server.stop()
