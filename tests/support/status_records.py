"""What was recorded of statuses, at the end of a test run: one line, summed over all workers.

A pytest plugin of tests/conftest.py. A violation fails the test in which it was recorded; what a cluster stores after
the last test of a file fails that file.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from support.status_versions import RECORDS, Records

_SUMS: Counter[str] = Counter()
_REASONS: set[str] = set()
"""Those of the workers of pytest-xdist."""


@pytest.fixture(autouse=True)
def _statuses_in_memory() -> Iterator[None]:
    yield
    no_violations()


def no_violations(records: Records = RECORDS) -> None:
    """Fail where a status that was recorded since the last call breaks the contract."""
    if found := records.judged():
        pytest.fail(f"{len(found)} violations of the contract of statuses:\n" + "\n".join(found), pytrace=False)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the sums of a worker that has ended."""
    output = getattr(node, "workeroutput", {})
    _SUMS.update(output.get("statuses", {}))
    _REASONS.update(output.get("reasons", ()))


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output |= {"statuses": dict(RECORDS.sums), "reasons": sorted(RECORDS.reasons)}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    sums, reasons = _SUMS + RECORDS.sums, _REASONS | RECORDS.reasons
    if sums["versions"]:
        terminalreporter.write_line(
            f"statuses: {sums['versions']} versions of {sums['CipherStorages']} CipherStorages and "
            f"{sums['CipherServers']} CipherServers recorded, {len(reasons)} reasons, "
            f"{sums['late']} about a spec that had changed meanwhile; {sums['violations']} violations"
        )
