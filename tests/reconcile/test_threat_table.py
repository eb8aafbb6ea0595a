"""docs/security.md has a row for each escalation that is tried on a real server, with what stops it."""

import re
from pathlib import Path

import cipher_operator
from reconcile import test_tenant_databases, test_tenants

PAGE = Path(cipher_operator.__file__).parents[2] / "docs" / "security.md"
TRIED = {
    **{name: (attempt.says, attempt.reason) for name, attempt in test_tenants.ATTEMPTS.items()},
    **{
        f"by a rename, {name}": (attempt.says, "LimitExceeded")
        for name, attempt in test_tenant_databases.ATTEMPTS.items()
    },
}


def test_the_threat_table_has_every_attempt_and_no_other() -> None:
    table = PAGE.read_text().split("\n#### Each attempt\n")[1].split("\n#")[0]
    rows = [tuple(cell.strip() for cell in row.split("|")) for row in re.findall(r"^\| (.*) \|$", table, re.MULTILINE)]
    assert rows[0] == ("he tries", "stopped by", "and reads")
    assert [name for name, *_ in rows[1:]] == list(TRIED)
    for name, by, reads in rows[1:]:
        says, reason = TRIED[name]
        assert reads == f"`{reason}`", name
        assert f"`{says}`" in by or says == test_tenant_databases.DOES_NOT, name
