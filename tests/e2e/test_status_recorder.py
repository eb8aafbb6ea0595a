"""The recorder of statuses misses no version that a cluster stores, and lets no violation pass."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cipher_operator.kube.port import JSON_PATCH
from devcluster import ControlPlane
from devcluster.stored import Follower, Stored
from support import argo_agreement
from support.cluster import Namespace
from support.memory_api import MemoryApi
from support.nesting import create_nested
from support.servers import LEAST
from support.status_records import no_violations
from support.status_versions import FOLDER, Records, record, recorded

VERSIONS = 120
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"
STAGES = ("Connected", "DatabaseReady", "AccessGranted", "SchemaApplied", "SecretPublished")
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def plane(own_plane: ControlPlane) -> ControlPlane:
    return own_plane


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def followers(plane: ControlPlane, records: Records) -> Iterator[tuple[Follower, ...]]:
    with recorded(plane, records) as following:
        yield following


@pytest.fixture
def team(plane: ControlPlane, followers: tuple[Follower, ...]) -> Iterator[Namespace]:
    made = Namespace(plane, f"recorded-{next(_numbers)}")
    made.secret("pg-admin", {"CIPHER_PG_URL": "postgres://admin:pass-word@db.example:6543/x"})
    made.storage("chat")
    yield made
    made.let_go()


def status(message: str = "m", time: str = NOW, *, reason: str = "Observed", **changes: Any) -> dict[str, Any]:
    ready = {"type": "Ready", "status": "True", "reason": reason, "message": message}
    rest = {"observedGeneration": 1, "lastTransitionTime": time}
    unlooked = [
        {"type": each, "status": "Unknown", "reason": "Observed", "message": "not looked at"} for each in STAGES
    ]
    return {"observedGeneration": 1, "conditions": [each | rest for each in (ready, *unlooked)], **changes}


def write(team: Namespace, written: dict[str, Any]) -> None:
    team.request("PATCH", team.path("cipherstorages", "chat") + "/status", {"status": {"database": None, **written}})


def caught_up(followers: tuple[Follower, ...]) -> None:
    for each in followers:
        each.catch_up()


def test_every_version_is_seen_though_the_api_server_goes_away(
    plane: ControlPlane, team: Namespace, records: Records, followers: tuple[Follower, ...]
) -> None:
    for number in range(VERSIONS):
        if number == VERSIONS // 2:
            plane.stop_apiserver()
            plane.start_apiserver()
        write(team, status(f"number {number}"))
    team.delete("cipherstorages", "chat")
    caught_up(followers)
    no_violations(records)
    # With the one of the new object.
    assert (records.sums["versions"], records.sums["CipherStorages"]) == (VERSIONS + 1, 1)


def test_a_storage_that_nests_deep_ends_no_recording(
    team: Namespace, records: Records, followers: tuple[Follower, ...]
) -> None:
    create_nested(team, "cipherstorages", "deep", spec={"connection": {"secretRef": {"name": "pg-admin"}}})
    write(team, status("after it"))
    team.plane.kubectl("-n", team.name, "delete", "cstore", "deep")
    caught_up(followers)
    no_violations(records)
    assert (records.sums["versions"], records.sums["CipherStorages"]) == (3, 2)


def test_what_cannot_be_taken_is_told_at_once(plane: ControlPlane, team: Namespace) -> None:
    def refuse(stored: Stored) -> None:
        if stored.key.endswith("/refused"):
            raise ValueError("not this one")

    follower = Follower(plane.etcd_url, "secrets", refuse)
    team.secret("refused", {"a": "1"})
    with pytest.raises(AssertionError, match=r"could not be taken(?s:.*)not this one"):
        follower.catch_up()


BROKEN: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a time moves": ([status(), status(time=LATER)], "the time of condition Ready moved"),
    "a fact is forgotten": ([status(database="db"), status()], "database was forgotten"),
    "a generation that does not exist": ([status(observedGeneration=2)], "FAIL 6"),
    "a word of the connection Secret": ([status("no answer from db.example")], "it tells a secret of 10 characters"),
    "its port": ([status("no answer at port 6543")], "it tells a secret of 4 characters"),
    "its password": ([status("refused: pass-word")], "it tells a secret of 9 characters"),
    "mended at once": ([status("a; a"), status()], "says a sentence twice"),
}


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_version_that_breaks_the_contract_fails(
    team: Namespace, records: Records, followers: tuple[Follower, ...], case: str
) -> None:
    versions, rule = BROKEN[case]
    for each in versions:
        write(team, each)
    caught_up(followers)
    with pytest.raises(pytest.fail.Exception, match=rule):
        no_violations(records)
    assert records.sums["violations"] >= 1
    no_violations(records)


SERVER_BROKEN: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a time moves": ([status(reason="Ready"), status(reason="Ready", time=LATER)], "the time of condition Ready moved"),
    "a generation that does not exist": ([status(reason="Ready", observedGeneration=2)], "FAIL 6"),
    "a word of a Secret of any namespace": (
        [status("no answer from db.example", reason="Ready")],
        "it tells a secret of 10 characters",
    ),
    "a reason of Observe mode": ([status(reason="ChangesPending")], "Ready=True with reason ChangesPending"),
}


@pytest.mark.parametrize("case", list(SERVER_BROKEN))
def test_so_does_one_of_a_server(
    plane: ControlPlane, team: Namespace, records: Records, followers: tuple[Follower, ...], case: str
) -> None:
    versions, rule = SERVER_BROKEN[case]
    name = f"server-{next(_numbers)}"
    metadata = {"apiVersion": "storage.cipher.dev/v1alpha1", "kind": "CipherServer", "metadata": {"name": name}}
    plane.kubectl("apply", "-f", "-", input=json.dumps({**metadata, "spec": LEAST}))
    for each in versions:
        ready = {**each, "conditions": each["conditions"][:1]}
        plane.kubectl(
            *("patch", "cserver", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": ready}))
        )
    plane.kubectl("delete", "cserver", name)
    caught_up(followers)
    with pytest.raises(pytest.fail.Exception, match=rule):
        no_violations(records)
    # Its storage has a version of its own: the new object.
    assert records.sums["CipherServers"] == 1


def test_a_tenant_is_told_nothing_of_other_namespaces(
    plane: ControlPlane, team: Namespace, records: Records, followers: tuple[Follower, ...]
) -> None:
    other = Namespace(plane, f"recorded-{next(_numbers)}")
    other.secret("prod-admin", {"host": "db.internal.example"})
    team.delete("cipherstorages", "chat")
    team.storage("chat", {"connection": {"serverRef": {"name": "prod"}}})
    write(team, status("no answer from db.internal.example"))
    caught_up(followers)
    with pytest.raises(pytest.fail.Exception, match="it tells a secret of 19 characters"):
        no_violations(records)


def test_argo_cds_answer_is_compared(
    team: Namespace, records: Records, followers: tuple[Follower, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(team, status("as the health check of manifests/argocd has it"))
    caught_up(followers)
    assert records.judged() == []
    monkeypatch.setattr(argo_agreement, "health", lambda script, stored: ("Degraded", ""))
    write(team, status("as another has it"))
    caught_up(followers)
    (found,) = records.judged()
    assert "Argo CD says Degraded, kstatus Current" in found


@pytest.mark.parametrize("case", list(BROKEN))
async def test_so_does_one_in_memory(records: Records, case: str) -> None:
    versions, rule = BROKEN[case]
    api = MemoryApi()
    record(api.store, records)
    api.secret("pg-admin", {"CIPHER_PG_URL": "postgres://admin:pass-word@db.example:6543/x"})
    api.storage()
    for each in versions:
        path = api.path("cipherstorages", "chat") + "/status"
        await api.patch(path, [{"op": "add", "path": "/status", "value": each}], JSON_PATCH)
    with pytest.raises(pytest.fail.Exception, match=rule):
        no_violations(records)
    assert records.sums["versions"] == len(versions) + 1


def test_distinct_versions_are_kept_as_examples(
    team: Namespace,
    records: Records,
    followers: tuple[Follower, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    for number in range(3):
        write(team, status(f"number {number}"))
    caught_up(followers)
    no_violations(records)
    kept = {path.name.split("-")[0]: yaml.safe_load(path.read_text()) for path in tmp_path.iterdir()}
    assert set(kept) == {"New", "Observed"}
    assert kept["Observed"]["kind"] == "CipherStorage" and kept["Observed"]["metadata"]["resourceVersion"]
    assert "pass-word" not in json.dumps(kept)
