"""Which storages a changed Secret or ConfigMap starts, and which changes start none."""

import pytest

from cipher_operator.queue.inputs import Inputs, Ref
from cipher_operator.reconcile.inventory import Key

A: Key = ("ns", "a")
B: Key = ("ns", "b")
ADMIN: Ref = ("Secret", "ns", "admin")
CA: Ref = ("ConfigMap", "ns", "ca")


def test_a_change_starts_every_storage_that_reads_it() -> None:
    inputs = Inputs()
    inputs.set_references(A, [ADMIN])
    inputs.set_references(B, [ADMIN, CA])
    inputs.seen(ADMIN, "1", A)
    inputs.seen(CA, "1", A)
    assert inputs.changed(ADMIN, "2") == {A, B}
    assert inputs.changed(CA, "2") == {B}


@pytest.mark.parametrize(
    ("seen", "reported", "starts"),
    [
        pytest.param("1", "1", False, id="the start-up list reports what a run has just read"),
        pytest.param("1", "2", True, id="changed"),
        pytest.param("1", None, True, id="deleted"),
        pytest.param(None, "1", True, id="created after a run missed it"),
        pytest.param(None, None, False, id="deleted, and known to be missing"),
    ],
)
def test_what_counts_as_a_change(seen: str | None, reported: str | None, starts: bool) -> None:
    inputs = Inputs()
    inputs.set_references(A, [ADMIN])
    inputs.seen(ADMIN, seen, A)
    assert inputs.changed(ADMIN, reported) == ({A} if starts else set())


def test_a_change_starts_a_storage_once() -> None:
    inputs = Inputs()
    inputs.set_references(A, [ADMIN])
    inputs.seen(ADMIN, "1", A)
    assert inputs.changed(ADMIN, "2") == {A}
    assert inputs.changed(ADMIN, "2") == set()


def test_what_was_never_read_starts_nothing_because_a_run_is_to_come() -> None:
    inputs = Inputs()
    inputs.set_references(A, [ADMIN])
    assert inputs.changed(ADMIN, "1") == set()


def test_a_watch_that_is_faster_than_the_first_read_starts_a_run() -> None:
    started: list[Key] = []
    inputs = Inputs(started.append)
    inputs.set_references(A, [ADMIN])
    inputs.changed(ADMIN, "new")
    inputs.seen(ADMIN, "old", A)
    assert started == [A]


def test_the_start_up_list_before_the_first_read_starts_nothing() -> None:
    started: list[Key] = []
    inputs = Inputs(started.append)
    inputs.set_references(A, [ADMIN])
    inputs.changed(ADMIN, "1")
    inputs.seen(ADMIN, "1", A)
    assert (started, inputs.changed(ADMIN, "1")) == ([], set())


def test_a_secret_of_nobody_is_not_remembered() -> None:
    inputs = Inputs()
    assert inputs.changed(ADMIN, "1") == set()
    inputs.set_references(A, [ADMIN])
    inputs.set_references(A, [CA])
    assert (inputs.watched(ADMIN), inputs.watched(CA)) == (False, True)
    inputs.forget(A)
    assert not inputs.watched(CA)


def test_a_forgotten_storage_is_not_started() -> None:
    inputs = Inputs()
    inputs.set_references(A, [ADMIN])
    inputs.set_references(B, [ADMIN])
    inputs.seen(ADMIN, "1", A)
    inputs.forget(A)
    assert inputs.changed(ADMIN, "2") == {B}


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        pytest.param({"a": b"1", "b": b"2"}, {"b": b"2", "a": b"1"}, True, id="order does not count"),
        pytest.param({"a": b"1"}, {"a": b"2"}, False, id="value"),
        pytest.param({"a": b"1"}, {"b": b"1"}, False, id="key"),
        pytest.param({"ab": b"c"}, {"a": b"bc"}, False, id="the border between key and value counts"),
        pytest.param({"a": b"", "b": b""}, {"a": b""}, False, id="an empty key counts"),
    ],
)
def test_digest(one: dict[str, bytes], other: dict[str, bytes], equal: bool) -> None:
    inputs = Inputs()
    assert (inputs.digest(one) == inputs.digest(other)) is equal


def test_digests_of_two_processes_differ_so_that_they_tell_nothing_about_the_content() -> None:
    assert Inputs().digest({"a": b"1"}) != Inputs().digest({"a": b"1"})


@pytest.mark.parametrize("reported", ["new", None], ids=["a change", "a deletion"])
def test_a_run_that_is_faster_than_the_watch_starts_the_others(reported: str | None) -> None:
    started: list[Key] = []
    inputs = Inputs(started.append)
    inputs.set_references(A, [ADMIN])
    inputs.set_references(B, [ADMIN])
    for key in (A, B):
        inputs.seen(ADMIN, "old", key)
    inputs.seen(ADMIN, reported, A)
    assert started == [B]
    inputs.seen(ADMIN, reported, B)
    assert inputs.changed(ADMIN, reported) == set()
    assert started == [B], "each once"
