"""Every version of a status that the tests see: judged, counted, and kept as examples where a folder is given."""

import base64
import hashlib
import json
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cipher_operator.api import names
from cipher_operator.kube.decoding import decode
from devcluster import ControlPlane
from devcluster.stored import Follower, Stored, secret_data
from support.argo_agreement import disagreements
from support.kstatus import NEW, server_violations, violations
from support.memory_api.kinds import address_api, kind_of
from support.memory_api.store import Change, Store

FOLDER = "STATUS_VERSIONS"
"""Environment variable: where distinct versions are kept, a file each, for whoever needs all reasons as examples."""
MIN_SECRET = 4
"""Characters of a Secret's value that is looked for: shorter ones stand in ordinary words."""
_URL = re.compile(rb"\w+://(?:[^\s/@]*?:(?P<password>[^\s/@]*)@)?(?P<hosts>[^\s/?#@]+)")

Json = dict[str, Any]

_PLURALS = (names.PLURAL, names.SERVER_PLURAL)


@dataclass
class Records:
    """What was recorded since the start, and which violations nobody has been told of yet.

    Secrets that are named in a spec (a host that its author wrote) are none.
    """

    sums: Counter[str] = field(default_factory=Counter)
    reasons: set[str] = field(default_factory=set)
    _objects: dict[str, set[str]] = field(default_factory=dict)
    """The uids of a kind."""
    _last: dict[tuple[str, str], Json] = field(default_factory=dict)
    _secrets: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    _unjudged: list[tuple[str, Json, Json | None]] = field(default_factory=list)
    following: bool = True
    """What clusters store is judged now; other tests than those of the operator write what they like."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    """Versions come from threads of their own."""

    def version(self, where: str, key: str, body: Json | None, *, judge: bool = True) -> None:
        """Take a version of a CipherStorage or CipherServer of the cluster `where`, None where it is gone; without
        `judge` only as what later ones are compared with."""
        with self._lock:
            previous = self._last.pop((where, key), None)
            if body is None:
                return
            self._last[where, key] = body
            if judge and (previous is None or previous.get("status") != body.get("status")):
                self._unjudged.append((where, body, previous))

    def secret(self, where: str, namespace: str, data: Mapping[str, bytes]) -> None:
        """Take a version of a Secret: what is in it may stand in no status of its namespace, nor in one of a
        CipherServer or of a storage that names one."""
        with self._lock:
            self._secrets.setdefault((where, namespace), set()).update(_confidential(data))

    def judged(self) -> list[str]:
        """Return the violations of the versions that came since the last call."""
        found: list[str] = []
        with self._lock:
            batch, self._unjudged = self._unjudged, []
            secrets = {place: frozenset(texts) for place, texts in self._secrets.items()}
        for where, body, previous in batch:
            broken = _broken(body, previous, _told(body, where, secrets))
            self._count(body, broken)
            found += [f"{_called(body)}: {rule}\n{_shown(body, previous)}" for rule in broken]
        return found

    def _count(self, body: Json, broken: list[str]) -> None:
        metadata, conditions = body["metadata"], body.get("status", {}).get("conditions") or []
        ready: Json = next((each for each in conditions if each["type"] == "Ready"), {})
        uids = self._objects.setdefault(body["kind"], set())
        uids.add(metadata["uid"])
        self.reasons.update(each["reason"] for each in conditions)
        self.sums[f"{body['kind']}s"] = len(uids)
        self.sums["versions"] += 1
        self.sums["violations"] += len(broken)
        self.sums["late"] += 0 < ready.get("observedGeneration", 0) < metadata["generation"]
        if folder := os.environ.get(FOLDER):
            _keep(Path(folder), body, ready, conditions)


RECORDS = Records()
"""Those of this test process."""


@contextmanager
def recorded(plane: ControlPlane, records: Records = RECORDS) -> Iterator[tuple[Follower, ...]]:
    """Record the statuses of a cluster while the block runs and `records.following` is true. Every version stored since
    its begin is seen, whatever the API server does meanwhile; `catch_up` of all followers tells that those up to now
    are recorded."""
    begun = False

    def version(stored: Stored) -> None:
        body = decode(stored.value) if stored.value is not None else None
        if body is not None:
            body["metadata"]["resourceVersion"] = str(stored.revision)
            # The CRD's default, which whoever reads is given: a new object is stored without a status.
            body.setdefault("status", dict(NEW))
        records.version(plane.url, stored.key, body, judge=begun and records.following)

    def secret(stored: Stored) -> None:
        if stored.value is not None:
            records.secret(plane.url, stored.key.split("/")[1], secret_data(stored.value))

    followers = (
        Follower(plane.etcd_url, "secrets", secret),
        *(Follower(plane.etcd_url, f"{names.GROUP}/{plural}", version) for plural in _PLURALS),
    )
    begun = True
    try:
        yield followers
        for each in followers:
            each.catch_up()
    finally:
        for each in followers:
            each.close()


def record(store: Store, records: Records = RECORDS) -> None:
    """Record the statuses of an API server in memory from now on."""
    *ours, secrets = (address_api(kind_of(plural)) for plural in (*_PLURALS, "secrets"))

    def take(change: Change) -> None:
        api, namespace, name = change.address
        if api in ours:
            records.version(str(id(store)), f"{namespace}/{name}", change.after)
        elif api == secrets and change.after is not None:
            data = change.after.get("data") or {}
            content = {key: base64.b64decode(value) for key, value in data.items()}
            records.secret(str(id(store)), namespace, content)

    store.observers.append(take)


_EXAMPLES = frozenset({"postgresql", "postgres", "HOST", "host", "PASSWORD", "2001", "5432"})
"""Words that messages have of themselves, where they say how a URL is written."""


def _confidential(data: Mapping[str, bytes]) -> Iterator[str]:
    """Yield what of a Secret may stand in no status: passwords, hosts and ports."""
    for key, value in data.items():
        if re.search("password|host|port$", key, re.IGNORECASE):
            yield from _text(value)
        for match in _URL.finditer(value):
            yield from _text(match["password"] or b"")
            for door in match["hosts"].split(b","):
                host, _, port = door.rpartition(b":")
                yield from (*_text(host or door), *_text(port if host else b""))


def _text(value: bytes) -> Iterator[str]:
    text = value.decode(errors="replace").strip()
    if len(text) >= MIN_SECRET and text not in _EXAMPLES:
        yield text


def _broken(body: Json, previous: Json | None, secrets: Set[str]) -> list[str]:
    rules = violations if body["kind"] == names.KIND else server_violations
    return [*rules(body, previous, secrets), *disagreements(body)]


def _told(body: Json, where: str, secrets: Mapping[tuple[str, str], Set[str]]) -> Set[str]:
    """Return what may not stand in a status: of the Secrets beside it, or of all where it is about those of others."""
    spec, namespace = body.get("spec", {}), body["metadata"].get("namespace")
    own = namespace is not None and "serverRef" not in spec.get("connection", {})
    found = {
        text
        for place, texts in secrets.items()
        if place == (where, namespace) or (not own and place[0] == where)
        for text in texts
    }
    written = json.dumps(spec)
    return {each for each in found if each not in written} - _names(body)


def _called(body: Json) -> str:
    return "/".join(filter(None, (body["metadata"].get("namespace"), body["metadata"]["name"])))


def _names(body: Json) -> set[str]:
    """Return the names that may be shown although a Secret holds the same word."""
    status, metadata = body.get("status", {}), body["metadata"]
    return {
        str(each) for each in (status.get("database"), status.get("user"), metadata["name"], metadata.get("namespace"))
    }


def _keep(folder: Path, body: Json, ready: Json, conditions: list[Json]) -> None:
    """Write a version to the folder, unless one like it is there."""
    metadata = body["metadata"]
    abnormal = next((each for each in conditions if each["type"] in ("Reconciling", "Stalled")), {})
    like = [
        [(each["type"], each["status"], each["reason"]) for each in conditions],
        "deletionTimestamp" in metadata,
        body.get("spec", {}).get("suspend", False),
        metadata["generation"] - ready.get("observedGeneration", 0),
    ]
    digest = hashlib.sha256(json.dumps(like).encode()).hexdigest()[:8]
    words = (ready.get("reason", "New"), abnormal.get("type", ""), abnormal.get("reason", ""), digest)
    path = folder / ("-".join(dict.fromkeys(filter(None, words))) + ".yaml")
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    shown = {**body, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}
    path.write_text(yaml.safe_dump(shown, sort_keys=False))


def _shown(body: Json, previous: Json | None) -> str:
    versions = [("before", previous), ("after", body)]
    return "\n".join(
        f"  {word}: generation {each['metadata'].get('generation')}, {json.dumps(each.get('status'))}"
        for word, each in versions
        if each is not None
    )
