"""What the tests of a file share is started once: they stay together, on whichever worker."""

from pathlib import Path

import pytest

from support.run_order import LENGTHY, QUICK, group

TOGETHER = {
    "a file": ("tests/e2e/test_admission.py::test_a", "tests/e2e/test_admission.py::test_b[x-y]"),
    "one major": ("tests/postgres/test_matrix.py::test_a[pg16-x]", "tests/postgres/test_matrix.py::test_b[pg16]"),
}
APART = {
    "two files": ("tests/e2e/test_admission.py::test_a", "tests/e2e/test_deadline.py::test_a"),
    "two majors": ("tests/postgres/test_matrix.py::test_a[pg16]", "tests/postgres/test_matrix.py::test_a[pg18]"),
    "tests without a server": ("tests/core/test_tenancy.py::test_a", "tests/core/test_tenancy.py::test_b"),
}


@pytest.mark.parametrize("pair", TOGETHER.values(), ids=TOGETHER)
def test_together(pair: tuple[str, str]) -> None:
    assert group(pair[0]) == group(pair[1])


@pytest.mark.parametrize("pair", APART.values(), ids=APART)
def test_apart(pair: tuple[str, str]) -> None:
    assert group(pair[0]) != group(pair[1])


NAMES_ITSELF = """
    import os, pathlib
    def test_it():
        with open(os.environ["SEEN"], "a") as file:
            file.write(f"{pathlib.Path(__file__).stem}\\n")
    """


def seen_in_a_run(pytester: pytest.Pytester, files: dict[str, str], *flags: str, passed: int) -> list[str]:
    """Return the lines that the tests of these files, by their names, write into the file SEEN, in a run of their own
    with xdist."""
    pytester.makeconftest("pytest_plugins = ['support.run_order']")
    pytester.makepyfile(**{f"tests/{name}": body for name, body in files.items()})
    seen = pytester.path / "seen"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SEEN", str(seen))
        environment.setenv("PYTHONPATH", str(Path(__file__).parent))
        result = pytester.runpytest_subprocess("--dist", "loadgroup", "-p", "no:cacheprovider", *flags)
    result.assert_outcomes(passed=passed)
    return seen.read_text().splitlines()


def test_the_workers_are_given_groups(pytester: pytest.Pytester) -> None:
    """What xdist does with them: a file's tests have one worker."""
    body = """
        import os, pathlib, pytest, time
        @pytest.mark.parametrize("n", range(6))
        def test_it(n):
            time.sleep(0.05)
            with open(os.environ["SEEN"], "a") as file:
                file.write(f"{pathlib.Path(__file__).stem} {os.environ['PYTEST_XDIST_WORKER']}\\n")
        """
    lines = seen_in_a_run(pytester, {f"test_{name}": body for name in "abcd"}, "-n", "2", passed=24)
    assert len({tuple(line.split()) for line in lines}) == 4


def test_what_waits_and_what_computes_are_dealt_out_side_by_side(pytester: pytest.Pytester) -> None:
    """A worker that is left with a file of minutes leaves the others idle, and so does a time in which all wait."""
    waiting = ("runtime/test_outages", "e2e/test_killed", "e2e/test_any", "runtime/test_other")
    computing = ("delivery/test_chart", "postgres/test_provision", "test_last")
    files = (*waiting, *computing, "api/test_pure")
    lines = seen_in_a_run(
        pytester, dict.fromkeys(sorted(files), NAMES_ITSELF), "-n", "1", "--no-loadscope-reorder", passed=len(files)
    )
    assert lines == [
        "test_outages",
        "test_chart",
        "test_killed",
        "test_provision",
        "test_any",
        "test_last",
        "test_other",
        "test_pure",
    ]


def test_what_needs_a_control_plane_has_workers_of_its_own_while_there_is_anything_else(
    pytester: pytest.Pytester,
) -> None:
    body = """
        import os, pathlib, time
        def test_it():
            time.sleep(0.05)
            with open(os.environ["SEEN"], "a") as file:
                file.write(f"{pathlib.Path(__file__).parent.name} {os.environ['PYTEST_XDIST_WORKER']}\\n")
        """
    files = [f"{folder}/test_{folder}_{number}" for folder in ("e2e", "postgres") for number in range(8)]
    flags = ("-n", "3", "--no-loadscope-reorder")
    lines = seen_in_a_run(pytester, dict.fromkeys(files, body), *flags, passed=len(files))
    done = {worker: [line.split()[0] for line in lines if line.endswith(worker)] for worker in ("gw0", "gw1", "gw2")}
    assert sorted(folders[0] for folders in done.values()) == ["e2e", "e2e", "postgres"]
    for folders in done.values():
        assert folders == sorted(folders, reverse=folders[0] == "postgres"), "what is of another kind comes last"


def test_the_check_does_not_grow_by_a_new_file_about_runs(pytester: pytest.Pytester) -> None:
    """Which start servers: what is not named is left to `make test`."""
    files = ("reconcile/test_new", "reconcile/test_stories", "queue/test_new_too", "test_cli")
    lines = seen_in_a_run(pytester, dict.fromkeys(files, NAMES_ITSELF), "-n", "1", "-m", "not lengthy", passed=2)
    assert sorted(lines) == ["test_new_too", "test_stories"]


def test_what_the_check_names_is_there() -> None:
    folder = Path(__file__).parent
    assert [name for name in (*QUICK, *LENGTHY) if not (folder / name).exists()] == []
