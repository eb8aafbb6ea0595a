"""The way to the API server: where it is, whom it trusts, and a token that stays fresh. One place for all clients."""

import asyncio
import contextlib
import os
import shutil
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException
from kubernetes.aio.config.incluster_config import SERVICE_CERT_FILENAME, SERVICE_HOST_ENV_NAME, InClusterConfigLoader
from kubernetes.aio.config.kube_config import KubeConfigLoader, KubeConfigMerger

from cipher_operator import __version__
from cipher_operator.api.printable import printable
from cipher_operator.kube.kubeconfig import Unusable, usable

HOME = "~/.kube/config"
"""Where a kubeconfig is that no variable names."""
TOKEN_SECONDS = 60.0
"""How long a token that was read from a file or a plugin is used before it is read again."""
POOL_SIZE = 64
ACCOUNT_FOLDER = Path(SERVICE_CERT_FILENAME).parent
_UNUSABLE = (OSError, ConfigException, yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError)
"""What reading a token or a kubeconfig raises that is not what it must be."""
MANAGER = "cipher-operator"
"""Who writes, in `managedFields`: the API server takes what stands before the first slash of the user agent."""
USER_AGENT = f"{MANAGER}/{__version__}"


class AccessError(Exception):
    """No usable way to a cluster; the message says what was looked at and what to do."""


class Access:
    """A cluster that can be talked to. `server` is its URL, `namespace` the one that the credentials name, or None."""

    def __init__(self, configuration: Configuration, loader: "_Loader", namespace: str | None) -> None:
        self._configuration, self._loader = configuration, loader
        self._read_at = time.monotonic()
        self._reading = asyncio.Lock()
        self.namespace = namespace
        configuration.refresh_api_key_hook = self._refresh  # type: ignore[assignment]  # typed as None
        configuration.connection_pool_maxsize = POOL_SIZE
        # Looking at proxies in the environment costs 1.4 ms per request; `proxy-url` in the kubeconfig counts.
        configuration.client_session_kwargs = {"trust_env": False}
        # Python 3.13 refuses CAs without key identifiers, and many clusters' own CAs have none.
        configuration.disable_strict_ssl_verification = True
        configuration.retries = None

    def __repr__(self) -> str:
        return "Access(***)"

    @property
    def server(self) -> str:
        """Return the API server's URL without a trailing slash."""
        return str(self._configuration.host).rstrip("/")

    @property
    def proxy(self) -> str | None:
        """Return the proxy URL that a kubeconfig names, or None."""
        return self._configuration.proxy or None

    @property
    def tls_server_name(self) -> str | None:
        """Return the name that the server's certificate must have, None where it is that of its address."""
        return self._configuration.tls_server_name or None

    def api_client(self) -> ApiClient:
        """Return a client of `kubernetes.aio` with a session of its own; whoever asks closes it."""
        client = ApiClient(self._configuration)
        client.user_agent = USER_AGENT
        return client

    def stream_session(self) -> aiohttp.ClientSession:
        """Return a session for lists and watches; whoever asks closes it."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=POOL_SIZE, ssl=self.ssl_context()),
            headers={"User-Agent": USER_AGENT},
            proxy=self.proxy,
            trust_env=False,
        )

    def ssl_context(self) -> ssl.SSLContext:
        """Return a TLS context as the client uses it, for another client of the same cluster."""
        context: ssl.SSLContext = ApiClient(self._configuration).rest_client.ssl_context
        return context

    async def authorization(self) -> str | None:
        """Return the value of the Authorization header, at most TOKEN_SECONDS old, or None where there is none."""
        value: str | None = await self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return value

    def expire(self) -> None:
        """Make the next request read the token anew, after the server refused it."""
        self._read_at = -TOKEN_SECONDS

    async def _refresh(self, configuration: Configuration) -> None:
        if time.monotonic() - self._read_at < TOKEN_SECONDS:
            return
        async with self._reading:
            if time.monotonic() - self._read_at < TOKEN_SECONDS:
                return
            # A file that cannot be read for a moment leaves the last token: it is often still good.
            with contextlib.suppress(*_UNUSABLE):
                await self._loader.load(configuration)
            self._read_at = time.monotonic()


class _Loader:
    """Reads server, trust and credentials into a Configuration, again and again."""

    async def load(self, configuration: Configuration) -> None:
        raise NotImplementedError


class _Account(_Loader):
    """The Pod's own ServiceAccount."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self._environ, self._folder = environ, folder

    async def load(self, configuration: Configuration) -> None:
        loader: Any = InClusterConfigLoader(  # type: ignore[no-untyped-call]
            token_filename=str(self._folder / "token"),
            cert_filename=str(self._folder / "ca.crt"),
            try_refresh_token=False,
            environ=self._environ,
        )
        loader.load_and_set(configuration)
        configuration.api_key["BearerToken"] = f"Bearer {loader.token.split(None, 1)[1].strip()}"


class _File(_Loader):
    """A kubeconfig: its token files and exec plugins are asked anew at each load."""

    def __init__(self, paths: str, context: str | None) -> None:
        found = usable(paths, context)
        self.label = f"context '{printable(found.context)}' of {', '.join(found.files)}"
        merger: Any = KubeConfigMerger(os.pathsep.join(found.files))  # type: ignore[no-untyped-call]
        self._loader: Any = KubeConfigLoader(  # type: ignore[no-untyped-call]
            config_dict=merger.config, active_context=found.context, config_base_path=None
        )

    @property
    def namespace(self) -> str | None:
        context = self._loader.current_context.get("context") or {}
        namespace: str | None = context.get("namespace")
        return namespace

    def check_login(self, configuration: Configuration) -> None:
        """Raise AccessError where the plugin that brings the login brought none."""
        user = self._loader._user  # nothing public says how its user logs in
        if user is None or "exec" not in user or configuration.api_key.get("BearerToken") or configuration.cert_file:
            return
        plugin = str(user["exec"]["command"])
        if shutil.which(plugin) is None and os.sep not in plugin:
            raise AccessError(f"{self.label}: its login plugin '{printable(plugin)}' is not in the PATH; install it")
        raise AccessError(
            f"{self.label}: its login plugin '{printable(plugin)}' gave no login; log in with it again: "
            "`kubectl auth whoami` shows what it says"
        )

    async def load(self, configuration: Configuration) -> None:
        await self._loader.load_and_set(configuration)
        token = configuration.api_key.get("BearerToken")
        if token is not None:
            configuration.api_key["BearerToken"] = token.strip()


def in_cluster(environ: Mapping[str, str], folder: Path = ACCOUNT_FOLDER) -> bool:
    """Return whether this process runs in a Pod with a ServiceAccount."""
    return bool(environ.get(SERVICE_HOST_ENV_NAME)) and (folder / "token").is_file()


async def load_access(
    environ: Mapping[str, str] = os.environ, folder: Path = ACCOUNT_FOLDER, context: str | None = None
) -> Access:
    """Return the access to the cluster: the Pod's ServiceAccount, else KUBECONFIG, else `~/.kube/config`.

    `context` is one of the kubeconfig's, which counts even in a Pod; None is its current one.

    Raises AccessError. Nothing is sent to the server.
    """
    configuration = Configuration()
    loader: _Loader
    what = "the Pod's ServiceAccount"
    try:
        if context is None and in_cluster(environ, folder):
            loader = _Account(environ, folder)
            namespace: str | None = (folder / "namespace").read_text().strip() or None
        else:
            what = "the kubeconfig"
            if context is None and environ.get(SERVICE_HOST_ENV_NAME) and not environ.get("KUBECONFIG"):
                raise AccessError(
                    f"this Pod has no token of a ServiceAccount in {folder}: its spec must have "
                    "`automountServiceAccountToken: true`"
                )
            file = _File(environ.get("KUBECONFIG") or HOME, context)
            loader, namespace, what = file, file.namespace, file.label
        await loader.load(configuration)
        if isinstance(loader, _File):
            loader.check_login(configuration)
        access = Access(configuration, loader, namespace)
        access.ssl_context()  # a CA or a certificate that is none is told here
    except Unusable as error:
        raise AccessError(f"no way to a cluster: kubeconfig {error}") from None
    except ssl.SSLError:
        raise AccessError(
            f"{what} cannot be used: its CA, or its client certificate with the key, is no PEM or does not fit together"
        ) from None
    except _UNUSABLE as error:
        # The text of a parser's error may quote the file, and the file holds credentials.
        raise AccessError(f"{what} cannot be used ({type(error).__name__}); mend it or name another one") from None
    return access
