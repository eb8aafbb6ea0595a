"""manifests/examples: each applies on the real API server, and says nothing that is not so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cipher_operator.api.names import KEY_HOST, KEY_URL
from cipher_operator.api.spec import Spec, SSLMode, UserMode, parse_spec
from devcluster import ControlPlane
from manifests.manifest_files import EXAMPLES, documents


def test_there_is_one_for_each_provider() -> None:
    assert [path.stem for path in EXAMPLES] == ["cloudsql", "heroku", "local", "rds", "supabase"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_applies(installed: ControlPlane, namespace: str, path: Path) -> None:
    installed.kubectl("apply", "-n", namespace, "-f", str(path))
    installed.kubectl("apply", "-n", namespace, "-f", str(path))
    (stored,) = json.loads(installed.kubectl("get", "cstore", "-n", namespace, "-o", "json"))["items"]
    assert stored["metadata"]["generation"] == 1, "applying the same again must not be a change"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_storage_names_the_secret_and_key_beside_it(path: Path) -> None:
    secret, storage = documents(path.read_text())
    spec = parse_spec("default", storage["metadata"]["name"], storage["spec"])
    assert spec.connection.secret_name == secret["metadata"]["name"]
    assert spec.connection.keys.url in secret["stringData"] or KEY_HOST in secret["stringData"]
    assert "PASSWORD" in "".join(secret["stringData"].values())


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        (
            "rds",
            lambda spec: spec.connection.ssl_mode is SSLMode.VERIFY_FULL and spec.connection.ca and spec.app.ca_path,
        ),
        ("cloudsql", lambda spec: spec.connection.ssl_mode is SSLMode.VERIFY_CA and spec.app.ca_path),
        ("supabase", lambda spec: spec.schema == "cipher" and not spec.database.create),
        ("heroku", lambda spec: spec.user.mode is UserMode.SHARED and spec.connection.keys.url != KEY_URL),
    ],
    ids=["rds verifies", "cloudsql verifies the chain", "supabase keeps out of public", "heroku shares its login"],
)
def test_shows_what_the_provider_needs(name: str, fact: Callable[[Spec], object]) -> None:
    path = next(each for each in EXAMPLES if each.stem == name)
    _, storage = documents(path.read_text())
    assert fact(parse_spec("default", "chat", storage["spec"]))
