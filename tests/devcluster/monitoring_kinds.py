"""The kinds of the Prometheus operator that the project's manifests use, as that project publishes their CRDs.

They are files of its Go module: the Go command fetches it, through the machine's own proxy, and two files are kept.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from devcluster.cache import cache_dir, filled, say
from devcluster.go_build import go
from devcluster.longrun import SetupError

KINDS = ("prometheusrules", "servicemonitors")
"""Plurals of the group monitoring.coreos.com."""
_MODULE = "github.com/prometheus-operator/prometheus-operator"
_VERSION = "v0.85.0"
_SUM = "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="
"""What a go.sum would say of the module's files."""
_FOLDER = "example/prometheus-operator-crd"
_PATIENCE = 120.0


def find_monitoring_crds(*, fetch: bool = True) -> tuple[Path, ...]:
    """Return the files of the CRDs, fetched when missing and `fetch` is true.

    Raises SetupError, with what to do, when they cannot be had; that is found out once per Python process.
    """
    kept = cache_dir() / f"prometheus-operator-{_VERSION}"
    if not kept.is_dir():
        if not fetch:
            raise SetupError("the CRDs of the Prometheus operator are not there; run `python -m devcluster setup`")
        if reason := _fetched(kept):
            raise SetupError(reason)
    return tuple(kept / f"{kind}.yaml" for kind in KINDS)


@cache
def _fetched(kept: Path) -> str:
    """Fetch them into the cache; return why that cannot be, empty where it is done."""
    try:
        filled(kept.name, _fetch)
    except SetupError as error:
        reason = f"the CRDs of the Prometheus operator are not to be had here: {str(error).splitlines()[-1]}"
        say(reason)
        return reason
    return ""


def _fetch(folder: Path) -> None:
    say("fetching the CRDs of the Prometheus operator (4 MB) once…")
    module = _module()
    if module.get("Sum") != _SUM:
        raise SetupError(module.get("Error") or f"{_MODULE} {_VERSION} has the sum {module.get('Sum')}, not {_SUM}")
    for kind in KINDS:
        published = Path(module["Dir"], _FOLDER, f"monitoring.coreos.com_{kind}.yaml")
        (folder / f"{kind}.yaml").write_bytes(published.read_bytes())


def _module() -> dict[str, str]:
    """Return what Go says of the module, which it has then: `Dir` and `Sum`, or `Error`."""
    # Our sum is what the checksum database would vouch for, and a mirror need not serve that.
    env = os.environ | {"GOSUMDB": "off", "GOFLAGS": "", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    env.pop("GOROOT", None)
    command = [str(go()), "mod", "download", "-json", f"{_MODULE}@{_VERSION}"]
    with tempfile.TemporaryDirectory() as outside:
        try:
            said = subprocess.run(
                command, cwd=outside, env=env, capture_output=True, text=True, timeout=_PATIENCE, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise SetupError(f"go mod download: {type(error).__name__}") from error
    try:
        module: dict[str, str] = json.loads(said.stdout)
    except ValueError:
        raise SetupError(f"go mod download: {said.stderr.strip()}") from None
    return module
