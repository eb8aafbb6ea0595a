"""Settings that change how a server writes what it is asked for: what is read is the same."""

from collections.abc import Iterator

import pytest

from devcluster import PostgresServer
from support.cipher_client import work_as_cipher
from support.runs import Runs
from support.wire import WireProxy

READY = ("True", "Ready")
SETTINGS = {
    "quote_all_identifiers": "on",
    "extra_float_digits": "-15",
    "DateStyle": "'SQL, DMY'",
    "IntervalStyle": "'sql_standard'",
    "TimeZone": "'Asia/Kathmandu'",
    "bytea_output": "'escape'",
    "standard_conforming_strings": "off",
    "backslash_quote": "on",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "xmloption": "'document'",
}


@pytest.fixture(scope="module", params=[13, 16], ids=lambda major: f"pg{major}")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with PostgresServer(request.param) as running:
        yield running


@pytest.mark.parametrize("name", SETTINGS)
async def test_what_is_written_otherwise_is_the_same(runs: Runs, name: str) -> None:
    runs.sql(f"ALTER ROLE ALL SET {name} = {SETTINGS[name]}")
    try:
        with WireProxy(runs.server) as proxy:
            await runs.ready(app={"host": "127.0.0.1", "port": proxy.port, "verify": "Always"})
            assert runs.message().endswith("is published"), runs.message()
            runs.ask()
            before = runs.api.events()
            await runs.run()
            assert runs.says() == READY
            assert runs.api.events() == before, "nothing is taken for drift"
            with runs.app() as app:
                work_as_cipher(app)
    finally:
        runs.sql(f"ALTER ROLE ALL RESET {name}")
