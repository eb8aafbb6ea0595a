"""Kubeconfig files, and the few calls to the API server that need no kubectl."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import select
import socket
import ssl
import tempfile
import threading
import urllib.error
import weakref
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml


def write_kubeconfig(path: Path, *, url: str, ca_pem: bytes, token: str, user: str, namespace: str = "default") -> Path:
    """Write a self-contained kubeconfig, readable by its owner only, and return its path."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "dev",
                "cluster": {"server": url, "certificate-authority-data": base64.b64encode(ca_pem).decode()},
            }
        ],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "dev", "context": {"cluster": "dev", "user": user, "namespace": namespace}}],
        "current-context": "dev",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w") as file:
        yaml.safe_dump(content, file, sort_keys=False)
    os.replace(scratch, path)
    return path


def _ended(connection: socket.socket) -> bool:
    """Return whether the other side has closed a connection on which no answer is due."""
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    return bool(waiting.poll(0))


class ApiClient:
    """Plain HTTPS requests to one API server with one token. Safe to use from any thread.

    One connection per thread stays open: a test that waits for something asks often, and a handshake is half of the
    work of a request.
    """

    def __init__(self, url: str, ca_pem: bytes, token: str) -> None:
        self._url = url
        self._door = urlsplit(url)
        self._token = token
        self._tls = ssl.create_default_context(cadata=ca_pem.decode())
        self._kept = threading.local()

    def request(self, method: str, path: str, body: dict[str, Any] | None = None, *, timeout: float = 10.0) -> bytes:
        """Return the body of the answer; raises urllib.error.HTTPError for an answer of 400 or above, OSError for none.

        A PATCH is a JSON merge patch. `timeout` is in seconds.
        """
        kept: http.client.HTTPSConnection | None = getattr(self._kept, "connection", None)
        if kept is not None and kept.sock is not None and not _ended(kept.sock):
            kept.sock.settimeout(timeout)
            try:
                return self._ask(kept, method, path, body)
            except (http.client.BadStatusLine, ConnectionError):
                # The server has gone meanwhile. What was to be written may have been; to read again harms nobody.
                kept.close()
                if method != "GET":
                    raise
        kept = self._kept.connection = self._connection(timeout)
        weakref.finalize(self, kept.close)
        return self._ask(kept, method, path, body)

    def _connection(self, timeout: float) -> http.client.HTTPSConnection:
        assert self._door.hostname is not None
        return http.client.HTTPSConnection(self._door.hostname, self._door.port, timeout=timeout, context=self._tls)

    def _ask(
        self, connection: http.client.HTTPSConnection, method: str, path: str, body: dict[str, Any] | None
    ) -> bytes:
        content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
        # The API server names the manager of a field after the User-Agent.
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": content_type, "User-Agent": "test-client"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
            answer = connection.getresponse()
            content = answer.read()
        except BaseException as error:
            connection.close()
            if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):
                raise ConnectionError(f"the API server's answer broke off: {error!r}") from error
            raise
        if answer.status >= 400:
            raise urllib.error.HTTPError(
                self._url + path, answer.status, answer.reason, answer.headers, io.BytesIO(content)
            )
        return content

    def service_account_token(self, namespace: str, name: str, *, seconds: int) -> str:
        """Return a token of that ServiceAccount, valid for that many seconds (TokenRequest API)."""
        answer = self.request(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"expirationSeconds": seconds},
            },
        )
        token: str = json.loads(answer)["status"]["token"]
        return token
