"""Events as people see them, and what repeats as a series of one."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cipher_operator.api.spec import Resource, parse_resource
from cipher_operator.kube import events
from cipher_operator.kube.access import load_access
from cipher_operator.kube.client import KubeClient
from cipher_operator.kube.events import Recorder
from devcluster import ControlPlane
from support.cluster import Namespace
from support.memory_api import MemoryApi
from support.memory_api.kinds import kind_of


def posted(namespace: Namespace) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = namespace.request(
        "GET", f"/apis/events.k8s.io/v1/namespaces/{namespace.name}/events"
    )["items"]
    return listed


async def test_an_event_is_shown_by_describe(kube: KubeClient, namespace: Namespace, resource: Resource) -> None:
    await Recorder(kube).post(resource, type_="Warning", reason="ConnectionRefused", note="nobody", action="Reconcile")
    described = namespace.plane.kubectl("-n", namespace.name, "describe", "cipherstorage", "chat")
    line = next(line for line in described.splitlines() if "ConnectionRefused" in line)
    assert "Warning" in line and "nobody" in line


@pytest.mark.parametrize(
    "note",
    [pytest.param("x" * 5_000, id="too long"), pytest.param("ü" * 1_000, id="too long in bytes")],
)
async def test_a_long_note_is_cut(kube: KubeClient, namespace: Namespace, resource: Resource, note: str) -> None:
    await Recorder(kube).post(resource, type_="Normal", reason="Ready", note=note, action="Reconcile")
    listed = posted(namespace)
    assert len(listed) == 1 and listed[0]["note"].endswith(" …")
    assert events.MAX_NOTE - 8 < len(listed[0]["note"].encode()) <= events.MAX_NOTE


async def test_nothing_is_raised_where_it_cannot_be_posted(
    plane: ControlPlane, namespace: Namespace, resource: Resource, caplog: pytest.LogCaptureFixture
) -> None:
    plane.kubectl("-n", namespace.name, "create", "serviceaccount", "nobody")
    config = plane.kubeconfig_for_service_account(namespace.name, "nobody")
    async with KubeClient(await load_access({"KUBECONFIG": str(config)})) as nobody:
        with caplog.at_level("DEBUG"):
            await Recorder(nobody).post(resource, type_="Normal", reason="Ready", note="", action="Reconcile")
    assert "event Ready was not posted: 403 Forbidden" in caplog.text


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.time

    def after(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


async def say(recorder: Recorder, resource: Resource, note: str = "nobody", reason: str = "ConnectionRefused") -> None:
    await recorder.post(resource, type_="Warning", reason=reason, note=note, action="Reconcile")


async def test_what_repeats_is_shown_as_one_event_with_a_count(
    kube: KubeClient, namespace: Namespace, resource: Resource
) -> None:
    clock = Clock()
    recorder = Recorder(kube, clock)
    for _ in range(4):
        await say(recorder, resource)
        clock.after(90)
    (event,) = posted(namespace)
    assert event["series"]["count"] == 4
    described = namespace.plane.kubectl("-n", namespace.name, "describe", "cipherstorage", "chat")
    assert "(x4 over" in described


SEEN: dict[str, tuple[list[tuple[float, str, str]], list[int]]] = {
    "the same within minutes": ([(0, "A", "n"), (60, "A", "n")], [2]),
    "it goes on for an hour": ([(0, "A", "n"), *[(300, "A", "n")] * 12], [13]),
    "the same after a long time": ([(0, "A", "n"), (361, "A", "n")], [1, 1]),
    "another reason": ([(0, "A", "n"), (1, "B", "n"), (1, "A", "n")], [2, 1]),
    "another note says something else": ([(0, "A", "n"), (1, "A", "other"), (1, "A", "n")], [2, 1]),
    "notes without end join one": ([(1, "A", str(number)) for number in range(9)], [1, 1, 1, 2]),
    "many at once are written now and then": ([(1, "A", "n")] * 130, [122]),
}


@pytest.mark.parametrize("case", list(SEEN))
async def test_series(case: str) -> None:
    times, counts = SEEN[case]
    api, clock = MemoryApi(), Clock()
    resource = parse_resource(api.storage())
    recorder = Recorder(api, clock)
    for seconds, reason, note in times:
        clock.after(seconds)
        await say(recorder, resource, note, reason)
    listed = sorted(api.store.of(kind_of("events"), "ns"), key=lambda each: str(each["eventTime"]))
    assert [each.get("series", {"count": 1})["count"] for each in listed] == counts
    minutes = sum(seconds for seconds, _, _ in times) / 60
    assert api.count("PATCH", path="/events") <= minutes + 2


async def test_what_is_counted_in_an_event_is_what_it_says() -> None:
    api, clock = MemoryApi(), Clock()
    resource = parse_resource(api.storage())
    recorder = Recorder(api, clock)
    said = ["a table", "a grant", "an index", "a password", "a table", "a default", "a password"]
    for note in said:
        clock.after(61)
        await say(recorder, resource, note, "DriftHealed")
    counts = {each["note"]: each.get("series", {"count": 1})["count"] for each in api.store.of(kind_of("events"), "ns")}
    assert counts == {"a table": 2, "a grant": 1, "an index": 1, events.OTHERS: 3}


async def test_an_event_that_is_gone_is_posted_anew() -> None:
    api = MemoryApi()
    resource, recorder = parse_resource(api.storage()), Recorder(api)
    await say(recorder, resource)
    (event,) = api.store.of(kind_of("events"), "ns")
    api.delete("events", event["metadata"]["name"])
    await say(recorder, resource)
    (again,) = api.store.of(kind_of("events"), "ns")
    assert "series" not in again and again["metadata"]["name"] != event["metadata"]["name"]


async def test_storages_without_end_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "REMEMBERED", 5)
    api = MemoryApi()
    recorder = Recorder(api)
    for number in range(9):
        await say(recorder, parse_resource(api.storage(f"chat-{number}")))
    assert len(recorder._series) == 5
