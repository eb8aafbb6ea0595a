"""manifests/argocd: Argo CD's health check says of every status that the operator writes what kstatus says of it."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from lupa import lua51

from cipher_operator.api.reasons import Reason
from manifests.argocd_files import CUSTOMIZATION, HEALTH, check_recorded
from support.argo_agreement import AGREED
from support.argo_fixtures import NEW, READY, UNFINISHED, Fixture, fixtures, status_of, stored
from support.argo_lua import health, run, scripted_health
from support.kstatus import kstatus

FIXTURES = fixtures()
each_fixture = pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.name)


def test_every_reason_has_a_fixture() -> None:
    assert sorted(fixture.reason for fixture in FIXTURES if fixture.reason) == sorted(Reason)
    assert len({fixture.path for fixture in FIXTURES}) == len(FIXTURES)


@each_fixture
def test_argo_says_what_is_recorded(fixture: Fixture) -> None:
    check_recorded(CUSTOMIZATION / fixture.path, fixture.storage)
    assert health(HEALTH, fixture.storage) == (fixture.health, fixture.message)
    # Argo CD's own tests run the script alone.
    assert scripted_health(HEALTH, fixture.storage) == (fixture.health, fixture.message)


@each_fixture
def test_argo_and_kstatus_agree(fixture: Fixture) -> None:
    theirs = kstatus(fixture.storage)
    if fixture.health == "Suspended":
        # Both hold what comes after it, and neither fails.
        assert theirs == "InProgress"
    else:
        assert AGREED[theirs] == fixture.health


def test_argos_own_test_file_names_every_fixture() -> None:
    expected = [
        {"healthStatus": {"status": fixture.health, "message": fixture.message}, "inputPath": fixture.path}
        for fixture in sorted(FIXTURES, key=lambda fixture: fixture.path)
    ]
    check_recorded(CUSTOMIZATION / "health_test.yaml", {"tests": expected})
    there = {f"testdata/{path.name}" for path in (CUSTOMIZATION / "testdata").iterdir()}
    assert there == {fixture.path for fixture in FIXTURES}


_conditions = st.lists(
    st.tuples(
        st.sampled_from(["Ready", "Reconciling", "Stalled", "Connected"]),
        st.sampled_from(["True", "False", "Unknown"]),
        st.integers(1, 3),
    ),
    unique_by=lambda condition: condition[0],
)


@settings(deadline=None)
@given(_conditions, st.integers(-1, 3), st.integers(1, 3))
def test_it_is_never_surer_than_kstatus(conditions: list[tuple[str, str, int]], observed: int, generation: int) -> None:
    listed = [
        {"type": type_, "status": status, "reason": "X", "message": "why", "observedGeneration": of}
        for type_, status, of in conditions
    ]
    if {"Reconciling", "Stalled"} <= {type_ for type_, status, _ in conditions if status == "True"}:
        return  # Never published: kstatus would take whichever comes first.
    storage = stored({"observedGeneration": observed, "conditions": listed}, generation=generation)
    said, wanted = health(HEALTH, storage)[0], AGREED[kstatus(storage)]
    ready = next((of for type_, status, of in conditions if (type_, status) == ("Ready", "True")), None)
    if wanted == "Healthy" and ready != generation:
        # kstatus does not look at the condition's own generation, and takes one without Ready for finished.
        wanted = "Progressing"
    assert said == wanted


@pytest.mark.parametrize(
    "status", [None, {}, {"conditions": []}], ids=["no status", "an empty one", "one without conditions"]
)
def test_without_a_status_it_is_progressing(status: dict[str, Any] | None) -> None:
    storage = stored(NEW) | {"status": status}
    assert health(HEALTH, storage) == ("Progressing", UNFINISHED)
    # kstatus would say Current, which is why the CRD gives every new object an observedGeneration of -1.
    assert kstatus(storage) == "Current"
    assert kstatus(stored(NEW)) == "InProgress"


def test_ready_is_not_ready_without_its_own_generation() -> None:
    status = status_of(READY)
    ready = next(each for each in status["conditions"] if each["type"] == "Ready")
    del ready["observedGeneration"]
    assert health(HEALTH, stored(status))[0] == "Progressing"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("return string.len('a')", id="no library string"),
        pytest.param("return ('a'):len()", id="no methods of strings"),
        pytest.param("return math.floor(1.5)", id="no library math"),
        pytest.param("return io.open('/etc/hostname')", id="no library io"),
        pytest.param("return os.time()", id="no global os"),
        pytest.param("return require('os').execute('true')", id="of os only time and date"),
        pytest.param("return require('string').len('a')", id="no way round by require"),
        pytest.param("while true do end", id="no endless script"),
    ],
)
def test_scripts_have_no_more_than_argo_gives_them(script: str) -> None:
    with pytest.raises(lua51.LuaError):
        run(script, stored(NEW))


def test_what_argo_gives_is_there() -> None:
    assert run("return {require('os').time() > 0, #require('os').date('!%Y-%m-%dT%XZ')}", stored(NEW)) == [True, 20]


def test_the_scripts_files_are_ascii_and_yaml() -> None:
    for path in CUSTOMIZATION.rglob("*.*"):
        assert path.read_bytes().isascii(), path
        if path.suffix == ".yaml":
            assert yaml.safe_load(path.read_text())
