"""Where the cluster is found, and tokens that change."""

import base64
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


Config = dict[str, Any]
TOKEN = "s3cr3t"


def _kubeconfig() -> Config:
    """Return a kubeconfig with all that one needs."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": "https://10.0.0.1:6443"}}],
        "users": [{"name": "ann", "user": {"token": TOKEN}}],
        "contexts": [
            {"name": "dev", "context": {"cluster": "here", "user": "ann", "namespace": "team"}},
            {"name": "other", "context": {"cluster": "here", "user": "ann"}},
        ],
        "current-context": "dev",
    }


def _cluster(config: Config, **fields: Any) -> None:
    config["clusters"][0]["cluster"].update(fields)


def _user(config: Config, **fields: Any) -> None:
    config["users"][0]["user"].update(fields)


PEM_OF_NOTHING = base64.b64encode(b"no PEM").decode()
UNUSABLE: dict[str, tuple[Callable[[Config], object], str]] = {
    "no context": (
        lambda config: config.pop("contexts"),
        "FILE has no context; set KUBECONFIG to the file of a cluster",
    ),
    "no current context": (
        lambda config: config.pop("current-context"),
        "FILE has no current context; choose one with `kubectl config use-context`: it has dev, other",
    ),
    "a current context that is none": (
        lambda config: config.update({"current-context": "prod\x1b[2J"}),
        "FILE: current context 'prod [2J' cannot be used: there is none of that name; it has dev, other",
    ),
    "a cluster that is not there": (
        lambda config: config["contexts"][0]["context"].update({"cluster": "there"}),
        "FILE: context 'dev' names cluster 'there', which is not there; it has here",
    ),
    "no cluster": (
        lambda config: config["contexts"][0]["context"].pop("cluster"),
        "FILE: context 'dev' names no `cluster`; it has here",
    ),
    "a user that is not there": (
        lambda config: config.pop("users"),
        "FILE: context 'dev' names user 'ann', which is not there; it has none",
    ),
    "no server": (
        lambda config: config["clusters"][0].pop("cluster"),
        "FILE: cluster 'here' has no `server`, the URL of the API server",
    ),
    "a server that is no URL": (
        lambda config: _cluster(config, server="10.0.0.1:6443"),
        "FILE: cluster 'here': `server` is no URL; it looks like https://HOST:6443",
    ),
    "a CA that is away": (
        lambda config: _cluster(config, **{"certificate-authority": "ca.crt"}),
        "FILE: cluster 'here': `certificate-authority` FOLDER/ca.crt cannot be read: No such file or directory",
    ),
    "a CA that is no base64": (
        lambda config: _cluster(config, **{"certificate-authority-data": f"%{TOKEN}"}),
        "FILE: cluster 'here': `certificate-authority-data` is not base64",
    ),
    "a CA that is no PEM": (
        lambda config: _cluster(config, **{"certificate-authority-data": PEM_OF_NOTHING}),
        "context 'dev' of FILE cannot be used: its CA, or its client certificate with the key, is no PEM or does not "
        "fit together",
    ),
    "a token file that is away": (
        lambda config: _user(config, tokenFile="token"),
        "FILE: user 'ann': `tokenFile` FOLDER/token cannot be read: No such file or directory",
    ),
    "a plugin that is not installed": (
        lambda config: config["users"][0].update(
            {"user": {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-plugin"}}}
        ),
        "context 'dev' of FILE: its login plugin 'no-such-plugin' is not in the PATH; install it",
    ),
    "a list of texts": (
        lambda config: config.update(users=[TOKEN]),
        "FILE: `users` must be a list of objects, each with a `name`",
    ),
    "a map": (
        lambda config: config.update(users={"ann": TOKEN}),
        "FILE: `users` must be a list of objects, each with a `name`",
    ),
    "an entry of another shape": (
        lambda config: config["users"][0].update(user=TOKEN),
        "FILE: `users`: 'ann': `user` must be an object",
    ),
}


async def _refused(path: str) -> str:
    with pytest.raises(AccessError) as raised:
        await load_access({"KUBECONFIG": path})
    assert TOKEN not in str(raised.value)
    return str(raised.value).removeprefix("no way to a cluster: kubeconfig ")


@pytest.mark.parametrize("case", UNUSABLE)
async def test_a_kubeconfig_that_cannot_be_used_is_named_with_what_is_wrong(tmp_path: Path, case: str) -> None:
    change, said = UNUSABLE[case]
    config, path = _kubeconfig(), tmp_path / "config"
    change(config)
    path.write_text(yaml.safe_dump(config))
    assert await _refused(str(path)) == said.replace("FILE", str(path)).replace("FOLDER", str(tmp_path))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "is not there; set KUBECONFIG to the file of a cluster", id="no file"),
        pytest.param("", "is empty; set KUBECONFIG to the file of a cluster", id="empty"),
        pytest.param("# nothing\n", "is empty; set KUBECONFIG to the file of a cluster", id="a comment"),
        pytest.param(f"a: b\n{{a: [token: {TOKEN}", "is not YAML: line 2", id="not YAML"),
        pytest.param("\0", "is not YAML", id="bytes"),
        pytest.param(f"- {TOKEN}\n", "is no kubeconfig: it has no `contexts`, `clusters` and `users`", id="a list"),
    ],
)
async def test_a_file_that_is_no_kubeconfig(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)
    assert await _refused(str(path)) == f"{path} {said}"


async def test_a_directory_and_a_file_that_is_closed_are_no_kubeconfigs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await _refused(str(tmp_path)) == f"{tmp_path} is a directory; name the file"
    path = tmp_path / "config"
    path.write_text("")

    def closed(self: Path) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    # Root, as whom tests may run, reads every file.
    monkeypatch.setattr(Path, "read_text", closed)
    assert await _refused(str(path)) == f"{path} cannot be read: Permission denied"


async def test_of_several_files_the_first_counts_as_for_kubectl(tmp_path: Path) -> None:
    first, second = _kubeconfig(), _kubeconfig()
    _cluster(second, server="https://10.9.9.9:6443")
    second["current-context"] = "other"
    for name, config in (("first", first), ("second", second)):
        (tmp_path / name).write_text(yaml.safe_dump(config))
    (tmp_path / "empty").touch()
    names = [str(tmp_path / name) for name in ("missing", "empty", "first", "second")]
    access = await load_access({"KUBECONFIG": os.pathsep.join(names)})
    assert (access.server, access.namespace) == ("https://10.0.0.1:6443", "team")
    told = await _refused(os.pathsep.join(names[:2]))
    assert told == f"{names[1]} is empty; set KUBECONFIG to the file of a cluster"


async def test_a_context_that_is_not_there_is_said_with_those_that_are(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(_kubeconfig()))
    with pytest.raises(
        AccessError, match="context 'prod' cannot be used: there is none of that name; it has dev, other"
    ):
        await load_access({"KUBECONFIG": str(path)}, context="prod")
    assert (await load_access({"KUBECONFIG": str(path)}, context="other")).namespace is None


async def test_a_pod_without_a_token_is_told_what_its_spec_lacks(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match=f"in {tmp_path}: its spec must have `automountServiceAccountToken: true`"):
        await load_access(IN_POD, tmp_path)


async def test_without_a_home_the_kubeconfig_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(AccessError, match=r"/nonexistent/\.kube/config is not there; set KUBECONFIG"):
        await load_access({})


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
