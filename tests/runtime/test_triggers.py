"""Which watch events start a run."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from cipher_operator.queue.inputs import Inputs, Ref
from cipher_operator.queue.scheduler import Scheduler
from cipher_operator.reconcile.inventory import Key
from cipher_operator.reconcile.references import references
from cipher_operator.runtime.triggers import Triggers

KEY: Key = ("ns", "chat")
SPEC = {"connection": {"secretRef": {"name": "pg"}}}


class Recorded:
    """Stands for the scheduler."""

    def __init__(self) -> None:
        self.triggered: list[Key] = []

    def trigger(self, key: Key, delay: float = 0.0) -> None:
        self.triggered.append(key)


@pytest.fixture
def scheduler() -> Recorded:
    return Recorded()


@pytest.fixture
def triggers(scheduler: Recorded) -> Triggers:
    return Triggers(cast("Scheduler[Key]", scheduler), Inputs())


def storage(spec: Any = SPEC, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "ns", "name": "chat", "uid": "1", "generation": 1, **metadata}, "spec": spec}


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
    ],
)
@pytest.mark.parametrize("type_", ["MODIFIED", None])
def test_what_starts_a_run(
    triggers: Triggers, scheduler: Recorded, type_: str | None, change: Mapping[str, Any], starts: bool
) -> None:
    triggers.storage("ADDED", storage())
    assert scheduler.triggered == [KEY]
    triggers.storage(type_, storage(**change))
    assert scheduler.triggered == [KEY] * (2 if starts else 1)


def test_a_relist_starts_nothing_that_did_not_change(triggers: Triggers, scheduler: Recorded) -> None:
    for _ in range(3):
        triggers.storage(None, storage())
    assert scheduler.triggered == [KEY]


def test_a_storage_that_is_gone_is_run_once_more_to_be_forgotten(triggers: Triggers, scheduler: Recorded) -> None:
    triggers.storage("ADDED", storage())
    triggers.storage("DELETED", storage())
    assert (scheduler.triggered, triggers.knows(KEY)) == ([KEY, KEY], False)


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


def test_a_secret_starts_those_that_read_it_when_its_content_is_new(scheduler: Recorded) -> None:
    inputs = Inputs()
    triggers = Triggers(cast("Scheduler[Key]", scheduler), inputs)
    triggers.storage("ADDED", storage())
    scheduler.triggered.clear()
    inputs.seen(("Secret", "ns", "pg"), inputs.digest({"a": b"1"}), KEY)

    def secret(type_: str | None, value: str) -> list[Key]:
        scheduler.triggered.clear()
        triggers.secret(type_, {"metadata": {"namespace": "ns", "name": "pg"}, "data": {"a": value}})
        return scheduler.triggered

    assert secret(None, "MQ==") == []
    assert secret("MODIFIED", "Mg==") == [KEY]
    assert secret("MODIFIED", "Mg==") == []
    assert secret("DELETED", "Mg==") == [KEY]
    assert secret("ADDED", "Mg==") == [KEY]


def test_a_change_of_the_spec_changes_what_is_watched(scheduler: Recorded) -> None:
    inputs = Inputs()
    triggers = Triggers(cast("Scheduler[Key]", scheduler), inputs)
    triggers.storage("ADDED", storage())
    triggers.storage("MODIFIED", storage({"connection": {"secretRef": {"name": "other"}}}, generation=2))
    assert (inputs.watched(("Secret", "ns", "pg")), inputs.watched(("Secret", "ns", "other"))) == (False, True)


def test_an_input_that_a_storage_has_left_is_looked_at_again(scheduler: Recorded) -> None:
    left: list[Ref] = []
    triggers = Triggers(cast("Scheduler[Key]", scheduler), Inputs(), left.append)
    triggers.storage("ADDED", storage())
    triggers.storage("MODIFIED", storage({"connection": {"secretRef": {"name": "other"}}}, generation=2))
    assert left == [("Secret", "ns", "pg")]
