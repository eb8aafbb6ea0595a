"""Servers that are not PostgreSQL 13 to 18: by the number they report, by their name, or as what fails first."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import FailureClass, Reason
from devcluster import PostgresServer
from support.provision import Provisioner, desired, plain_admin
from support.wire import WireProxy, error_message, message, read_message


class Imitation(WireProxy):
    """Reports another `version` when a session starts; refuses the catalog query, and says `product` of itself."""

    def __init__(self, server: PostgresServer, version: str, product: str | None = None) -> None:
        super().__init__(server)
        self.version, self.product = version, product
        self.asked: list[bytes] = []

    async def answer(self, behind: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            kind, body = await read_message(behind)
            if kind == b"S" and body.startswith(b"server_version\0"):
                body = b"server_version\0" + self.version.encode() + b"\0"
            writer.write(message(kind, body))
            await writer.drain()

    async def ask(
        self, reader: asyncio.StreamReader, ahead: asyncio.StreamWriter, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            kind, body = await read_message(reader)
            if kind == b"Q":
                self.asked.append(body)
            if kind == b"Q" and self.product is not None and b"pg_roles" in body:
                fields = {"S": "ERROR", "V": "ERROR", "C": "42883", "M": "unknown function: aclexplode()"}
                writer.write(error_message(fields) + message(b"Z", b"I"))
                await writer.drain()
                continue
            if kind == b"Q" and self.product is not None and b"version()" in body:
                body = f"SELECT '{self.product}'".encode() + b"\0"
            ahead.write(message(kind, body))
            await ahead.drain()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(16) as running:
        yield running


_names = iter(range(10_000))

UNSUPPORTED = {
    "PostgreSQL 12": ("12.22", None, "the server is PostgreSQL 12"),
    "PostgreSQL 9.6": ("9.6.24", None, "the server is PostgreSQL 9.6"),
    "Redshift": ("8.0.2", None, "the server is PostgreSQL 8.0"),
    "YugabyteDB of old": ("11.2-YB-2.20.1.0-b0", None, "the server is PostgreSQL 11"),
    "YugabyteDB": ("15.12", "PostgreSQL 15.12-YB-2025.1.0.0-b0 on x86_64", "the server is YugabyteDB"),
    "CockroachDB": ("13.0.0", "CockroachDB CCL v24.3.1 (x86_64-pc-linux-gnu)", "the server is CockroachDB CCL v24.3.1"),
    "CrateDB": ("14.0", "CrateDB 5.9.4 (built 1a2b3c)", "the server is CrateDB 5.9.4"),
}


@pytest.mark.parametrize("case", list(UNSUPPORTED))
async def test_another_server_is_named(server: PostgresServer, case: str) -> None:
    version, product, words = UNSUPPORTED[case]
    direct = plain_admin(server, f"imitated_{next(_names)}")
    with Imitation(server, version, product) as proxy:
        admin = Provisioner(replace(direct.admin, port=proxy.port))
        with pytest.raises(Failure) as refused:
            await admin.run(desired(f"imitated{next(_names)}"))
        sent = b" ".join(proxy.asked)
    assert (refused.value.reason, refused.value.failure_class) == (Reason.UNSUPPORTED_SERVER, FailureClass.STALLED)
    assert refused.value.stage is ConditionType.CONNECTED
    assert words in refused.value.message
    assert "13 to 18" in refused.value.message
    assert b"CREATE" not in sent.replace(b"'CREATE", b""), "nothing was tried"
    assert product is not None or sent == b"", "the number came with the session"


async def test_an_error_of_postgresql_itself_is_no_imitation(server: PostgresServer) -> None:
    direct = plain_admin(server, f"imitated_{next(_names)}")
    with Imitation(server, "16.4", "PostgreSQL 16.4 on x86_64") as proxy:
        admin = Provisioner(replace(direct.admin, port=proxy.port))
        with pytest.raises(Failure) as failed:
            await admin.run(desired(f"imitated{next(_names)}"))
    assert failed.value.reason is Reason.UNKNOWN
