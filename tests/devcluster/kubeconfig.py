"""Kubeconfig files, and the few calls to the API server that need no kubectl."""

from __future__ import annotations

import base64
import json
import os
import ssl
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

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


class ApiClient:
    """Plain HTTPS requests to one API server with one token."""

    def __init__(self, url: str, ca_pem: bytes, token: str) -> None:
        self._url = url
        self._token = token
        self._tls = ssl.create_default_context(cadata=ca_pem.decode())
        # A proxy set for the machine's way out must not be asked for an address on loopback.
        self._open = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._tls)
        )

    def request(self, method: str, path: str, body: dict[str, Any] | None = None, *, timeout: float = 10.0) -> bytes:
        """Return the body of the answer; raises urllib.error.HTTPError for an answer of 400 or above, OSError for none.

        A PATCH is a JSON merge patch. `timeout` is in seconds.
        """
        content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": content_type},
        )
        with self._open.open(request, timeout=timeout) as answer:
            content: bytes = answer.read()
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
