"""kubectl in a reader's shell: the command as the page has it, on the real API server.

What belongs to the whole cluster or to the operator's namespace is asked about and not changed (`--dry-run`): other
tests stand on it. There are no nodes and no operator: `logs` and `top` may find nothing, a roll-out is looked at once,
and has failed where it is ten minutes old, and before a `wait` the status says what the operator would: ready, and
every request carried out. A `wait` for what no status can say still fails. What fails otherwise is written down in the
file FAILURES names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cipher_operator.api.names import REQUEST_ANNOTATIONS

CHANGES = {"annotate", "apply", "create", "delete", "label", "patch", "set"}
SHARED = {"-k", "--all", "namespace", "server.yaml", "-f=server.yaml", "cipher-system"}
ELSEWHERE = {"-n", "-A", "-k", "--all-namespaces", "--raw"}
EXPECTED = {
    "auth": ("",),
    "diff": ("",),
    "get": ('leases.coordination.k8s.io "cipher-operator" not found',),
    "logs": ("is not assigned", "has no host", "BadRequest", "not found, try watching"),
    "rollout": ("exceeded its progress deadline",),
    "top": ("Metrics API not available",),
}
"""What a command that changes nothing may say where it fails: `auth can-i` and `diff` say no by their exit code."""


def verb_of(words: list[str]) -> str:
    """Return the command among a call's words."""
    return words[2] if words[0] == "-n" else words[0]


def asked(words: list[str], namespace: str) -> list[str]:
    """Return the call as it is made here."""
    verb = verb_of(words)
    if verb in CHANGES and SHARED & {*words}:
        given = any(word.startswith("--dry-run") for word in words)
        words = words if given else [*words, f"--dry-run={'client' if verb == 'create' else 'server'}"]
    elif verb == "rollout" and "status" in words:
        words = [*words, "--watch=false"]
    elif verb == "run":
        end = words.index("--")
        words = [*(word for word in words[:end] if word not in {"--rm", "-it"}), "--dry-run=server", *words[end:]]
    return words if ELSEWHERE & {*words} else ["-n", namespace, *words]


def main() -> int:
    """Make one call and return its exit code."""
    words, namespace = sys.argv[1:], os.environ["NAMESPACE"]
    verb = verb_of(words)
    if verb == "wait":
        namespace = words[words.index("-n") + 1] if "-n" in words else namespace
        _carry_out([word for word in words if "/" in word], ["-n", namespace])
    ended = subprocess.run(
        [os.environ["KUBECTL"], *asked(words, namespace)], stdout=None, stderr=subprocess.PIPE, text=True, check=False
    )
    sys.stderr.write(ended.stderr)
    known = "error:" not in ended.stderr or verb in {"logs", "rollout", "top"}
    fine = known and any(part in ended.stderr for part in EXPECTED.get(verb, ()))
    if ended.returncode and not fine:
        with Path(os.environ["FAILURES"]).open("a") as failures:
            failures.write(f"{' '.join(words)}: {ended.stderr}")
    return ended.returncode


def _carry_out(targets: list[str], where: list[str]) -> None:
    for target in targets:
        read = subprocess.run(
            [os.environ["KUBECTL"], *where, "get", target, "-o", "json"], capture_output=True, text=True, check=False
        )
        if read.returncode == 0:
            change = json.dumps({"status": _status(json.loads(read.stdout)["metadata"])})
            change_ = ["patch", target, "--subresource=status", "--type=merge", "-p", change]
            subprocess.run([os.environ["KUBECTL"], *where, *change_], capture_output=True, check=False)


def _status(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return what the operator would say of a storage, or of a server, where all is well."""
    given = metadata.get("annotations") or {}
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Ready",
        "message": "",
        "lastTransitionTime": metadata["creationTimestamp"],
        "observedGeneration": metadata["generation"],
    }
    handled = {name: given[key] for name, key in REQUEST_ANNOTATIONS.items() if key in given}
    return {"conditions": [ready], "observedGeneration": metadata["generation"]} | (
        {"handledRequests": handled} if handled else {}
    )


if __name__ == "__main__":
    sys.exit(main())
