"""The published binaries, from a server on loopback that plays the publisher."""

from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import published


def _archive() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as bundle:
        for name in ("etcd", "kube-apiserver", "kubectl"):
            member = tarfile.TarInfo(f"controller-tools/envtest/{name}")
            member.size = len(name)
            bundle.addfile(member, io.BytesIO(name.encode()))
    return content.getvalue()


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """What the publisher serves, by path; a test may change it."""
    served: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            while self.path in served and served[self.path] == b"hang":
                time.sleep(0.05)
            body = served.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    archive, manager = _archive(), b"manager"
    name = "envtest-v1.36.0-linux-amd64.tar.gz"
    digest = hashlib.sha512(archive).hexdigest()
    index = f"releases:\n  v1.36.0:\n    {name}:\n      hash: {digest}\n      selfLink: {base}/archive\n"
    served |= {"/index": index.encode(), "/archive": archive, "/manager-1.36.0": manager}
    served["/manager-1.36.0.sha512"] = hashlib.sha512(manager).hexdigest().encode() + b"\n"
    monkeypatch.setattr(published, "INDEX_URL", f"{base}/index")
    monkeypatch.setattr(published, "RELEASE_URL", base + "/manager-{version}")
    monkeypatch.setattr(published, "_FIRST_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    yield served
    served.clear()
    server.shutdown()
    server.server_close()


def test_all_four_programs_arrive_executable(pages: dict[str, bytes], tmp_path: Path) -> None:
    published.fetch("1.36.3", tmp_path)
    found = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert found == dict.fromkeys(("etcd", "kube-apiserver", "kube-controller-manager", "kubectl"), 0o755)


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("/archive", b"other", "archive does not match its published checksum"),
        ("/manager-1.36.0", b"other", "manager-1.36.0 does not match its published checksum"),
        ("/index", b"<html>log in to the hotel's network</html>", "TypeError"),
        ("/index", b"hang", "no full answer within 0 s"),
        ("/index", b"releases: {}", "no archive of Kubernetes 1.36"),
    ],
)
def test_anything_unexpected_is_left_to_the_build(
    pages: dict[str, bytes], tmp_path: Path, path: str, content: bytes, said: str
) -> None:
    pages[path] = content
    with pytest.raises(published.NotReachableError, match=said):
        published.fetch("1.36.3", tmp_path)
