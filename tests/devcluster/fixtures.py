"""pytest fixtures: real servers, started when a test first asks for them and ended with the session.

Load them with `pytest_plugins = ["devcluster.fixtures"]` in the root conftest.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devcluster.controlplane import ControlPlane
from devcluster.faults import FaultProxy
from devcluster.longrun import SetupError
from devcluster.postgres import PostgresServer
from devcluster.postgres_programs import find_postgres
from devcluster.tls import CertificateAuthority


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """A running control plane, shared by the session's tests: each should use namespaces of its own."""
    with ControlPlane() as plane:
        yield plane


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL 16, or where that is not to be had the newest there is, shared by the session's tests."""
    try:
        installation = find_postgres(16)
    except SetupError:
        installation = find_postgres()
    with PostgresServer(installation=installation) as server:
        yield server


@pytest.fixture
def postgres_server() -> Iterator[Callable[..., PostgresServer]]:
    """A function that starts a server of the test's own; its arguments are those of PostgresServer."""
    started: list[PostgresServer] = []

    def start(*args: int | None, **kwargs: object) -> PostgresServer:
        server = PostgresServer(*args, **kwargs)  # type: ignore[arg-type]
        started.append(server)
        server.start()
        return server

    yield start
    for server in reversed(started):
        server.close()


@pytest.fixture
def fault_proxy() -> Iterator[Callable[..., FaultProxy]]:
    """A function that puts a proxy in front of a port; its arguments are those of FaultProxy."""
    started: list[FaultProxy] = []

    def start(port: int, **kwargs: object) -> FaultProxy:
        proxy = FaultProxy(port, **kwargs)  # type: ignore[arg-type]
        started.append(proxy)
        return proxy

    yield start
    for proxy in started:
        proxy.close()


@pytest.fixture(scope="session")
def certificate_authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """A CA that issues the server certificates of the session's tests."""
    folder: Path = tmp_path_factory.mktemp("ca")
    return CertificateAuthority(folder)
