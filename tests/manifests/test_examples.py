"""manifests/examples: each applies on the real API server, and says nothing that is not so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cipher_operator.api.names import KEY_HOST, KEY_PASSWORD, KEY_URL, KEY_USER
from cipher_operator.api.spec import Spec, SSLMode, UserMode, parse_spec
from cipher_operator.core.connection.admin import AdminConnection, Password, read_admin_connection
from devcluster import ControlPlane
from manifests.manifest_files import EXAMPLES, PLATFORM, documents
from support.certificates import certificate_of_shape
from support.secret_shapes import SHAPES, Login

WITH_SECRET = [path for path in EXAMPLES if documents(path.read_text())[0]["kind"] == "Secret"]
WITHOUT_SECRET = [path for path in EXAMPLES if path not in WITH_SECRET]
"""Those whose Secret another tool writes."""
_by_stem = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
_by_stem_of_all = pytest.mark.parametrize("path", [*EXAMPLES, PLATFORM], ids=lambda path: path.stem)


def storage(path: Path) -> Spec:
    found = documents(path.read_text())[-1]
    return parse_spec("default", found["metadata"]["name"], found["spec"])


def read(data: dict[str, bytes], spec: Spec) -> AdminConnection:
    ca = certificate_of_shape(200) if spec.connection.ca is not None else None
    return read_admin_connection(data, spec.connection, ca)


def test_there_is_one_for_each_provider_and_tool() -> None:
    assert [path.stem for path in WITH_SECRET] == ["cloudsql", "heroku", "local", "neon", "rds", "supabase"]
    assert [path.stem for path in WITHOUT_SECRET] == [
        *("cnpg", "crossplane", "crunchy", "rds-managed", "vault", "zalando")
    ]


@_by_stem_of_all
def test_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 45


@_by_stem
def test_applies(installed: ControlPlane, namespace: str, path: Path) -> None:
    installed.kubectl("apply", "-n", namespace, "-f", str(path))
    installed.kubectl("apply", "-n", namespace, "-f", str(path))
    (stored,) = json.loads(installed.kubectl("get", "cstore", "-n", namespace, "-o", "json"))["items"]
    assert stored["metadata"]["generation"] == 1, "applying the same again must not be a change"


@pytest.mark.parametrize("path", WITH_SECRET, ids=lambda path: path.stem)
def test_the_storage_names_the_secret_and_key_beside_it(path: Path) -> None:
    secret, _ = documents(path.read_text())
    spec = storage(path)
    assert spec.connection.secret_name == secret["metadata"]["name"]
    assert spec.connection.keys.url in secret["stringData"] or KEY_HOST in secret["stringData"]
    assert "PASSWORD" in "".join(secret["stringData"].values())


@pytest.mark.parametrize("path", WITH_SECRET, ids=lambda path: path.stem)
def test_the_secret_beside_it_is_read(path: Path) -> None:
    secret: dict[str, Any] = documents(path.read_text())[0]
    admin = read({key: value.encode() for key, value in secret["stringData"].items()}, storage(path))
    assert admin.password == Password("PASSWORD")
    assert admin.warnings == ()


@pytest.mark.parametrize("path", WITHOUT_SECRET, ids=lambda path: path.stem)
def test_the_secret_that_the_tool_writes_is_read(path: Path) -> None:
    spec = storage(path)
    # Where the spec names the host, the tool's Secret has none.
    login = Login(host=spec.connection.host or "db.namespace.svc", port=5432)
    admin = read(dict(SHAPES[path.stem](login)), spec)
    assert (admin.host, admin.port, admin.user) == (login.host, 5432, login.user)
    assert (admin.password, admin.warnings) == (Password(login.password), ())
    # A database of the tool's must not become the storage's by accident.
    assert spec.database.name == "cipher_db"


@pytest.mark.parametrize("path", WITHOUT_SECRET, ids=lambda path: path.stem)
def test_the_comment_names_the_secret(path: Path) -> None:
    name = storage(path).connection.secret_name
    comment = "".join(line for line in path.read_text().splitlines() if line.startswith("#"))
    assert name in comment or name.startswith("postgres.acid-minimal-cluster.") or f"name: {name}" in comment


@_by_stem
def test_a_ca_has_a_path_for_pods_and_the_bundle_is_no_clouds_whole_one(path: Path) -> None:
    spec = storage(path)
    assert spec.connection.ca is None or spec.app.ca_path == "/etc/cipher/ca.crt"
    assert "global-bundle" not in path.read_text()


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
        ("neon", lambda spec: spec.interval == 0 and not spec.database.create),
        ("cnpg", lambda spec: spec.connection.keys.url == "fqdn-uri" and spec.connection.ca.name == "pg-ca"),
        ("zalando", lambda spec: spec.connection.host and spec.connection.ssl_mode is SSLMode.REQUIRE),
    ],
    ids=[
        "rds verifies",
        "cloudsql verifies the chain",
        "supabase keeps out of public",
        "heroku shares its login",
        "neon may sleep",
        "cnpg is found from the operator's namespace",
        "zalando's certificates cannot be verified",
    ],
)
def test_shows_what_the_provider_needs(name: str, fact: Callable[[Spec], object]) -> None:
    path = next(each for each in EXAMPLES if each.stem == name)
    assert fact(storage(path))


def test_the_platforms_example_applies_and_its_parts_name_each_other(installed: ControlPlane) -> None:
    for _ in range(2):
        installed.kubectl("apply", "-f", str(PLATFORM))
    try:
        secret, server, namespace, storage = documents(PLATFORM.read_text())
        connection = server["spec"]["connection"]
        assert connection["secretRef"]["name"] == secret["metadata"]["name"]
        assert secret["metadata"]["namespace"] == "cipher-system"
        assert {*secret["stringData"]} == {KEY_USER, KEY_PASSWORD}
        assert f"configmap {connection['caRef']['name']} -n cipher-system" in PLATFORM.read_text()
        wanted = server["spec"]["allowedNamespaces"]["selector"]["matchLabels"]
        assert wanted.items() <= namespace["metadata"]["labels"].items()
        assert storage["metadata"]["namespace"] == namespace["metadata"]["name"]
        assert storage["spec"]["connection"] == {"serverRef": {"name": server["metadata"]["name"]}}
        for kind, name in (("cserver", server["metadata"]["name"]), ("cstore", storage["metadata"]["name"])):
            stored = json.loads(installed.kubectl("get", kind, name, "-n", "shop", "-o", "json"))
            assert stored["metadata"]["generation"] == 1, "applying the same again must not be a change"
    finally:
        # Other tests have a namespace of that name, too: until it is gone.
        installed.kubectl("delete", "-f", str(PLATFORM), "--timeout=60s")
