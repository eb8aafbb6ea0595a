"""manifests/argocd: what Argo CD says of a CipherServer is what kstatus says of it."""

from typing import Any

import pytest
import yaml

from manifests.argocd_files import SERVER_CUSTOMIZATION, SERVER_HEALTH, check_recorded
from support import crd
from support.argo_agreement import AGREED
from support.argo_fixtures import NEW, UNFINISHED, Fixture
from support.argo_lua import health, scripted_health
from support.argo_servers import READY, server, server_fixtures, status_of
from support.kstatus import kstatus

FIXTURES = server_fixtures()
each_fixture = pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.name)


@each_fixture
def test_argo_says_what_is_recorded(fixture: Fixture) -> None:
    check_recorded(SERVER_CUSTOMIZATION / fixture.path, fixture.storage)
    assert health(SERVER_HEALTH, fixture.storage) == (fixture.health, fixture.message)
    # Argo CD's own tests run the script alone.
    assert scripted_health(SERVER_HEALTH, fixture.storage) == (fixture.health, fixture.message)


@each_fixture
def test_argo_and_kstatus_agree(fixture: Fixture) -> None:
    assert AGREED[kstatus(fixture.storage)] == fixture.health


@each_fixture
def test_the_schema_knows_all_of_it(fixture: Fixture) -> None:
    known = set(crd.schema("status", crd.SERVERS)["properties"])
    assert set(fixture.storage["status"]) <= known


def test_argos_own_test_file_names_every_fixture() -> None:
    expected = [
        {"healthStatus": {"status": fixture.health, "message": fixture.message}, "inputPath": fixture.path}
        for fixture in sorted(FIXTURES, key=lambda fixture: fixture.path)
    ]
    check_recorded(SERVER_CUSTOMIZATION / "health_test.yaml", {"tests": expected})
    there = {f"testdata/{path.name}" for path in (SERVER_CUSTOMIZATION / "testdata").iterdir()}
    assert there == {fixture.path for fixture in FIXTURES}


@pytest.mark.parametrize(
    "status", [None, {}, {"conditions": []}], ids=["no status", "an empty one", "one without conditions"]
)
def test_without_a_status_it_is_progressing(status: dict[str, Any] | None) -> None:
    assert health(SERVER_HEALTH, server(NEW) | {"status": status}) == ("Progressing", UNFINISHED)


def test_ready_is_not_ready_without_its_own_generation() -> None:
    status = status_of(READY)
    del status["conditions"][0]["observedGeneration"]
    assert health(SERVER_HEALTH, server(status))[0] == "Progressing"


def test_the_scripts_files_are_ascii_and_yaml() -> None:
    for path in SERVER_CUSTOMIZATION.rglob("*.*"):
        assert path.read_bytes().isascii(), path
        if path.suffix == ".yaml":
            assert yaml.safe_load(path.read_text())
