"""When work may begin: all storages of the first list are known, and those that come meanwhile hold up nothing."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from cipher_operator.kube.access import load_access
from cipher_operator.kube.client import KubeClient
from cipher_operator.runtime.informer import Informer
from cipher_operator.runtime.operator import Operator
from cipher_operator.runtime.parts import Parts
from cipher_operator.runtime.settings import parse_settings
from support.memory_api import MemoryApi

WAITS = "the first lists are not complete"


class World:
    """An operator whose informer has seen what `known` holds."""

    def __init__(self, operator: Operator, api: MemoryApi) -> None:
        self.known: set[tuple[str, str]] = set()
        self._operator, self._api = operator, api
        started = asyncio.Event()
        started.set()
        operator._informer = cast(Informer, SimpleNamespace(started=started))

    async def why_not(self) -> str | None:
        triggers = SimpleNamespace(knows=self.known.__contains__)
        parts: Any = SimpleNamespace(triggers=triggers, unwatched=lambda: None)
        return await self._operator._unseen(cast(KubeClient, self._api), cast(Parts, parts))


@pytest.fixture
async def world(tmp_path: Path) -> World:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "current-context": "c",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    access = await load_access({"KUBECONFIG": str(tmp_path / "kubeconfig")})
    return World(Operator(parse_settings([], {}), access), MemoryApi())


async def test_those_that_come_meanwhile_are_not_waited_for(world: World) -> None:
    world._api.storage("first", namespace="team")
    assert await world.why_not() == WAITS
    world._api.storage("later", namespace="team")
    world.known.add(("team", "first"))
    assert await world.why_not() is None


async def test_one_that_goes_meanwhile_is_not_waited_for(world: World) -> None:
    world._api.storage("first", namespace="team")
    world._api.storage("second", namespace="team")
    assert await world.why_not() == WAITS
    world._api.delete("cipherstorages", "first", namespace="team")
    world.known.add(("team", "second"))
    assert await world.why_not() is None


async def test_an_empty_cluster_is_known(world: World) -> None:
    assert await world.why_not() is None


async def test_what_waits_for_all_storages_is_told_once_and_before_any_run(world: World) -> None:
    said: list[str] = []
    operator = Operator(world._operator._settings, world._operator._access, known=lambda: said.append("known"))
    started = asyncio.Event()
    started.set()
    operator._informer = cast(Informer, SimpleNamespace(started=started))
    triggers = SimpleNamespace(storages=(), knows=world.known.__contains__, complete=lambda: said.append("complete"))
    parts: Any = SimpleNamespace(
        triggers=triggers, unwatched=lambda: None, lead=lambda warm: said.append(f"lead {warm}")
    )
    await operator._first_lists(cast(KubeClient, world._api), cast(Parts, parts))
    assert said == ["complete", "known", "lead False"]
