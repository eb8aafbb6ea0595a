"""What stands before an API server answers for it, or breaks its answers off: kopf goes on, whatever that is.

kopf itself on a control plane of these tests' own, through a door that answers so to it alone.
"""

import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cipher_operator.kube import outage
from cipher_operator.runtime.gateways import NotAnswered, read_whole, wait_as_asked
from devcluster import ControlPlane
from support.cluster import Namespace
from support.front import broken_off, front
from support.stand_in import OWN, running

_numbers = itertools.count(1)
TIMES = 2


@pytest.fixture(scope="module")
def plane(own_plane: ControlPlane) -> ControlPlane:
    return own_plane


@pytest.fixture
def account(plane: ControlPlane) -> Path:
    return plane.kubeconfig_for_service_account("cipher-system", "cipher-operator")


@pytest.fixture
def namespace(plane: ControlPlane) -> Namespace:
    return Namespace(plane, f"{OWN}gateway-{next(_numbers)}")


def page(status: int, **headers: str) -> Callable[[], web.Response]:
    body = "<html><body>Dienst nicht verfügbar</body></html>".encode("latin-1")
    return lambda: web.Response(status=status, body=body, headers={"Content-Type": "text/html", **headers})


def json_of(status: int, text: str, **headers: str) -> Callable[[], web.Response]:
    return lambda: web.Response(status=status, text=text, content_type="application/json", headers=headers)


ANSWERS: dict[str, Callable[[], web.StreamResponse]] = {
    "too many, until a time": json_of(429, "{}", **{"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    "too many, for no number": json_of(429, "{}", **{"Retry-After": "nan"}),
    "too many, in a page": page(429),
    "a page that is no UTF-8": page(502),
    "an error that is no object": json_of(503, '["away"]'),
    "a page instead of a timeout": page(504),
    "a page as if all were well": page(200),
    "JSON as if all were well": json_of(200, '["away"]'),
    "half of an answer": json_of(200, '{"kind":"APIGroupList","groups":['),
    "an answer that breaks off": broken_off,
    "a bad request": page(400),
    "a way to somewhere else": page(302, Location="/elsewhere"),
}
LIST = "/apis/storage.cipher.dev/v1alpha1/cipherstorages"
ASKED: dict[str, Callable[[web.Request], bool]] = {
    "discovery": lambda request: request.path in {"/apis", "/apis/storage.cipher.dev/v1alpha1"},
    "a list": lambda request: request.path == LIST and "watch" not in request.query,
    "a watch": lambda request: request.path == LIST and "watch" in request.query,
}
TO_KOPF = (
    ("too many, until a time", "discovery"),
    ("too many, until a time", "a watch"),
    ("a page that is no UTF-8", "a list"),
    ("an error that is no object", "a watch"),
    ("a page as if all were well", "a list"),
    ("an answer that breaks off", "discovery"),
    ("a bad request", "discovery"),
)


@pytest.mark.parametrize("path", ["/apis", LIST])
@pytest.mark.parametrize("case", ANSWERS)
async def test_what_is_no_answer_is_one_that_kopf_waits_for(case: str, path: str) -> None:
    status = await asked(case, path)
    # Such a refusal of a list is what `Streams` makes a new list of.
    assert status == (400 if (case, path) == ("a bad request", LIST) else None)


@pytest.mark.parametrize("case", [each for each in ANSWERS if "well" not in each and "answer" not in each])
async def test_nor_is_such_a_refusal_of_a_watch(case: str) -> None:
    assert await asked(case, f"{LIST}?watch=true") == (400 if case == "a bad request" else None)


async def asked(case: str, path: str) -> int | None:
    """Return the status with which the answer came through, None where it counts as none."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return ANSWERS[case]()

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        raise AssertionError("a token would go there")

    app = web.Application()
    app.router.add_get("/elsewhere", elsewhere)
    app.router.add_get("/{path:.*}", answer)
    middlewares = (wait_as_asked, read_whole)
    async with TestServer(app) as server, aiohttp.ClientSession(middlewares=middlewares) as session:
        try:
            response = await session.get(server.make_url(path))
        except NotAnswered:
            return None
        assert await response.json() == {}
        return response.status


def test_kopf_waits_for_what_is_no_answer() -> None:
    assert issubclass(NotAnswered, aiohttp.ClientConnectionError)


@pytest.mark.parametrize(("said", "seconds"), [("1", 1), ("86400", 60), ("-5", 0), ("soon", 0), (None, 0)])
async def test_it_is_waited_as_long_as_the_server_asks_but_not_for_days(
    monkeypatch: pytest.MonkeyPatch, said: str | None, seconds: float
) -> None:
    waited: list[float] = []

    async def sleep(time: float) -> None:
        waited.append(time)

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers={} if said is None else {"retry-after": said})

    monkeypatch.setattr("cipher_operator.runtime.gateways.asyncio", SimpleNamespace(sleep=sleep))
    app = web.Application()
    app.router.add_get("/apis", answer)
    middlewares = (wait_as_asked, read_whole)
    async with TestServer(app) as server, aiohttp.ClientSession(middlewares=middlewares) as session:
        with pytest.raises(NotAnswered, match="429"):
            await session.get(server.make_url("/apis"))
    assert waited == [seconds]


def of_kopf(request: web.Request) -> bool:
    """Reflectors and first looks have tests of their own; what tells kopf's requests is what they accept."""
    return request.headers.get("Accept", "*/*") == "*/*"


@pytest.mark.cluster
@pytest.mark.parametrize(("case", "what"), TO_KOPF)
async def test_kopf_goes_on(
    plane: ControlPlane, account: Path, namespace: Namespace, tmp_path: Path, case: str, what: str
) -> None:
    given: list[str] = []

    def judge(request: web.Request) -> web.StreamResponse | None:
        if of_kopf(request) and ASKED[what](request) and len(given) < TIMES:
            given.append(request.path_qs)
            return ANSWERS[case]()
        return None

    namespace.storage("before")
    async with front(account, judge, tmp_path / "kubeconfig") as door, running(door) as operator:
        await operator.ready()
        await operator.until(lambda: operator.stand_in.count((namespace.name, "before")) == 1)
        namespace.storage("later")
        await operator.until(lambda: operator.stand_in.count((namespace.name, "later")) == 1)
    assert len(given) == TIMES


@pytest.mark.cluster
async def test_a_server_that_begins_with_a_refusal_is_not_back(
    plane: ControlPlane,
    account: Path,
    namespace: Namespace,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that has just started answers 403 until it knows who may what, and 429 or 503 between."""
    caplog.set_level(logging.INFO, "cipher_operator")
    monkeypatch.setattr(outage, "LASTS", 0.0)
    statuses = [503, 403, 503]

    def judge(request: web.Request) -> int | None:
        return statuses.pop(0) if of_kopf(request) and ASKED["a list"](request) and statuses else None

    namespace.storage("chat")
    async with front(account, judge, tmp_path / "kubeconfig") as door, running(door) as operator:
        await operator.ready()
        await operator.until(lambda: operator.stand_in.count((namespace.name, "chat")) == 1)
    said = [record.getMessage() for record in caplog.records if "the Kubernetes API" in record.getMessage()]
    assert (statuses, len(said)) == ([], 2), said
