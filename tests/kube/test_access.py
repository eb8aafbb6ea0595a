"""Where the cluster is found, and tokens that change."""

import json
from pathlib import Path

import pytest
import yaml

from cipher_operator.kube import access as module
from cipher_operator.kube.access import AccessError, in_cluster, load_access
from cipher_operator.kube.client import KubeClient
from cipher_operator.kube.port import ApiError
from devcluster import ControlPlane

IN_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.fixture
def account(tmp_path: Path, plane: ControlPlane) -> Path:
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "namespace").write_text("cipher-system")
    (tmp_path / "ca.crt").write_bytes(plane.ca.read_bytes())
    return tmp_path


async def test_a_pod_uses_its_service_account_even_with_a_kubeconfig(account: Path) -> None:
    assert in_cluster(IN_POD, account)
    access = await load_access({**IN_POD, "KUBECONFIG": "/nonexistent"}, account)
    assert (access.server, access.namespace) == ("https://10.0.0.1:443", "cipher-system")
    assert await access.authorization() == "Bearer first"


async def test_a_token_file_is_read_again_after_a_minute_or_when_the_server_refuses_it(
    account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = await load_access(IN_POD, account)
    (account / "token").write_text("second")
    assert await access.authorization() == "Bearer first"
    access.expire()
    assert await access.authorization() == "Bearer second"
    (account / "token").write_text("third")
    monkeypatch.setattr(module, "TOKEN_SECONDS", 0.0)
    assert await access.authorization() == "Bearer third"


async def test_a_token_file_that_is_away_for_a_moment_leaves_the_last_token(account: Path) -> None:
    access = await load_access(IN_POD, account)
    (account / "token").unlink()
    access.expire()
    assert await access.authorization() == "Bearer first"


async def test_a_rotated_token_is_used_at_the_next_request_after_a_refusal(tmp_path: Path, plane: ControlPlane) -> None:
    config = yaml.safe_load(plane.kubeconfig.read_text())
    (tmp_path / "token").write_text("expired")
    config["users"][0]["user"] = {"tokenFile": "token"}
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    async with KubeClient(await load_access({"KUBECONFIG": str(tmp_path / "config")})) as kube:
        with pytest.raises(ApiError, match="401 Unauthorized"):
            await kube.get("/version/..")
        (tmp_path / "token").write_text(plane.token)
        assert (await kube.get("/api/v1/namespaces/kube-system"))["kind"] == "Namespace"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "none of the files in KUBECONFIG exists", id="no file"),
        pytest.param("{a: [token: s3cr3t", "cannot be used", id="not YAML"),
        pytest.param("apiVersion: v1\nkind: Config\n", "cannot be used", id="no context"),
        pytest.param("- s3cr3t\n", "cannot be used", id="a list"),
    ],
)
async def test_a_kubeconfig_that_cannot_be_used(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)
    with pytest.raises(AccessError, match=said) as raised:
        await load_access({"KUBECONFIG": str(path)})
    assert "s3cr3t" not in str(raised.value)


async def test_a_context_that_is_not_there_is_said_with_those_that_are(tmp_path: Path, plane: ControlPlane) -> None:
    config = yaml.safe_load(plane.kubeconfig.read_text())
    config["contexts"].append({"name": "other", "context": config["contexts"][0]["context"]})
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(AccessError, match="cannot be used: there is none of that name; it has dev, other"):
        await load_access({"KUBECONFIG": str(path)}, context="prod")
    path.write_text(yaml.safe_dump({key: value for key, value in config.items() if key != "current-context"}))
    with pytest.raises(
        AccessError, match="it has no current context; choose one with `kubectl config use-context`: it has dev, other"
    ):
        await load_access({"KUBECONFIG": str(path)})
    assert (await load_access({"KUBECONFIG": str(path)}, context="other")).server == plane.url


async def test_a_login_plugin_that_fails_later_leaves_the_last_token(tmp_path: Path, plane: ControlPlane) -> None:
    config = yaml.safe_load(plane.kubeconfig.read_text())
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "first"}}
    (tmp_path / "answer").write_text(json.dumps(answer))
    plugin = {"apiVersion": answer["apiVersion"], "command": "cat", "args": [str(tmp_path / "answer")]}
    config["users"][0]["user"] = {"exec": plugin}
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config))
    access = await load_access({"KUBECONFIG": str(path)})
    (tmp_path / "answer").unlink()
    access.expire()
    assert await access.authorization() == "Bearer first"
    with pytest.raises(AccessError, match="login plugin 'cat' gave no login"):
        await load_access({"KUBECONFIG": str(path)})


async def test_the_access_shows_nothing_of_itself(account: Path) -> None:
    assert repr(await load_access(IN_POD, account)) == "Access(***)"
