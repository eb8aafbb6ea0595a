"""How often a server has the password hashed: too often is refused before libpq begins, often holds nobody else up."""

import asyncio
import base64
import ssl
import struct
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import SSLMode
from cipher_operator.core.connection.admin import AdminConnection, Password
from cipher_operator.core.connection.scram import Terms
from cipher_operator.postgres import hashing
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.hashing import FEW_ROUNDS, MAX_ROUNDS
from cipher_operator.postgres.login_keys import ENOUGH, LoginKeys
from cipher_operator.postgres.session import Session
from devcluster import PostgresServer
from devcluster.tls import CertificateAuthority
from support.scram import AUTHENTICATION_OK, READY, SALT, Cut, asking, verifier
from support.sessions import POLICY
from support.wire import message

CUTS: dict[str, tuple[bool, Cut]] = {
    "whole": (False, lambda text: [text]),
    "a byte at a time": (False, lambda text: [text[at : at + 1] for at in range(len(text))]),
    "in the midst of the number": (False, lambda text: [text[:-3], text[-3:]]),
    "behind the header": (False, lambda text: [text[:5], text[5:]]),
    "begun behind the message before": (True, lambda text: [text[11:]]),
    "with another before it": (False, lambda text: [message(b"v", struct.pack("!II", 3, 0)) + text]),
}
"""How the challenge comes; True: the server has sent its first bytes, which need no nonce, with what came before."""
NUMBERS = {
    "five million": b"5000000",
    "two thousand million": b"2147483647",
    "as strtol reads it": b" \t+0005000000",
    "around the end of an int": b"4299967296",
    "digits without end": b"9" * 1500,
}


CASES = [pytest.param(NUMBERS["five million"], *how, id=name) for name, how in CUTS.items()] + [
    pytest.param(number, *CUTS["whole"], id=name) for name, number in NUMBERS.items()
]


@pytest.fixture(params=[SSLMode.DISABLE, SSLMode.REQUIRE], ids=["plain", "TLS"])
def mode(request: pytest.FixtureRequest) -> SSLMode:
    return SSLMode(request.param)


@pytest.fixture
def context(certificate_authority: CertificateAuthority, mode: SSLMode) -> ssl.SSLContext | None:
    if mode is SSLMode.DISABLE:
        return None
    certificate = certificate_authority.server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    return context


def login_at(port: int, mode: SSLMode) -> AdminConnection:
    return AdminConnection("127.0.0.1", port, "u", Password("p"), None, mode, channel_binding="disable")


def known(there: AdminConnection, rounds: int) -> LoginKeys:
    """Return what is known of a login that was taken on other terms, or on the same."""
    keys = LoginKeys()
    for _ in range(ENOUGH):
        keys.accepted(keys.login(there, there.host), Terms(SALT, rounds))
    return keys


@pytest.mark.parametrize("kept", [False, True], ids=["by password", "with keys"])
@pytest.mark.parametrize(("rounds", "ahead", "cut"), CASES)
async def test_too_many_rounds_are_refused_before_the_first(
    mode: SSLMode, context: ssl.SSLContext | None, rounds: bytes, ahead: bool, cut: Cut, kept: bool
) -> None:
    used = time.process_time()
    async with asking(rounds, cut, ahead=ahead, context=context) as (port, answers):
        there = login_at(port, mode)
        keys = known(there, 4096) if kept else None
        with pytest.raises(Failure) as refused:
            await Session.open(there, "postgres", DialPolicy((), 2.0 if ahead else 10.0), keys=keys)
    if ahead and mode is SSLMode.DISABLE:
        # libpq is given whole messages alone, and what comes out of turn is never whole.
        assert refused.value.reason is Reason.CONNECT_TIMEOUT
    else:
        assert refused.value.reason is Reason.ACCESS_DENIED
        assert "more than a million times" in refused.value.message
    assert not any(answers), "nothing was answered"
    assert len(answers) <= 1, "nor is it asked again"
    assert time.process_time() - used < 2.0, "five million take 18 s"


@pytest.mark.parametrize(("ahead", "cut"), CUTS.values(), ids=CUTS)
async def test_keys_for_other_terms_prove_nothing(
    mode: SSLMode, context: ssl.SSLContext | None, ahead: bool, cut: Cut
) -> None:
    async with asking(b"4097", cut, ahead=ahead, context=context) as (port, answers):
        there = login_at(port, mode)
        with pytest.raises(Failure):
            await Session.open(there, "postgres", DialPolicy((), 2.0), keys=known(there, 4096))
    never_whole = ahead and mode is SSLMode.DISABLE
    assert len(answers) == (1 if never_whole else 2), "the second is the password's"
    assert not answers[0]


FINAL = message(b"R", struct.pack("!I", 12) + b"v=" + base64.b64encode(b"no server key of a password here"))
UNPROVEN = {"another's signature": [FINAL, AUTHENTICATION_OK, READY], "no signature": [AUTHENTICATION_OK, READY]}


@pytest.mark.parametrize("then", UNPROVEN.values(), ids=UNPROVEN)
async def test_a_server_that_names_the_known_terms_must_know_the_password_too(
    mode: SSLMode, context: ssl.SSLContext | None, then: list[bytes]
) -> None:
    failures = []
    async with asking(b"4096", context=context, then=then) as (port, answers):
        there = login_at(port, mode)
        for keys in (None, known(there, 4096)):
            with pytest.raises(Failure) as refused:
                await Session.open(there, "postgres", DialPolicy((), 2.0), keys=keys)
            failures.append((refused.value.reason, refused.value.message))
    assert [answer[:1] for answer in answers] == [b"p", b"p"]
    assert failures[0] == failures[1], "the keys say the same as the password"


@pytest.fixture(scope="module")
def both(certificate_authority: CertificateAuthority) -> Iterator[PostgresServer]:
    with PostgresServer(16, tls=certificate_authority.server()) as server:
        for rounds in (1, FEW_ROUNDS, FEW_ROUNDS + 1, 600_000, MAX_ROUNDS + 1):
            server.execute(f"CREATE ROLE rounds_{rounds} LOGIN PASSWORD '{verifier('p', rounds)}'")
        yield server


@pytest.mark.parametrize("mode", [SSLMode.DISABLE, SSLMode.REQUIRE], ids=["plain", "TLS"])
class TestARealServer:
    @pytest.mark.parametrize("rounds", [1, FEW_ROUNDS, FEW_ROUNDS + 1])
    async def test_takes_the_login(self, both: PostgresServer, mode: SSLMode, rounds: int) -> None:
        there = AdminConnection(both.host, both.port, f"rounds_{rounds}", Password("p"), None, mode)
        async with await Session.open(there, "postgres", POLICY) as session:
            assert session.ssl_in_use is (mode is SSLMode.REQUIRE)

    async def test_that_has_too_many_says_what_to_set(self, both: PostgresServer, mode: SSLMode) -> None:
        there = AdminConnection(both.host, both.port, f"rounds_{MAX_ROUNDS + 1}", Password("p"), None, mode)
        with pytest.raises(Failure, match="scram_iterations"):
            await Session.open(there, "postgres", POLICY)

    @pytest.mark.parametrize("kept", [False, True], ids=["by password", "while keys are made"])
    async def test_that_has_many_holds_nobody_else_up(self, both: PostgresServer, mode: SSLMode, kept: bool) -> None:
        there = AdminConnection(both.host, both.port, "rounds_600000", Password("p"), None, mode)
        keys = known(there, 600_000) if kept else None
        opening = asyncio.create_task(Session.open(there, "postgres", DialPolicy((), 30.0), keys=keys))
        begun, longest, ticks = time.monotonic(), 0.0, 0
        while not opening.done():
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest, ticks = max(longest, time.monotonic() - before), ticks + 1
        await (await opening).close()
        took = time.monotonic() - begun
        assert longest < took / 2, f"the loop stood for {longest:.2f} s of {took:.2f}"
        assert ticks > 10

    async def test_that_is_given_up_while_it_hashes_ends_cleanly(
        self, both: PostgresServer, mode: SSLMode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun = asyncio.Event()

        class Threads(ThreadPoolExecutor):
            def submit(self, *given: Any, **named: Any) -> Future[Any]:
                begun.set()
                return super().submit(*given, **named)

        monkeypatch.setattr(hashing, "_THREADS", Threads(1))
        there = AdminConnection(both.host, both.port, "rounds_600000", Password("p"), None, mode)
        opening = asyncio.create_task(Session.open(there, "postgres", DialPolicy((), 30.0)))
        await asyncio.wait_for(begun.wait(), 30)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        async with await Session.open(
            AdminConnection(both.host, both.port, "rounds_1", Password("p"), None, mode), "postgres", POLICY
        ):
            pass
