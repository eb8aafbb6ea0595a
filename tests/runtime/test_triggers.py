"""Which watch events start a run."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from cipher_operator.kube import reflector
from cipher_operator.kube.reflector import STORAGES, Reflector
from cipher_operator.kube.seen import Seen
from cipher_operator.queue.queue import Queue
from cipher_operator.queue.references import References, Version
from cipher_operator.reconcile.inputs import Key, Ref, references
from cipher_operator.runtime.standby import Standby
from cipher_operator.runtime.triggers import Triggers
from support.memory_api import MemoryApi

KEY: Key = ("ns", "chat")
SPEC = {"connection": {"secretRef": {"name": "pg"}}}


PG: Ref = ("Secret", "ns", "pg")


class Recorded:
    """Stands for the queue."""

    def __init__(self) -> None:
        self.started: list[Key] = []

    def enqueue(self, key: Key, **_: Any) -> None:
        self.started.append(key)

    def relearn(self, way: object) -> None:
        """Needs are the queue's own business."""


class Looked(list[Ref]):
    """Which inputs were to be looked at."""

    def __call__(self, ref: Ref, /, *, after: float = 0.0) -> None:
        self.append(ref)


def references_of(queue: Recorded) -> "References[Key, Ref]":
    return References(queue.enqueue)


@pytest.fixture
def queue() -> Recorded:
    return Recorded()


@pytest.fixture
def triggers(queue: Recorded) -> Triggers:
    return Triggers(cast("Queue[Key]", queue), references_of(queue))


def storage(spec: Any = SPEC, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "ns", "name": "chat", "uid": "1", "generation": 1, **metadata}, "spec": spec}


def written(manager: str, time: str = "2026-01-01T00:00:00Z", subresource: str = "status") -> dict[str, str]:
    return {"manager": manager, "time": time, "subresource": subresource, "operation": "Update"}


@pytest.mark.parametrize(
    ("change", "starts"),
    [
        pytest.param({"generation": 2}, True, id="the spec"),
        pytest.param({"deletionTimestamp": "2026-01-01T00:00:00Z"}, True, id="the deletion"),
        pytest.param({"uid": "2"}, True, id="another object of that name"),
        pytest.param({"annotations": {"storage.cipher.dev/reconcile-requested-at": "1"}}, True, id="a request"),
        pytest.param({"annotations": {"storage.cipher.dev/recreate-requested-at": "1"}}, True, id="another request"),
        pytest.param({"annotations": {"storage.cipher.dev/force-delete": "true"}}, True, id="force-delete"),
        pytest.param({"annotations": {"example.com/note": "1"}}, False, id="an annotation of others"),
        pytest.param({"annotations": None}, False, id="annotations that are null"),
        pytest.param({"labels": {"a": "b"}}, False, id="a label"),
        pytest.param({"finalizers": ["storage.cipher.dev/finalizer"]}, False, id="our finalizer"),
        pytest.param({"resourceVersion": "9"}, False, id="a status that was written"),
        pytest.param({"managedFields": [written("cipher-operator")]}, False, id="a status that we wrote"),
        pytest.param({"managedFields": [written("kubectl-patch")]}, True, id="a status that somebody else wrote"),
        pytest.param({"managedFields": [written("kubectl", subresource="")]}, False, id="a label that somebody wrote"),
        pytest.param(
            {"managedFields": [None, [], {"subresource": "status", "time": {}}]}, True, id="what is no list of it"
        ),
        pytest.param({"managedFields": {"a": 1}}, False, id="no list at all"),
    ],
)
@pytest.mark.parametrize("type_", ["MODIFIED", None])
def test_what_starts_a_run(
    triggers: Triggers, queue: Recorded, type_: str | None, change: Mapping[str, Any], starts: bool
) -> None:
    triggers.storage("ADDED", storage())
    assert queue.started == [KEY]
    triggers.storage(type_, storage(**change))
    assert queue.started == [KEY] * (2 if starts else 1)


def test_each_time_that_somebody_writes_a_status_starts_one_run(triggers: Triggers, queue: Recorded) -> None:
    """And that we write ours over it none, nor that what they wrote stands beside ours."""
    first, again = written("velero-server"), written("velero-server", "2026-01-01T00:00:09Z")
    ours = written("cipher-operator")
    triggers.storage("ADDED", storage(resourceVersion="1"))
    for number, fields in enumerate(([first], [first, ours], [ours], [ours, again], [ours, again]), 2):
        body = storage(resourceVersion=str(number), managedFields=fields)
        if not triggers.status("MODIFIED", body):
            triggers.storage("MODIFIED", body)
    assert queue.started == [KEY] * 3


def test_a_status_that_somebody_emptied_starts_a_run(triggers: Triggers, queue: Recorded) -> None:
    """Whoever takes all away is nobody who wrote, for the API server."""
    says = {"status": {"conditions": [{"type": "Ready"}]}}
    triggers.storage("ADDED", storage(resourceVersion="1"))
    assert triggers.status("MODIFIED", storage(resourceVersion="2") | says)
    triggers.storage("MODIFIED", storage(resourceVersion="3") | says)
    assert queue.started == [KEY]
    emptied = storage(resourceVersion="4") | {"status": {"database": "x"}}
    assert not triggers.status("MODIFIED", emptied)
    triggers.storage("MODIFIED", emptied)
    assert queue.started == [KEY, KEY]


def test_a_relist_starts_nothing_that_did_not_change(triggers: Triggers, queue: Recorded) -> None:
    for _ in range(3):
        triggers.storage(None, storage())
    assert queue.started == [KEY]


def test_a_storage_that_is_gone_is_run_once_more_to_be_forgotten(triggers: Triggers, queue: Recorded) -> None:
    triggers.storage("ADDED", storage())
    triggers.storage("DELETED", storage())
    assert (queue.started, triggers.knows(KEY)) == ([KEY, KEY], False)


def test_the_end_of_an_old_object_that_comes_late_leaves_the_new_one_known(triggers: Triggers) -> None:
    triggers.storage("ADDED", storage())
    triggers.storage("ADDED", storage(uid="2"))
    triggers.storage("DELETED", storage())
    assert triggers.knows(KEY)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, {("Secret", "ns", "chat-cipher")}),
        (None, {("Secret", "ns", "chat-cipher")}),
        ([], {("Secret", "ns", "chat-cipher")}),
        (
            {
                "connection": {"secretRef": {"name": "pg"}, "caRef": {"kind": "ConfigMap", "name": "ca"}},
                "user": {"passwordSecretRef": {"name": "pw", "key": "k"}},
                "app": {"secretName": "app"},
            },
            {("Secret", "ns", "pg"), ("ConfigMap", "ns", "ca"), ("Secret", "ns", "pw"), ("Secret", "ns", "app")},
        ),
        (
            {"connection": {"secretRef": {"name": "pg"}, "caRef": {"kind": "Secret", "name": "ca"}}},
            {("Secret", "ns", "pg"), ("Secret", "ns", "ca"), ("Secret", "ns", "chat-cipher")},
        ),
        (
            {"connection": {"secretRef": [], "caRef": 5}, "user": None, "app": {"secretName": 7}},
            {("Secret", "ns", "chat-cipher")},
        ),
    ],
)
def test_references_of_any_spec(spec: object, expected: set[tuple[str, str, str]]) -> None:
    assert references(KEY, spec) == expected


def test_our_finalizer_that_somebody_takes_away_starts_a_run(triggers: Triggers, queue: Recorded) -> None:
    held = {"finalizers": ["storage.cipher.dev/finalizer"]}
    triggers.storage("ADDED", storage(**held))
    triggers.storage("MODIFIED", storage(**held))
    assert queue.started == [KEY]
    triggers.storage("MODIFIED", storage())
    assert queue.started == [KEY, KEY], "kubectl replace and Argo's Replace do that"


def seen(revision: int, *, deleting: bool = False, held: bool = False) -> Seen:
    return Seen("uid", str(revision), deleting=deleting, held=held)


def test_a_secret_is_looked_at_when_somebody_has_read_another_revision(queue: Recorded) -> None:
    inputs, looked = references_of(queue), Looked()
    triggers = Triggers(cast("Queue[Key]", queue), inputs, looked)
    triggers.storage("ADDED", storage())
    queue.started.clear()
    inputs.read(KEY, PG, Version(5, "a"))
    triggers.input(PG, seen(5))
    triggers.input(("Secret", "ns", "unrelated"), seen(7))
    assert looked == []
    triggers.input(PG, seen(6))
    assert looked == [PG]
    assert queue.started == [], "only another content starts a run"
    triggers.input(PG, None)
    assert queue.started == [KEY]


def test_a_change_of_the_spec_changes_what_is_watched(queue: Recorded) -> None:
    inputs = references_of(queue)
    triggers = Triggers(cast("Queue[Key]", queue), inputs)
    triggers.storage("ADDED", storage())
    triggers.storage("MODIFIED", storage({"connection": {"secretRef": {"name": "other"}}}, generation=2))
    assert (inputs.watched(PG), inputs.watched(("Secret", "ns", "other"))) == (False, True)


HOLDS: dict[str, tuple[bool, dict[str, bool], bool]] = {
    "held for a storage that is known": (True, {"held": True}, False),
    "held for one that is gone": (False, {"held": True}, True),
    "held, and somebody deletes it": (True, {"held": True, "deleting": True}, True),
    "not held": (False, {}, False),
}


@pytest.mark.parametrize("when", ["seen before all storages are known", "seen later"])
@pytest.mark.parametrize("case", list(HOLDS))
def test_a_secret_that_an_operator_before_held_is_let_go(queue: Recorded, case: str, when: str) -> None:
    known, facts, expected = HOLDS[case]
    looked = Looked()
    triggers = Triggers(cast("Queue[Key]", queue), references_of(queue), looked)
    if known:
        triggers.storage("ADDED", storage())
    if when == "seen later":
        triggers.complete()
    triggers.input(PG, seen(5, **facts))
    triggers.complete()
    assert bool(looked) is expected


@pytest.mark.parametrize("change", ["another Secret", "deleted"])
@pytest.mark.parametrize("first", ["the run", "the watch"])
def test_an_input_that_a_storage_has_left_is_looked_at_where_it_was_held(
    queue: Recorded, first: str, change: str
) -> None:
    left, inputs = Looked(), references_of(queue)
    triggers = Triggers(cast("Queue[Key]", queue), inputs, left)
    triggers.storage("ADDED", storage())
    triggers.input(PG, seen(5, held=True))
    other = {"connection": {"secretRef": {"name": "other"}}}
    if first == "the run":
        inputs.set_references(KEY, references(KEY, other) if change == "another Secret" else ())
    if change == "another Secret":
        triggers.storage("MODIFIED", storage(other, generation=2))
    else:
        triggers.storage("DELETED", storage())
    assert left == [PG]


CHAT: Ref = ("CipherStorage", "ns", "chat")


def test_a_storage_that_the_reflector_says_is_gone_is_let_go(triggers: Triggers, queue: Recorded) -> None:
    triggers.storage(None, storage())
    triggers.exists(CHAT, Seen("1", "5"))
    triggers.exists(CHAT, None)
    assert not triggers.knows(KEY)
    assert queue.started == [KEY, KEY], "the run finds nothing, and forgets it"


@pytest.mark.parametrize("reflector_knew", [True, False], ids=["the one before", "nothing"])
def test_the_end_of_one_object_does_not_end_another_of_that_name(triggers: Triggers, reflector_knew: bool) -> None:
    triggers.storage(None, storage())
    if reflector_knew:
        triggers.exists(CHAT, Seen("1", "5"))
    triggers.storage("DELETED", storage())
    triggers.storage("ADDED", storage(uid="2"))
    triggers.exists(CHAT, None)
    assert triggers.knows(KEY)


def test_what_the_reflector_knows_starts_nothing(triggers: Triggers, queue: Recorded) -> None:
    triggers.exists(CHAT, Seen("1", "5"))
    triggers.exists(CHAT, Seen("1", "6"))
    triggers.exists(("CipherStorage", "ns", "unheard"), None)
    assert queue.started == []


@pytest.mark.parametrize("left", [["other"], []], ids=["one of two", "the last one"])
async def test_a_watch_that_loses_its_place_tells_what_vanished(
    triggers: Triggers, monkeypatch: pytest.MonkeyPatch, left: list[str]
) -> None:
    monkeypatch.setattr(reflector, "AWAY", (0.002, 0.02))
    api = MemoryApi()
    for name in ("chat", *left):
        # kopf lists them, and hears of no deletion in the gap.
        triggers.storage(None, api.storage(name))
    watching = Reflector(api, STORAGES, triggers.exists)
    watching.start()
    await asyncio.wait_for(watching.synced.wait(), 2)
    away = api.fault(network=True)
    api.end_watches()
    api.delete("cipherstorages", "chat")
    api.store.forget_history()
    api.mend(away)
    async with asyncio.timeout(3):
        while triggers.knows(KEY):
            await asyncio.sleep(0.005)
    assert [triggers.knows(("ns", name)) for name in left] == [True] * len(left)
    await watching.stop()


STATUS = {"resourceVersion": "2"}


def test_a_status_is_taken_in_once_the_storage_is_known(triggers: Triggers, queue: Recorded) -> None:
    assert triggers.status("ADDED", storage(resourceVersion="1")) is False
    assert triggers.status("MODIFIED", storage(**STATUS)) is False, "kopf has not brought the first event yet"
    triggers.storage("ADDED", storage(resourceVersion="1"))
    assert triggers.status("MODIFIED", storage(resourceVersion="3")) is False, "nor the second"
    triggers.storage("MODIFIED", storage(**STATUS))
    triggers.storage("MODIFIED", storage(resourceVersion="3"))
    assert triggers.status("MODIFIED", storage(resourceVersion="4")) is True
    assert queue.started == [KEY]


@pytest.mark.parametrize(
    ("type_", "change"),
    [
        pytest.param("MODIFIED", {"generation": 2}, id="the spec"),
        pytest.param("MODIFIED", {"deletionTimestamp": "2026-01-01T00:00:00Z"}, id="the deletion"),
        pytest.param("MODIFIED", {"uid": "2"}, id="another object of that name"),
        pytest.param("MODIFIED", {"finalizers": ["storage.cipher.dev/finalizer"]}, id="our finalizer"),
        pytest.param("MODIFIED", {"annotations": {"storage.cipher.dev/force-delete": "true"}}, id="a request"),
        pytest.param("DELETED", {}, id="its end"),
        pytest.param("ADDED", {}, id="seen again"),
    ],
)
def test_all_else_is_kopfs(triggers: Triggers, type_: str, change: Mapping[str, Any]) -> None:
    triggers.storage(None, storage(resourceVersion="1"))
    assert triggers.status(type_, storage(**{**STATUS, **change})) is False


def test_a_request_that_is_taken_back_comes_in_its_order(triggers: Triggers, queue: Recorded) -> None:
    """What kopf has in hand is older than what would be taken in past it."""
    asks = {"annotations": {"storage.cipher.dev/reconcile-requested-at": "1"}}
    triggers.storage(None, storage(resourceVersion="1"))
    assert triggers.status("MODIFIED", storage(resourceVersion="2", **asks)) is False
    assert triggers.status("MODIFIED", storage(resourceVersion="3")) is False


def test_a_follower_knows_a_status_that_was_taken_in(queue: Recorded) -> None:
    standby = Standby(300, lambda: 0.0, jitter=lambda low, high: high)
    triggers = Triggers(cast("Queue[Key]", queue), references_of(queue), standby=standby)
    triggers.storage(None, storage(resourceVersion="1"))
    assert [look.urgent for look in standby.looks(warm=True)] == [True]
    ready = {"type": "Ready", "status": "True", "observedGeneration": 1}
    body = storage(**STATUS) | {"status": {"observedGeneration": 1, "conditions": [ready]}}
    assert triggers.status("MODIFIED", body) is True
    assert [look.urgent for look in standby.looks(warm=True)] == [False]
