"""Every version of what an API server stores, in order and without a gap: read from its etcd.

A watch on the API server may begin too late after an outage of that server, and then skips versions; etcd itself keeps
all of them for minutes.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Stored:
    """One write: `key` without `/registry/`, `value` as stored, None for a deletion."""

    key: str
    revision: int
    value: bytes | None


class Follower:
    """Calls `each` with every write below a prefix (`storage.cipher.dev/cipherstorages`), from a thread of its own.

    It begins with what is there. `error` is why it ended before it was closed, None while it is well.
    """

    def __init__(self, etcd_url: str, prefix: str, each: Callable[[Stored], None]) -> None:
        self._door = urlsplit(etcd_url)
        self._start, self._mark = f"/registry/{prefix}/", f"/registry/{prefix}0mark"
        # Behind all names below the prefix, and before the mark's: no API server watches up to there.
        self._end = f"/registry/{prefix}1"
        self._each = each
        self._marks, self._marked = 0, threading.Condition()
        self._closed = False
        self.error: str | None = None
        found = self._ask("/v3/kv/range", {"key": _text(self._start), "range_end": _text(self._end)})
        self._revision = int(found["header"]["revision"])
        for pair in sorted(found.get("kvs", ()), key=lambda pair: int(pair["mod_revision"])):
            self._take({"kv": pair})
        self._thread = threading.Thread(target=self._follow, name=f"follow {prefix}", daemon=True)
        self._thread.start()

    def catch_up(self, timeout: float = 60.0) -> None:
        """Return when everything that was written before this call has been given; AssertionError after `timeout` s."""
        with self._marked:
            wanted = self._marks + 1
            self._ask("/v3/kv/put", {"key": _text(self._mark), "value": _text(str(wanted))})
            self._marked.wait_for(lambda: self._marks >= wanted or self.error is not None, timeout)
            assert self._marks >= wanted, self.error or f"etcd did not give what was written within {timeout:g} s"

    def close(self) -> None:
        """End it; harmless where it has ended."""
        self._closed = True

    def _follow(self) -> None:
        while not self._closed:
            # A connection that breaks loses nothing: the next begins behind the last revision.
            with contextlib.suppress(OSError, http.client.HTTPException):
                for answer in self._watch():
                    for event in answer.get("events", ()):
                        try:
                            self._take(event)
                        except Exception:
                            # Whoever waits is told what it was, and does not wait for what will not come.
                            self._give_up(f"what was given could not be taken:\n{traceback.format_exc()}")
                            return
                    if answer.get("canceled"):
                        self._give_up(f"etcd gave up the watch: {answer.get('cancel_reason', '')}, {answer}")
                        return
            time.sleep(_PAUSE_SECONDS)

    def _give_up(self, why: str) -> None:
        with self._marked:
            self.error = why
            self._marked.notify_all()

    def _take(self, event: dict[str, Any]) -> None:
        pair = event["kv"]
        key, self._revision = base64.b64decode(pair["key"]).decode(), int(pair["mod_revision"])
        if key == self._mark:
            with self._marked:
                self._marks += 1
                self._marked.notify_all()
            return
        value = None if event.get("type") == "DELETE" else base64.b64decode(pair.get("value", ""))
        self._each(Stored(key.removeprefix("/registry/"), self._revision, value))

    def _watch(self) -> Iterator[dict[str, Any]]:
        wanted = {"key": _text(self._start), "range_end": _text(self._end), "start_revision": self._revision + 1}
        with contextlib.closing(self._connection(timeout=None)) as connection:
            connection.request("POST", "/v3/watch", json.dumps({"create_request": wanted}))
            for line in connection.getresponse():
                yield json.loads(line)["result"]

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with contextlib.closing(self._connection(timeout=20.0)) as connection:
            connection.request("POST", path, json.dumps(body))
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer

    def _connection(self, timeout: float | None) -> http.client.HTTPConnection:
        assert self._door.hostname is not None
        return http.client.HTTPConnection(self._door.hostname, self._door.port, timeout=timeout)


def secret_data(value: bytes) -> dict[str, bytes]:
    """Return the content of a Secret as etcd stores it: protobuf behind a magic word, the Secret inside an envelope.

    Source: k8s.io/api/core/v1 generated.proto (Secret.data = 2), runtime.Unknown (raw = 2).
    """
    data = {}
    for number, raw in _fields(value.removeprefix(b"k8s\0")):
        if number == 2:
            for inner, entry in _fields(raw):
                if inner == 2:
                    pair = dict(_fields(entry))
                    data[pair.get(1, b"").decode()] = pair.get(2, b"")
    return data


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of a protobuf message's fields that have a length."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 2:
            size, at = _varint(message, at)
            yield tag >> 3, message[at : at + size]
            at += size
        elif kind == 0:
            _, at = _varint(message, at)
        else:
            at += {1: 8, 5: 4}[kind]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _text(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
