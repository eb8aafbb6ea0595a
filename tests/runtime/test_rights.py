"""Refused rights: said once and together, asked about until they are there, and not confused with policies."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from cipher_operator.kube.port import ApiError, ApiUnavailable, Json
from cipher_operator.kube.rights import WHO
from cipher_operator.runtime import rights as module
from cipher_operator.runtime.rights import Rights, needed
from cipher_operator.runtime.settings import Settings
from support.memory_api import MemoryApi

ALL = len(list(needed(Settings(), None)))


class Reviewer(MemoryApi):
    """An API server that grants all verbs but `withheld`; `asked` counts the questions of each look."""

    def __init__(self) -> None:
        super().__init__()
        self.withheld: set[str] = set()
        self.asked: list[int] = []
        self.refuses = self.away = False

    async def post(self, path: str, body: Json) -> Json:
        if self.away:
            raise ApiUnavailable("away")
        if self.refuses:
            raise ApiError(403, "Forbidden")
        if path == WHO:
            return {"status": {"userInfo": {"username": "somebody"}}}
        self.asked[-1] += 1
        return {"status": {"allowed": body["spec"]["resourceAttributes"]["verb"] not in self.withheld}}

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["Reviewer"]:
        self.asked.append(0)
        yield self


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Reviewer]:
    caplog.set_level(logging.INFO, "cipher_operator")
    for name, value in {"SETTLED": 0.0, "AGAIN": (0.001, 0.002), "QUIET": 0.001}.items():
        monkeypatch.setattr(module, name, value)
    yield Reviewer()


@contextlib.asynccontextmanager
async def following(api: Reviewer) -> AsyncIterator[Rights]:
    rights = Rights(Settings(), None, api.open)
    task = asyncio.create_task(rights.follow())
    try:
        yield rights
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)


async def test_what_is_missing_is_said_once_and_asked_about_until_it_is_there(
    api: Reviewer, caplog: pytest.LogCaptureFixture
) -> None:
    api.withheld = {"watch", "create"}
    async with following(api) as rights:
        rights.count("GET", 403)
        await until(lambda: len(api.asked) > 4)
        assert caplog.text.count("somebody lacks rights: ") == 1
        few = api.asked[1]
        assert api.asked[0] == ALL > few > 1
        assert set(api.asked[1:-1]) == {few}, "of the others nothing is asked"
        api.withheld = {"create"}
        await until(lambda: caplog.text.count("somebody lacks rights: ") == 2)
        api.withheld = set()
        await until(lambda: "the operator has all of its rights" in caplog.text)
        assert "watch" in caplog.records[0].getMessage()
        assert "watch" not in caplog.records[1].getMessage().split("Grant")[0]


async def test_a_policy_that_refuses_is_no_missing_right(api: Reviewer, caplog: pytest.LogCaptureFixture) -> None:
    async with following(api) as rights:
        for status in (None, 200, 401, 404, 409):
            rights.count("PATCH", status)
        await asyncio.sleep(0)
        assert api.asked == []
        rights.count("PATCH", 403)
        await until(lambda: api.asked == [ALL])
        rights.count("PATCH", 403)
        await until(lambda: api.asked == [ALL, ALL])
    assert caplog.text == ""


async def test_where_the_question_is_refused_the_next_refusal_asks_it_again(
    api: Reviewer, caplog: pytest.LogCaptureFixture
) -> None:
    api.refuses, api.withheld = True, {"patch"}
    async with following(api) as rights:
        rights.count("GET", 403)
        await until(lambda: len(api.asked) == 1)
        api.refuses = False
        rights.count("GET", 403)
        await until(lambda: "somebody lacks rights: " in caplog.text)


async def test_an_outage_is_outlasted(api: Reviewer, caplog: pytest.LogCaptureFixture) -> None:
    api.withheld = {"patch"}
    async with following(api) as rights:
        rights.count("GET", 403)
        await until(lambda: "somebody lacks rights: " in caplog.text)
        api.away = True
        looks = len(api.asked)
        await until(lambda: len(api.asked) > looks + 2)
        api.away, api.withheld = False, set()
        await until(lambda: "the operator has all of its rights" in caplog.text)
    assert caplog.text.count("somebody lacks rights: ") == 1
