"""Public CAs for a test: the machine's own, and the test's CA beside them, as if it were one of them."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import certifi
import psycopg

from cipher_operator.core.secret import PUBLIC_CA_BUNDLE
from support import node_pg


def public_roots(path: Path, *more: Path) -> Path:
    """Write a bundle of the public CAs and those in `more`; return its path."""
    public = next(each for each in (Path(PUBLIC_CA_BUNDLE), Path(certifi.where())) if each.is_file())
    path.write_bytes(b"".join(each.read_bytes() + b"\n" for each in (public, *more)))
    assert len(ssl.create_default_context(cafile=path).get_ca_certs()) > 20 + len(more)
    return path


def open_both(published: Mapping[str, str], roots: Path) -> dict[str, Any]:
    """Open both published URLs in pods whose public CAs are that bundle: the database and whether it is encrypted, or
    the error, by client.

    The bundle stands in for the file at PUBLIC_CA_BUNDLE in libpq's image; Node has its own CAs and adds to them.
    """
    result: dict[str, Any] = {}
    try:
        with psycopg.connect(published["uri"].replace(PUBLIC_CA_BUNDLE, str(roots)), connect_timeout=10) as connection:
            result["libpq"] = connection.info.dbname, connection.pgconn.ssl_in_use
    except psycopg.Error as error:
        result["libpq"] = str(error)
    node_url = published["CIPHER_PG_URL"].replace(PUBLIC_CA_BUNDLE, str(roots))
    opened = node_pg.open_all({"app": node_url}, env={"NODE_EXTRA_CA_CERTS": str(roots)})
    for (version, _), each in opened.items():
        # Node is told no CA at all: that it verifies is what the refusals show.
        result[f"node-pg {version}"] = each.get("error") or (each["database"], True)
    return result
