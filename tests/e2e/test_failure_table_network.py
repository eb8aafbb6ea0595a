"""The failure table, on the way to the server: address, network, TLS."""

import contextlib
import socketserver
import threading
from collections.abc import Generator
from functools import partial

import pytest

from cipher_operator.api.reasons import Reason
from support.failure_table import Record, Scene, Table
from support.faulty_servers import Kind
from support.played_rows import Outcome

row = Table()


@pytest.fixture(scope="module")
def operator_flags() -> tuple[str, ...]:
    return ("--interval", "1h", "--connect-timeout", "2s", "--blocked-ranges", "127.66.0.0/16")


@row("refused", Reason.CONNECTION_REFUSED, "Start PostgreSQL")
def refused(scene: Scene) -> Generator[None]:
    scene.alone("breakable")
    scene.ready()
    scene.server.stop()
    scene.ask()
    yield
    scene.server.start()


@row("refused at the first apply", Reason.CONNECTION_REFUSED, "Start PostgreSQL")
def refused_at_first(scene: Scene) -> Generator[None]:
    scene.alone("breakable")
    scene.secret()
    scene.server.stop()
    scene.create()
    yield
    scene.server.start()


@row("another port", Reason.CONNECTION_REFUSED, "host and port")
def another_port(scene: Scene) -> Generator[None]:
    proxy = scene.proxy()
    proxy.close()
    scene.secret(port=proxy.port)
    scene.create()
    yield
    scene.secret()


@row("no such host", Reason.DNS_FAILURE, "Correct the host")
def no_such_host(scene: Scene) -> Generator[None]:
    scene.secret(host="no-such-host.invalid")
    scene.create()
    yield
    scene.secret()


@row("blocked address", Reason.BLOCKED_ADDRESS, "--blocked-ranges")
def blocked(scene: Scene) -> Generator[None]:
    scene.secret(host="127.66.0.1")
    scene.create()
    yield
    scene.secret()


@row("frozen server", Reason.CONNECT_TIMEOUT, "Open the way")
def frozen(scene: Scene) -> Generator[None]:
    scene.alone("breakable")
    scene.ready()
    scene.server.freeze()
    scene.ask()
    yield
    scene.server.thaw()


def through_a_proxy(scene: Scene, fault: str) -> Generator[None]:
    proxy = scene.proxy()
    scene.ready(port=proxy.port)
    proxy.mode = fault  # type: ignore[assignment]
    scene.ask()
    yield
    proxy.mode = "forward"


row("black hole", Reason.CONNECT_TIMEOUT, "Open the way")(partial(through_a_proxy, fault="black-hole"))
row("half open", Reason.CONNECT_TIMEOUT, "Open the way")(partial(through_a_proxy, fault="half-open"))
row("reset", Reason.DISCONNECTED, "look at its log")(partial(through_a_proxy, fault="reset"))


class Saying(socketserver.BaseRequestHandler):
    says = b""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.request.recv(4096)
            self.request.sendall(self.says)


def something_else(scene: Scene, says: bytes, mode: str = "disable") -> Generator[None]:
    handler = type("Handler", (Saying,), {"says": says})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as other:
        threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        scene.secret(port=other.server_address[1], sslmode=mode)
        scene.create()
        yield
        scene.secret()
        other.shutdown()


HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
row("HTTP server", Reason.NOT_POSTGRES, "host and port")(partial(something_else, says=HTTP))
row("HTTP server, with TLS", Reason.NOT_POSTGRES, "host and port")(partial(something_else, says=HTTP, mode="require"))
row("SMTP server", Reason.NOT_POSTGRES, "host and port")(partial(something_else, says=b"220 mail ESMTP\r\n"))
row("hangs up", Reason.DISCONNECTED, "look at its log")(partial(something_else, says=b""))


def tls(scene: Scene, kind: Kind, mode: str, mend: str, ca: str | None = None) -> Generator[None]:
    """`ca` says which CA is in the ConfigMap, `mend` which one helps, or which sslMode, or a new certificate."""
    renewed = mend == "new certificate"
    server = scene.alone(kind) if renewed else scene.on(scene.servers(kind))
    authority = scene.servers.authority
    texts = {
        "good": authority.certificate.read_text(),
        "other": scene.servers.another_authority.certificate.read_text(),
        "no PEM": "the CA is in the other file\n",
        "broken PEM": "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n",
        "itself": server.tls.certificate.read_text() if server.tls else "",
    }
    scene.secret(host="localhost", sslmode="prefer")
    connection = {"secretRef": {"name": "pg-admin"}, "sslMode": mode}
    if ca is None:
        scene.create({"connection": connection})
    else:
        scene.write_ca(texts[ca])
        connection |= {"caRef": {"kind": "ConfigMap", "name": "pg-ca"}}
        scene.create({"connection": connection, "app": {"caPath": "/etc/cipher/ca.crt"}})
    yield
    if mend in texts:
        scene.write_ca(texts[mend])
    elif renewed:
        server.tls = scene.servers.good_certificate()
        server.restart()
        scene.ask()
    else:
        scene.patch(connection={"sslMode": mend})


UNTRUSTED, MISMATCH = Reason.TLS_UNTRUSTED, Reason.TLS_HOSTNAME_MISMATCH
NONE, REQUIRED = Reason.TLS_NOT_SUPPORTED, Reason.TLS_REQUIRED
for case, reason, words, kind, mode, ca, mend in (
    ("self-signed", UNTRUSTED, "spec.connection.caRef", "self-signed", "verify-full", "good", "itself"),
    ("CA of somebody else", UNTRUSTED, "not the one in", "shared", "verify-full", "other", "good"),
    ("public CAs only", UNTRUSTED, "spec.connection.caRef", "shared", "verify-full", None, "require"),
    ("no CA in the object", UNTRUSTED, "BEGIN CERTIFICATE", "shared", "verify-ca", "no PEM", "good"),
    ("no certificate in the PEM", UNTRUSTED, "caRef", "shared", "verify-ca", "broken PEM", "good"),
    ("another name", MISMATCH, "verify-ca", "another name", "verify-full", "good", "verify-ca"),
    ("Cloud SQL", MISMATCH, "verify-ca", "cloud sql", "verify-full", "good", "verify-ca"),
    ("server without TLS", NONE, "sslMode: disable", "plain", "require", None, "disable"),
    ("server without TLS, preferred", NONE, "sslMode: disable", "plain", "require", None, "prefer"),
):
    row(case, reason, words)(partial(tls, kind=kind, mode=mode, ca=ca, mend=mend))  # type: ignore[arg-type]
row("expired certificate", UNTRUSTED, "expired")(
    partial(tls, kind="expired", mode="verify-full", ca="good", mend="new certificate")
)
row("server that insists on TLS", REQUIRED, "sslMode: require", sqlstate="28000")(
    partial(tls, kind="TLS only", mode="disable", mend="require")
)


@pytest.mark.parametrize("case", list(row.rows))
def test_named_within_seconds_and_mended_without_a_restart(
    outcomes: dict[str, Outcome], record_property: Record, case: str
) -> None:
    outcomes[case].tell(record_property)
