"""Whether kubeconfigs can be used, looked at before the client's own reader is: that one speaks of keys of Python, and
quotes what it reads, credentials too."""

import base64
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from cipher_operator.api.printable import printable
from cipher_operator.kube.unreadable import UNREADABLE, unreadable

_SECTIONS = {"contexts": "context", "clusters": "cluster", "users": "user"}
_FILES = {"cluster": ("certificate-authority",), "user": ("client-certificate", "client-key", "tokenFile")}


class Unusable(Exception):
    """A kubeconfig that cannot be used; the text names the file, what is wrong and what to do, and no credentials."""


@dataclass(frozen=True, slots=True)
class Usable:
    """The files that say something, and the context that counts."""

    files: tuple[str, ...]
    context: str


@dataclass(frozen=True, slots=True, repr=False)
class _Entry:
    """A context, cluster or user, and the file that it is in."""

    file: str
    kind: str
    name: str
    body: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.file}: {self.kind} '{printable(self.name)}'"


def usable(paths: str, context: str | None) -> Usable:
    """Return what counts of the files in `paths`, separated as KUBECONFIG separates them, as kubectl has it: of each
    name the first, and the first current context where `context` is None. Raises Unusable."""
    named = [os.path.expanduser(path) for path in paths.split(os.pathsep) if path]
    there = [path for path in named if os.path.exists(path)]
    if not there:
        which = "is not there" if len(named) < 2 else "are not there"
        raise Unusable(f"{', '.join(named)} {which}; set KUBECONFIG to the file of a cluster")
    read = {path: _read(path) for path in there}
    said = {path: config for path, config in read.items() if config}
    if not said:
        raise Unusable(
            f"{', '.join(there)} {'is' if len(there) < 2 else 'are'} empty; set KUBECONFIG to the file of a cluster"
        )
    entries = {section: _entries(said, section) for section in _SECTIONS}
    where = ", ".join(said)
    chosen = _context(where, said, entries["contexts"], context)
    cluster = _named(chosen, "cluster", entries["clusters"])
    if cluster is None:
        raise Unusable(f"{chosen} names no `cluster`; it has {_names(entries['clusters'])}")
    _check_cluster(cluster)
    user = _named(chosen, "user", entries["users"])
    if user is not None:
        _check_files(user)
    return Usable(tuple(said), chosen.name)


def _read(path: str) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(Path(path).read_text())
    except UNREADABLE as error:
        raise Unusable(f"{path} {unreadable(error, instead='name the file')}") from None
    if found is not None and not isinstance(found, Mapping):
        raise Unusable(f"{path} is no kubeconfig: it has no `contexts`, `clusters` and `users`")
    return found or {}


def _entries(said: Mapping[str, Mapping[str, Any]], section: str) -> dict[str, _Entry]:
    """Return the entries of a section by name. Raises Unusable."""
    found: dict[str, _Entry] = {}
    kind = _SECTIONS[section]
    for path, config in said.items():
        listed = config.get(section) or []
        if not isinstance(listed, list) or not all(isinstance(each, Mapping) and each.get("name") for each in listed):
            raise Unusable(f"{path}: `{section}` must be a list of objects, each with a `name`")
        for each in listed:
            body = each.get(kind) or {}
            if not isinstance(body, Mapping):
                raise Unusable(f"{path}: `{section}`: '{printable(each['name'])}': `{kind}` must be an object")
            found.setdefault(str(each["name"]), _Entry(path, kind, str(each["name"]), body))
    return found


def _context(
    where: str, said: Mapping[str, Mapping[str, Any]], contexts: Mapping[str, _Entry], asked: str | None
) -> _Entry:
    wanted = asked or next(filter(None, (config.get("current-context") for config in said.values())), None)
    there = f"it has {_names(contexts)}"
    if not contexts:
        raise Unusable(f"{where} has no context; set KUBECONFIG to the file of a cluster")
    if wanted is None:
        raise Unusable(f"{where} has no current context; choose one with `kubectl config use-context`: {there}")
    if str(wanted) not in contexts:
        what = "context" if asked is not None else "current context"
        raise Unusable(f"{where}: {what} '{printable(wanted)}' cannot be used: there is none of that name; {there}")
    return contexts[str(wanted)]


def _named(context: _Entry, kind: str, entries: Mapping[str, _Entry]) -> _Entry | None:
    """Return the cluster or user that a context names, None where it names none. Raises Unusable."""
    name = context.body.get(kind)
    if not name:
        return None
    if str(name) not in entries:
        raise Unusable(f"{context} names {kind} '{printable(name)}', which is not there; it has {_names(entries)}")
    return entries[str(name)]


def _check_cluster(cluster: _Entry) -> None:
    server = cluster.body.get("server")
    if not server:
        raise Unusable(f"{cluster} has no `server`, the URL of the API server")
    try:
        url = urlsplit(str(server))
        fits = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise Unusable(f"{cluster}: `server` is no URL; it looks like https://HOST:6443")
    _check_files(cluster)


def _check_files(entry: _Entry) -> None:
    """Raise Unusable where a file that an entry names cannot be read, or what stands in its place is no base64."""
    for field in _FILES[entry.kind]:
        data = entry.body.get(f"{field}-data")
        if data:
            try:
                base64.b64decode("".join(str(data).split()), validate=True)
            except ValueError:
                raise Unusable(f"{entry}: `{field}-data` is not base64") from None
        elif named := entry.body.get(field):
            path = Path(entry.file).resolve().parent / str(named)
            try:
                path.read_bytes()
            except OSError as error:
                raise Unusable(f"{entry}: `{field}` {printable(path)} cannot be read: {error.strerror}") from None


def _names(entries: Iterable[str]) -> str:
    return ", ".join(printable(name) for name in entries) or "none"
