"""Who is run when an input changes: every order in which reading, watching and writing can come."""

import pytest

from cipher_operator.queue.references import ABSENT, References, Version

CHAT, SHOP = ("team", "chat"), ("team", "shop")
SECRET = ("Secret", "team", "pg-admin")


class Table:
    """References, with who was started; `look` is what whoever owns the watch does with what it tells."""

    def __init__(self, *keys: tuple[str, str]) -> None:
        self.started: list[tuple[str, str]] = []
        self.references: References[tuple[str, str], tuple[str, str, str]] = References(self.started.append)
        for key in keys or (CHAT,):
            self.references.set_references(key, {SECRET})

    def watch(self, revision: int, digest: str) -> bool:
        """Tell of a revision; return whether the content was looked at."""
        looked = self.references.seen(SECRET, revision)
        if looked:
            self.references.changed(SECRET, Version(revision, digest))
        return looked


def test_what_was_read_starts_nobody() -> None:
    table = Table()
    table.references.read(CHAT, SECRET, Version(5, "a"))
    assert not table.watch(5, "a")
    assert table.started == []


def test_new_content_starts_who_has_read_the_old() -> None:
    table = Table(CHAT, SHOP)
    table.references.read(CHAT, SECRET, Version(5, "a"))
    table.references.read(SHOP, SECRET, Version(6, "b"))
    assert table.watch(6, "b")
    assert table.started == [CHAT]


def test_a_label_or_a_finalizer_is_no_new_content() -> None:
    table = Table(CHAT, SHOP)
    for key in (CHAT, SHOP):
        table.references.read(key, SECRET, Version(5, "a"))
    assert table.watch(6, "a")
    assert table.started == []
    assert not table.watch(6, "a"), "looked at once"


def test_the_watch_was_faster_than_the_answer_to_the_first_read() -> None:
    table = Table()
    assert not table.watch(6, "b"), "a run that reads it is still to come"
    table.references.read(CHAT, SECRET, Version(5, "a"))
    assert table.started == [CHAT]


def test_a_watch_that_lags_behind_starts_nobody() -> None:
    table = Table()
    table.references.read(CHAT, SECRET, Version(9, "z"))
    for revision, digest in ((5, "a"), (7, "b"), (9, "z")):
        table.watch(revision, digest)
    assert table.started == []


def test_a_missing_input_that_comes() -> None:
    table = Table()
    table.references.read(CHAT, SECRET, ABSENT)
    assert table.watch(5, "a")
    assert table.started == [CHAT]


def test_a_missing_input_that_comes_before_the_first_answer_is_taken_in() -> None:
    table = Table()
    table.watch(5, "a")
    for _ in range(3):
        table.references.read(CHAT, SECRET, ABSENT)
    assert table.started == [CHAT], "once: an answer that is older than the watch starts nobody again and again"


def test_an_input_that_went_is_missing_for_whoever_comes_later() -> None:
    table = Table(CHAT, SHOP)
    table.watch(5, "a")
    table.references.read(CHAT, SECRET, Version(5, "a"))
    table.references.gone(SECRET)
    table.started.clear()
    for key in (CHAT, SHOP):
        table.references.read(key, SECRET, ABSENT)
    assert table.started == []


def test_an_input_that_goes() -> None:
    table = Table(CHAT, SHOP)
    table.references.read(CHAT, SECRET, Version(5, "a"))
    table.references.read(SHOP, SECRET, ABSENT)
    table.references.gone(SECRET)
    assert table.started == [CHAT]


def test_an_input_that_goes_while_it_is_being_read() -> None:
    table = Table()
    table.references.gone(SECRET)
    table.references.read(CHAT, SECRET, Version(5, "a"))
    assert table.started == [CHAT]


def test_an_input_that_goes_while_several_read_it() -> None:
    table = Table(CHAT, SHOP)
    table.references.gone(SECRET)
    for key in (CHAT, SHOP):
        table.references.read(key, SECRET, Version(5, "a"))
    assert table.started == [CHAT, SHOP]


def test_an_input_that_comes_again_with_the_same_content_after_it_was_missed() -> None:
    table = Table()
    table.references.read(CHAT, SECRET, Version(5, "a"))
    table.references.gone(SECRET)
    assert table.started == [CHAT]
    table.watch(7, "a")
    table.references.read(CHAT, SECRET, ABSENT)  # of a run that has read it between the two
    assert table.started == [CHAT, CHAT]


def test_a_look_that_found_nothing_knows_nothing_of_what_came_since() -> None:
    table = Table()
    table.references.read(CHAT, SECRET, Version(5, "a"))
    table.references.gone(SECRET)
    newest = table.references.newest(SECRET)
    table.watch(7, "a")
    table.references.gone(SECRET, newest=newest)
    table.started.clear()
    table.references.read(CHAT, SECRET, ABSENT)
    assert table.started == [CHAT]


def test_our_own_write_starts_only_others() -> None:
    table = Table(CHAT, SHOP)
    for key in (CHAT, SHOP):
        table.references.read(key, SECRET, Version(5, "a"))
    table.references.read(CHAT, SECRET, Version(5, "b"))  # noted before it is written
    assert table.watch(6, "b"), "the watch was faster than the answer"
    table.references.read(CHAT, SECRET, Version(6, "b"))
    assert table.started == [SHOP]


@pytest.mark.parametrize("how", ["the storage goes", "it names another input"])
def test_what_nobody_reads_is_not_watched(how: str) -> None:
    table = Table()
    if how == "the storage goes":
        table.references.forget(CHAT)
    else:
        assert table.references.set_references(CHAT, {("Secret", "team", "other")}) == {SECRET}
    assert not table.references.watched(SECRET)
    assert not table.watch(6, "b")
    assert table.references._newest == {}


def test_an_input_that_goes_and_comes_while_it_is_being_read_is_read_once_more_and_no_more() -> None:
    table = Table()
    table.references.gone(SECRET)
    for _ in range(3):
        table.references.read(CHAT, SECRET, Version(9, "z"))
    assert table.started == [CHAT], "a watch that lags behind starts nobody again and again"
