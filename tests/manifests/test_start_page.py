"""docs/start.md: thirty seconds with a server and no cluster, carried out from the page."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from devcluster import PostgresServer
from manifests.manifest_files import REPOSITORY

PAGE = (REPOSITORY / "docs" / "start.md").read_text().split("\n## In 30 seconds")[1].split("\n## ")[0]
MANIFEST, *_ = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = "".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)).splitlines()
SAID = "".join(re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)).splitlines()
URL = "postgresql://postgres:PASSWORD@127.0.0.1:5432/postgres?sslmode=disable"


def test_check_and_plan_say_what_the_page_shows(postgres: PostgresServer, tmp_path: Path) -> None:
    assert URL in MANIFEST
    (tmp_path / "chat.yaml").write_text(MANIFEST.replace(URL, postgres.admin_url(sslmode="disable")))
    assert COMMANDS[:2] == ["make setup", "export PYTHONPATH=operator"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "operator")}
    said = ""
    for line in COMMANDS[2:]:
        python, *words = shlex.split(line)
        assert python == ".venv/bin/python"
        ended = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        said += ended.stdout
    for line in SAID:
        assert _anywhere(line) in _anywhere(said)
    assert postgres.execute("SELECT 1 FROM pg_database WHERE datname = 'cipher_db'") == [], "nothing was run"


def _anywhere(text: str) -> str:
    """Return it without what depends on the server's version."""
    return re.sub(r"PostgreSQL [\d.]+", "PostgreSQL", re.sub(r"\d+ statements", "statements", text))
