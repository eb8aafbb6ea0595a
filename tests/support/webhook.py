"""An admission webhook, as Kyverno and Gatekeeper are: HTTPS on loopback, asked by the API server about Secrets."""

import base64
import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from devcluster import ControlPlane
from devcluster.tls import TlsFixture

Judge = Callable[[dict[str, Any]], str]
"""Takes the object of a request; returns why it is refused, empty where it is not."""


class Webhook:
    """Serves from enter to exit; `register` lets the API server ask it about every Secret of one namespace."""

    def __init__(self, plane: ControlPlane, tls: TlsFixture, judge: Judge) -> None:
        self._plane, self._ca = plane, tls.ca.read_bytes()
        self.name = ""

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                request = review["request"]
                refusal = judge(request["object"])
                review["response"] = {"uid": request["uid"], "allowed": not refusal}
                if refusal:
                    review["response"]["status"] = {"message": refusal}
                body = json.dumps(review).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.name:
            self._plane.kubectl("delete", "validatingwebhookconfiguration", self.name, "--ignore-not-found")
        self.close()

    def close(self) -> None:
        """Serve no more; what is registered stays, and the API server finds nobody there."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(10)

    def register(self, namespace: str) -> None:
        """Register it for Secrets; `name` is how the API server then calls it."""
        self.name = f"secrets.{namespace}.example.com"
        webhook = {
            "name": self.name,
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 5,
            "clientConfig": {
                "url": f"https://127.0.0.1:{self._server.server_address[1]}/",
                "caBundle": base64.b64encode(self._ca).decode(),
            },
            "rules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["secrets"]}
            ],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        }
        body = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": self.name},
            "webhooks": [webhook],
        }
        self._plane.kubectl("apply", "-f", "-", input=json.dumps(body))
