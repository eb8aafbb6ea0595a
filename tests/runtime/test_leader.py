"""One process writes at a time, whatever happens to it, to its clock and to its way to the API server."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random

import pytest

from cipher_operator.kube.leases import Lease
from cipher_operator.runtime.leader import Act, Elector, View, claim, decide
from support.memory_api import MemoryApi
from support.replicas import LEASE_PATH, NAMESPACE, Network, Replica, holder
from support.virtual_loop import in_virtual_time

ME, OTHER = "me", "other"


def lease(holder: str, *, renewed: str = "1", duration: float = 15.0, transitions: int = 3) -> Lease:
    return Lease(holder, duration, transitions, "0", renewed, {})


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        pytest.param(View(), (Act.CLAIM, 0.0), id="there is none, and was none"),
        pytest.param(View(None, since=90.0, existed=True), (Act.WAIT, 0.5), id="deleted while its holder may work on"),
        pytest.param(View(None, since=85.0, existed=True), (Act.CLAIM, 0.0), id="deleted long enough ago"),
        pytest.param(View(lease("", duration=1), since=100.0), (Act.CLAIM, 0.0), id="released"),
        pytest.param(View(lease(""), since=99.0), (Act.WAIT, 0.5), id="emptied by a person, its holder may work on"),
        pytest.param(View(lease(""), since=85.0), (Act.CLAIM, 0.0), id="emptied long enough ago"),
        pytest.param(View(lease(ME), since=100.0), (Act.CLAIM, 0.0), id="ours still, after an outage"),
        pytest.param(View(lease(OTHER), since=99.0), (Act.WAIT, 0.5), id="renewed a second ago"),
        pytest.param(View(lease(OTHER), since=85.4), (Act.WAIT, pytest.approx(0.4)), id="not a poll later than due"),
        pytest.param(View(lease(OTHER), since=85.0), (Act.CLAIM, 0.0), id="not renewed for its duration"),
        pytest.param(View(lease(OTHER, duration=60), since=50.0), (Act.WAIT, 0.5), id="its holder's own duration"),
        pytest.param(View(lease(OTHER, duration=0), since=99.5), (Act.WAIT, 0.5), id="a duration that is none"),
        pytest.param(View(lease(OTHER, duration=1), since=86.0), (Act.WAIT, 0.5), id="shorter than any holder's"),
        pytest.param(View(lease(OTHER, duration=2**31 - 1), since=40.0), (Act.CLAIM, 0.0), id="longer than any"),
        pytest.param(View(lease("", duration=2**31 - 1), since=85.0), (Act.CLAIM, 0.0), id="nobody's, for ever"),
        pytest.param(View(lease(ME), since=98.0, renewed=98.0), (Act.CLAIM, 3.0), id="we renew every five seconds"),
        pytest.param(View(lease(ME), since=90.0, renewed=90.0), (Act.CLAIM, 0.0), id="and at once when late"),
    ],
)
def test_what_is_done_next(view: View, expected: tuple[Act, float]) -> None:
    assert decide(view, ME, 100.0) == expected


def test_the_age_of_a_claim_counts_from_when_it_was_seen_to_be_new() -> None:
    first = View().seen(lease(OTHER), 10.0)
    same = first.seen(lease(OTHER), 20.0)
    renewed = same.seen(lease(OTHER, renewed="2"), 30.0)
    assert (first.since, same.since, renewed.since) == (10.0, 10.0, 30.0)
    assert (first.heard, same.heard, renewed.heard) == (False, False, True), "a sign of life is a change"


@pytest.mark.parametrize(
    ("now", "alive"),
    [
        pytest.param(lease(OTHER, renewed="2"), True, id="renewed"),
        pytest.param(lease("", renewed="2", duration=1), True, id="released"),
        pytest.param(lease("third", renewed="2", transitions=4), True, id="taken"),
        pytest.param(lease(""), False, id="emptied by a person"),
        pytest.param(lease(OTHER, duration=99), False, id="edited by a person"),
        pytest.param(None, False, id="deleted"),
    ],
)
def test_only_a_claim_is_a_sign_of_life(now: Lease | None, alive: bool) -> None:
    """Where the last leader is long dead, nobody has done what changed since."""
    view = View().seen(lease(OTHER), 10.0).seen(now, 20.0)
    assert (view.heard, view.since) == (alive, 20.0)
    assert view.seen(lease("third", renewed="3"), 30.0).heard


def test_a_clock_that_was_set_back_on_the_other_machine_changes_nothing() -> None:
    first = View().seen(lease(OTHER, renewed="2026-01-01T12:00:00.000000Z"), 10.0)
    earlier = first.seen(lease(OTHER, renewed="1970-01-01T00:00:00.000000Z"), 20.0)
    assert earlier.since == 20.0, "it is a sign of life"
    assert decide(earlier, ME, 34.9)[0] is Act.WAIT
    assert decide(earlier, ME, 35.0)[0] is Act.CLAIM


def test_a_claim_counts_the_terms_and_says_when_they_began() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    taken, kept = claim(View(lease(OTHER)), ME, now), claim(View(lease(ME)), ME, now)
    assert (taken.holder, taken.transitions, taken.acquired) == (ME, 4, now)
    assert (kept.holder, kept.transitions, kept.acquired) == (ME, 3, None)


async def test_a_released_lease_is_taken_within_a_second() -> None:
    async def play() -> None:
        api = MemoryApi()
        first = Replica(api, "first")
        await first.leads(1)
        second = Replica(api, "second")
        await asyncio.sleep(7.3)
        assert not second.writes
        await first.elector.release()
        assert not first.writes and holder(api) == ""
        assert await second.leads(0.6) > 0
        assert [warm for _, warm in first.led] == [False]
        assert [warm for _, warm in second.led] == [True]

    await asyncio.to_thread(in_virtual_time, play())


@pytest.mark.parametrize("life", [5.1, 7.5, 9.9])
async def test_a_killed_leader_is_followed_after_its_lease(life: float) -> None:
    async def play() -> None:
        api = MemoryApi()
        first = Replica(api, "first")
        await first.leads(1)
        second = Replica(api, "second")
        await asyncio.sleep(life)
        await first.crash()
        assert 10.0 <= await second.leads(17) <= 16.0

    await asyncio.to_thread(in_virtual_time, play())


TROUBLE: dict[str, Callable[[Network], None]] = {
    "requests fail": lambda network: setattr(network, "cut", True),
    "requests get no answer": lambda network: setattr(network, "hangs", True),
    "the process is stopped": lambda network: network.thawed.clear(),
}


@pytest.mark.parametrize("trouble", TROUBLE)
async def test_a_leader_that_cannot_renew_stops_before_another_begins(trouble: str) -> None:
    async def play() -> None:
        api = MemoryApi()
        first = Replica(api, "first")
        await first.leads(1)
        second = Replica(api, "second")
        await asyncio.sleep(12.0)
        TROUBLE[trouble](first.network)
        began = first.loop.time()
        while first.writes:
            assert first.loop.time() - began <= 10.0
            await asyncio.sleep(0.01)
        silent = first.loop.time()
        await second.leads(20)
        assert second.loop.time() - silent >= 4.0
        first.network.cut = first.network.hangs = False
        first.network.thawed.set()
        await asyncio.sleep(30.0)
        assert second.writes and not first.writes
        assert len(first.ended) == 1, "what it had under way was ended"
        await second.elector.release()
        await first.leads(1.5)

    await asyncio.to_thread(in_virtual_time, play())


async def test_after_an_outage_for_all_the_leader_goes_on_where_nobody_else_led() -> None:
    async def play() -> None:
        api = MemoryApi()
        first = Replica(api, "first")
        await first.leads(1)
        second = Replica(api, "second")
        for each in (first, second):
            each.network.cut = True
        await asyncio.sleep(120.0)
        assert not first.writes and not second.writes
        for each in (first, second):
            each.network.cut = False
        await asyncio.sleep(3.0)
        assert first.writes != second.writes

    await asyncio.to_thread(in_virtual_time, play())


async def test_a_renewal_whose_answer_is_lost_does_not_end_a_term() -> None:
    async def play() -> None:
        api = MemoryApi()
        first = Replica(api, "first")
        await first.leads(1)
        first.network.hangs = True
        await asyncio.sleep(6.0)
        first.network.hangs = False
        await asyncio.sleep(30.0)
        assert first.writes and first.ended == []

    await asyncio.to_thread(in_virtual_time, play())


async def test_a_lease_that_somebody_deletes_makes_no_two_leaders() -> None:
    async def play() -> None:
        api = MemoryApi()
        first = Replica(api, "first")
        await first.leads(1)
        second = Replica(api, "second")
        await asyncio.sleep(3.0)
        api.delete("leases", "cipher-operator", namespace=NAMESPACE)
        for _ in range(3_000):
            assert not (first.writes and second.writes)
            await asyncio.sleep(0.01)
        assert first.writes

    await asyncio.to_thread(in_virtual_time, play())


EDITS: dict[str, dict[str, object]] = {
    "the holder emptied": {"holderIdentity": ""},
    "the holder taken away": {"holderIdentity": None},
    "a second's duration": {"leaseDurationSeconds": 1},
    "no duration": {"leaseDurationSeconds": None},
    "a duration without end": {"leaseDurationSeconds": 2**31 - 1},
    "another holder": {"holderIdentity": "somebody"},
    "another holder for ever": {"holderIdentity": "somebody", "leaseDurationSeconds": 2**31 - 1},
    "nobody for ever": {"holderIdentity": "", "leaseDurationSeconds": 2**31 - 1},
    "as many terms as there can be": {"leaseTransitions": 2**31 - 1, "holderIdentity": "somebody"},
    "a renewal long ago": {"renewTime": "1970-01-01T00:00:00.000000Z"},
    "a renewal to come": {"renewTime": "2999-01-01T00:00:00.000000Z"},
    "nothing at all": dict.fromkeys(
        ("holderIdentity", "leaseDurationSeconds", "renewTime", "acquireTime", "leaseTransitions")
    ),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("after", [0.1, 2.0, 4.9])
async def test_a_lease_that_somebody_edits_makes_no_two_leaders_and_always_one_again(edit: str, after: float) -> None:
    """At any moment between two renewals, beside a follower that has seen it all."""

    async def play() -> None:
        api = MemoryApi()
        first = Replica(api, "first")
        await first.leads(1)
        second = Replica(api, "second")
        await asyncio.sleep(10.0 + after)
        lease = api.read("leases", "cipher-operator", namespace=NAMESPACE)
        assert lease is not None
        spec = {**lease["spec"], **EDITS[edit]}
        await api.put(LEASE_PATH, {**lease, "spec": {key: each for key, each in spec.items() if each is not None}})
        led = False
        for moment in range(1_800):
            assert not (first.writes and second.writes), f"{moment / 20:g} s later"
            led = first.writes or second.writes
            await asyncio.sleep(0.05)
        assert led, "a minute and a half later somebody leads"

    await asyncio.to_thread(in_virtual_time, play())


async def test_who_retires_in_the_midst_of_its_claim_does_not_lead_and_gives_it_back() -> None:
    """A drain ends both replicas at once, and the follower may just be taking what the leader gave back."""

    async def play() -> None:
        api = MemoryApi()
        first = Replica(api, "first")
        first.network.delay = 0.2
        while holder(api) != "first":
            await asyncio.sleep(0.01)
        first.elector.retire()
        await asyncio.sleep(3.0)
        assert first.led == []
        await first.elector.release()
        assert holder(api) == ""

    await asyncio.to_thread(in_virtual_time, play())


async def test_what_does_not_end_ends_the_process() -> None:
    async def play() -> None:
        first = Replica(MemoryApi(), "first")
        await first.leads(1)
        first.ends, first.network.cut = False, True
        await asyncio.wait_for(first.elector.ended.wait(), 20)
        assert not first.writes

    await asyncio.to_thread(in_virtual_time, play())


async def test_who_retires_leads_on_until_the_release_and_takes_nothing_any_more() -> None:
    async def play() -> None:
        api = MemoryApi()
        first = Replica(api, "first")
        await first.leads(1)
        second = Replica(api, "second")
        await asyncio.sleep(3.0)
        second.elector.retire()
        first.elector.retire()
        await asyncio.sleep(40.0)
        assert first.writes
        await first.elector.release()
        await asyncio.sleep(20.0)
        assert not second.writes and holder(api) == ""

    await asyncio.to_thread(in_virtual_time, play())


async def test_without_the_right_to_leases_the_right_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        api = MemoryApi()
        forbidden = api.answer(403, "Forbidden", path="/leases")
        first = Replica(api, "first")
        await asyncio.sleep(10.0)
        assert not first.writes
        api.mend(forbidden)
        await first.leads(2)

    await asyncio.to_thread(in_virtual_time, play())
    said = [record.getMessage() for record in caplog.records if record.name.endswith("leader")]
    assert sum("it takes get, create and update on leases" in each for each in said) == 1


@pytest.mark.parametrize("seed", range(10))
async def test_never_two_at_once(seed: int) -> None:
    """Three replicas for ten minutes, each with outages, lost answers, slow requests and stops of its own."""

    async def play() -> None:
        random, api = Random(seed), MemoryApi()
        replicas = [Replica(api, f"replica-{number}") for number in range(3)]
        at_work = 0

        async def torment(network: Network) -> None:
            while True:
                network.cut, network.hangs = random.random() < 0.2, random.random() < 0.2
                network.delay = random.choice([0.0, 0.05, 1.0, 4.0])
                if random.random() < 0.3:
                    network.thawed.clear()
                await asyncio.sleep(random.uniform(0.5, 25))
                network.thawed.set()
                network.cut = network.hangs = False
                network.delay = 0.0
                await asyncio.sleep(random.uniform(0.5, 15))

        torments = [asyncio.create_task(torment(each.network)) for each in replicas]
        for _ in range(6_000):
            writing = [each for each in replicas if each.writes]
            assert len(writing) <= 1
            at_work += len(writing)
            await asyncio.sleep(0.1)
        for task in torments:
            task.cancel()
        assert at_work > 600, "somebody leads most of the time"

    await asyncio.to_thread(in_virtual_time, play())


async def test_a_lease_whose_namespace_is_not_there_is_said_once_and_taken_when_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def play() -> None:
        api = MemoryApi()
        first = Replica(api, "first")
        first.network.homeless = True
        await asyncio.sleep(60.0)
        assert not first.writes
        told = [record.getMessage() for record in caplog.records]
        assert len(told) == 1 and "--leader-election-namespace" in told[0], told
        first.network.homeless = False
        await first.leads(2.0)
        assert "at hand again" in caplog.records[1].getMessage()

    caplog.set_level("INFO", logger="cipher_operator.runtime.leader")
    await asyncio.to_thread(in_virtual_time, play())


def test_a_process_that_never_led_may_not_write() -> None:
    async def play() -> None:
        api = MemoryApi()
        elector = Elector(Network(api), NAMESPACE, "first")
        await elector.release()
        assert not elector.leading and api.count() == 0, "there is nothing to release"

    in_virtual_time(play())
