"""Where libpq finds certificates, and nothing else: no file under HOME ever counts."""

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason

NO_FILE = f"{os.devnull}/none"
"""A path that cannot exist: libpq falls back to HOME for an empty one, and refuses an empty file."""

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


def system_bundle() -> str:
    """Return the path of the system's public CAs. Raises Failure(TLS_UNTRUSTED) where the machine has none."""
    paths = ssl.get_default_verify_paths()
    for candidate in (paths.cafile, *_BUNDLES, _certifi()):
        if candidate and Path(candidate).is_file() and Path(candidate).stat().st_size > 0:
            return candidate
    raise Failure(
        Reason.TLS_UNTRUSTED,
        "The operator's machine has no bundle of public CAs to verify the server with. "
        "Put the server's CA into a Secret or ConfigMap and name it in `spec.connection.caRef`.",
        stage=ConditionType.CONNECTED,
    )


@contextlib.contextmanager
def certificate_file(pem: str | None) -> Iterator[str]:
    """Give the path of a private file with the CA, gone on leaving; the system's bundle for None.

    In memory where the kernel can (no disk, works with a read-only root), else a 0600 temporary file.
    """
    if pem is None:
        yield system_bundle()
        return
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        descriptor = os.memfd_create("ca", os.MFD_CLOEXEC)
        path = f"/proc/self/fd/{descriptor}"
    else:
        descriptor, path = tempfile.mkstemp(prefix="ca-", suffix=".crt")
    try:
        with open(descriptor, "w", encoding="ascii", closefd=False) as file:
            file.write(pem)
        yield path
    finally:
        os.close(descriptor)
        if not path.startswith("/proc/"):
            Path(path).unlink(missing_ok=True)


def _certifi() -> str | None:
    try:
        return str(import_module("certifi").where())
    except ImportError:
        return None
