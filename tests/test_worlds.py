"""A test on one major instead of on all: every test is still run, each of its majors by some seed, and never none."""

from pathlib import Path

import pytest

from support.worlds import one_of_each

ROWS = {
    "no world": (["a::t", "a::t[x]", "a::t[x-y]"], 3),
    "majors of one test": (["a::t[pg13]", "a::t[pg15]", "a::t[pg18]"], 1),
    "majors of each row": (["a::t[pg13-x]", "a::t[pg13-y]", "a::t[pg18-x]", "a::t[pg18-y]"], 2),
    "a row that one major alone has": (["a::t[pg13-x]", "a::t[pg18-x]", "a::t[pg18-new]"], 2),
    "a major that stands last": (["a::t[x-pg13]", "a::t[x-pg18]"], 1),
    "rounds": (["a::t[round0]", "a::t[round1]"], 1),
    "majors of Helm": (["a::t[helm3-x]", "a::t[helm4-x]"], 1),
    "from one major to another": (["a::t[pg13-to-16]", "a::t[pg13-to-18]", "a::t[pg15-to-18-x]"], 2),
    "a word that begins like one": (["a::t[pg13x]", "a::t[pgbouncer]", "a::t[pg]"], 3),
    "two tests": (["a::t[pg13]", "a::t[pg18]", "a::u[pg13]", "a::u[pg18]"], 2),
    "two files": (["a::t[pg13]", "a::t[pg18]", "b::t[pg13]", "b::t[pg18]"], 2),
}


@pytest.mark.parametrize(("nodeids", "kept"), ROWS.values(), ids=ROWS)
def test_one_is_kept_of_what_differs_in_its_world_alone(nodeids: list[str], kept: int) -> None:
    chosen = one_of_each(nodeids)
    assert chosen <= set(nodeids)
    assert len(chosen) == kept


def test_each_world_is_some_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    majors = [f"a::t[pg{major}-row]" for major in (13, 15, 16, 18)]
    chosen = set()
    for number in range(50):
        monkeypatch.setenv("SEED", str(number))
        assert one_of_each(majors) == one_of_each(reversed(majors)), "whatever the order"
        chosen |= one_of_each(majors)
    assert chosen == set(majors)


WORLDS = """
    import pytest
    @pytest.mark.parametrize("major", ["pg13", "pg16"])
    @pytest.mark.parametrize("row", ["x", "y"])
    def test_rows(major, row): pass
    def test_none(): pass
    """


@pytest.mark.parametrize(("flags", "passed"), [((), 5), (("--one-world",), 3)], ids=["all", "one of each"])
def test_a_run(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    passed: int,
) -> None:
    """With two workers, which must have chosen alike."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    pytester.makeconftest("pytest_plugins = ['support.randomness', 'support.worlds']")
    pytester.makepyfile(WORLDS)
    pytester.runpytest_subprocess(*flags, "-n", "2", "-p", "no:cacheprovider").assert_outcomes(passed=passed)
