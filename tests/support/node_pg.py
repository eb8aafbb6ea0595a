"""node-postgres, the client that Cipher uses, in the two versions that Cipher runs with; fetched into the cache.

npm only downloads; each archive is checked against node_pg.lock, and no package's own script runs.
"""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from devcluster.cache import filled, say
from devcluster.longrun import SetupError, run
from devcluster.npm_postgres import npm

LOCK = Path(__file__).with_name("node_pg.lock")
SCRIPT = Path(__file__).with_name("node_pg.cjs")
VERSIONS = ("locked", "newest")


@dataclass(frozen=True, slots=True)
class Package:
    """One pinned npm package."""

    name: str
    version: str
    integrity: str


def packages(version: str) -> list[Package]:
    """Return everything that `pg` of that version ("locked" or "newest") needs, itself included."""
    lines = [line.split() for line in LOCK.read_text().splitlines() if not line.startswith("#")]
    return [Package(*rest) for group, *rest in lines if group in ("common", version)]


def module(version: str) -> Path:
    """Return the folder of the `pg` package, fetched on first use. Raises SetupError."""
    wanted = packages(version)
    (pg,) = (each for each in wanted if each.name == "pg")
    digest = hashlib.sha256(repr(wanted).encode()).hexdigest()[:12]
    return filled(f"node-pg-{pg.version}-{digest}", partial(_fetch, wanted)) / "node_modules" / "pg"


def open_all(
    urls: Mapping[str, str],
    versions: tuple[str, ...] = VERSIONS,
    *,
    addresses: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
) -> dict[tuple[str, str], dict[str, Any]]:
    """Open every URL with every version, in one process; return what came of it by (version, key of the URL).

    `error` where it failed, else `database`, `user`, `encrypted` and `name`. `addresses` stands in for DNS (host to
    IPv4 address), `env` is what a pod's manifest sets besides.
    """
    jobs = [
        {"id": [version, key], "pg": str(module(version)), "url": url, "addresses": dict(addresses or {})}
        for version in versions
        for key, url in urls.items()
    ]
    # What would fill in for a URL, or add CAs, is not in the environment of Cipher's pods either.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "NODE_", "SSL_"))}
    asked, env = json.dumps(jobs).encode(), inherited | dict(env or {})
    done = subprocess.run([_node(), SCRIPT], input=asked, env=env, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    return {tuple(each.pop("id")): each for each in json.loads(done.stdout)}


def _node() -> str:
    command = npm()
    # npm is a program of its own, beside the machine's node, or a script for the wheel's.
    return command[0] if len(command) > 1 else shutil.which("node") or str(Path(command[0]).with_name("node"))


def _fetch(wanted: list[Package], folder: Path) -> None:
    say("fetching node-postgres once…")
    command = npm()
    env = os.environ | {"PATH": os.pathsep.join([str(Path(command[0]).parent), os.environ.get("PATH", "")])}
    with tempfile.TemporaryDirectory() as scratch:
        names = [f"{each.name}@{each.version}" for each in wanted]
        pack = [*command, "pack", "--silent", "--ignore-scripts", "--pack-destination", scratch, *names]
        run("fetching node-postgres", pack, cwd=Path(scratch), env=env, timeout=600)
        for each in wanted:
            archive = Path(scratch, f"{each.name}-{each.version}.tgz")
            digest = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
            if digest != each.integrity:
                raise SetupError(f"{each.name} does not match the checksum in {LOCK.name}; nothing of it was used")
            target = folder / "node_modules" / each.name
            with tarfile.open(archive) as bundle:
                bundle.extractall(scratch, filter="data")
            target.parent.mkdir(exist_ok=True)
            shutil.move(Path(scratch, "package"), target)
