"""The issuers of the clouds, each on a port of its own, and tokens by them."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cipher_operator.identity.cloud import CloudTokens
from cipher_operator.identity.port import Login
from support.clouds import ISSUERS, Issuer

PATIENCE = 2.0
"""Seconds that the operator waits for an answer that does not come; it waits longer for those that do."""

MakeTokens = Callable[..., CloudTokens]


@pytest.fixture(params=ISSUERS, ids=lambda each: each.__name__)
async def issuer(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Issuer]:
    async with request.param(tmp_path) as running:
        yield running


@pytest.fixture
async def make_tokens() -> AsyncIterator[MakeTokens]:
    """A function that gives tokens by an environment; its keywords are those of CloudTokens."""
    made: list[CloudTokens] = []

    def make(environ: dict[str, str], **keywords: Any) -> CloudTokens:
        made.append(CloudTokens(environ, **keywords))
        return made[-1]

    yield make
    for each in made:
        await each.close()


def login_of(issuer: Issuer, port: int = 5432, **more: Any) -> Login:
    return Login(issuer.method, "localhost", port, issuer.user, **more)
