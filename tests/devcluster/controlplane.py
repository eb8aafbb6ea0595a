"""One Kubernetes control plane: etcd, kube-apiserver and kube-controller-manager on 127.0.0.1.

There is no kubelet: workloads are accepted and their Pods created, but nothing runs.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
import urllib.error
from pathlib import Path
from types import TracebackType

from devcluster.audit import AuditLog
from devcluster.kubeconfig import ApiClient, write_kubeconfig
from devcluster.processes import Process, ProcessError, drop_folder, free_ports, run_folder
from devcluster.programs import Programs, find_programs
from devcluster.tls import CertificateAuthority, private_key_pem

_TEN_YEARS_SECONDS = 10 * 365 * 24 * 3600
_ATTEMPTS = 3
_COLLECT_SELDOM = {"GOGC": "400", "GOMEMLIMIT": "512MiB"}
"""What tells a Go program to look for garbage seldom while there is memory: a fifth of an API server's CPU time."""
COLLECT_NEVER = {"GOGC": "off", "GOMEMLIMIT": "512MiB"}
"""The same for a program that ends in a moment: a third of kubectl's."""


class KubectlError(RuntimeError):
    """kubectl ended with an error; `stderr` is what it said."""

    def __init__(self, args: tuple[str, ...], code: int, stderr: str) -> None:
        super().__init__(f"kubectl {' '.join(args)} ended with code {code}: {stderr.strip()}")
        self.stderr = stderr


class ControlPlane:
    """A control plane of its own, empty at the start, gone at the end. Usable as a context manager.

    After `start`: `url`, `token` (of the admin, group system:masters), `ca` (a path), `kubeconfig` (a path, admin),
    `audit` (its log, of the users `audited`).
    """

    def __init__(
        self, *, controller_manager: bool = True, apiserver_flags: tuple[str, ...] = (), audited: tuple[str, ...] = ()
    ) -> None:
        """Describe it. `controller_manager=False` saves 60 MB where nothing needs garbage collection.

        What the users `audited` ask for is in `audit`, their names as the API server knows them.
        """
        self._with_manager = controller_manager
        self._audited = audited
        self._extra_flags = apiserver_flags
        self._etcd: Process | None = None
        self._apiserver: Process | None = None
        self._manager: Process | None = None
        self.token = secrets.token_urlsafe(24)
        self.url = ""
        self.folder = Path()
        self.ca = Path()
        self.kubeconfig = Path()
        self.audit = AuditLog(Path())

    def __enter__(self) -> ControlPlane:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def programs(self) -> Programs:
        """The programs it runs, fetched or built when missing; raises SetupError."""
        return find_programs()

    def start(self) -> None:
        """Start it and return when `/readyz` answers ok (about 4 s; minutes the first time, when it must be built).

        Raises SetupError when the programs cannot be had, ProcessError when they do not come up.
        """
        programs = self.programs
        for attempt in range(1, _ATTEMPTS + 1):
            self.folder = run_folder("kube")
            try:
                self._start(programs)
                return
            except ProcessError:
                self.stop()
                # A port that was free may have been taken in between by another run.
                if attempt == _ATTEMPTS:
                    raise

    def _start(self, programs: Programs) -> None:
        self._client_port, peer_port, self._port = free_ports(3)
        self.url = f"https://127.0.0.1:{self._port}"
        # With elliptic curves. With RSA, which it takes by itself, its start and each handshake cost much more.
        self._tls = CertificateAuthority(self.folder / "certs").server()
        self.ca = self._tls.ca
        self.kubeconfig = self.folder / "kubeconfig"
        self.audit = AuditLog(self.folder)
        if self._audited:
            self.audit.write_policy(self._audited)
        for name, content in (
            ("sa.key", private_key_pem()),
            ("tokens.csv", f'{self.token},admin,admin,"system:masters"\n'.encode()),
        ):
            with open(os.open(self.folder / name, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                file.write(content)
        client, peer = f"http://127.0.0.1:{self._client_port}", f"http://127.0.0.1:{peer_port}"
        self._etcd = Process(
            [
                programs.etcd,
                f"--data-dir={self.folder / 'etcd'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                "--unsafe-no-fsync",
                "--log-level=error",
            ],
            log=self.folder / "etcd.log",
            env=os.environ | _COLLECT_SELDOM,
        )
        self.start_apiserver()
        write_kubeconfig(self.kubeconfig, url=self.url, ca_pem=self.ca.read_bytes(), token=self.token, user="admin")
        if self._with_manager:
            self._manager = Process(
                [
                    programs.controller_manager,
                    f"--kubeconfig={self.kubeconfig}",
                    f"--service-account-private-key-file={self.folder / 'sa.key'}",
                    "--use-service-account-credentials=false",
                    "--leader-elect=false",
                    # Two managers on one machine would both want port 10257; the loser runs on without controllers.
                    "--secure-port=0",
                ],
                log=self.folder / "kube-controller-manager.log",
            )

    def stop(self) -> None:
        """End it and remove its folder. Harmless when it does not run."""
        for process in (self._manager, self._apiserver, self._etcd):
            if process is not None:
                # With watches open a clean end of kube-apiserver takes up to 60 s, and all data goes away anyway.
                process.stop(grace=0.3)
        self._manager = self._apiserver = self._etcd = None
        if self.folder != Path():
            drop_folder(self.folder)
            self.folder = Path()

    def start_apiserver(self, *, timeout: float = 60.0) -> None:
        """Start kube-apiserver (again): same port, certificate, keys and data. Returns when it is ready.

        Raises ProcessError when it is not within `timeout` seconds.
        """
        self._apiserver = Process(
            [
                self.programs.apiserver,
                f"--etcd-servers=http://127.0.0.1:{self._client_port}",
                "--bind-address=127.0.0.1",
                f"--secure-port={self._port}",
                f"--tls-cert-file={self._tls.certificate}",
                f"--tls-private-key-file={self._tls.key}",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={self.folder / 'sa.key'}",
                f"--service-account-signing-key-file={self.folder / 'sa.key'}",
                "--service-cluster-ip-range=10.0.0.0/24",
                f"--token-auth-file={self.folder / 'tokens.csv'}",
                "--authorization-mode=RBAC",
                # Pods may then be created before their ServiceAccount's token exists.
                "--disable-admission-plugins=ServiceAccount",
                *(self.audit.flags if self._audited else ()),
                *self._extra_flags,
            ],
            log=self.folder / "kube-apiserver.log",
            env=os.environ | _COLLECT_SELDOM,
        )
        self._await_ready(timeout)

    def stop_apiserver(self, *, grace: float = 2.0) -> None:
        """Make the API server go away, as in an outage; etcd keeps the state.

        New connections are refused at once; open watches end after `grace` seconds at the latest.
        """
        if self._apiserver is not None:
            self._apiserver.stop(grace=grace)

    def freeze_apiserver(self) -> None:
        """Make the API server take connections and answer nothing (SIGSTOP), until `thaw_apiserver`."""
        assert self._apiserver is not None
        self._apiserver.send(signal.SIGSTOP)

    def thaw_apiserver(self) -> None:
        """End `freeze_apiserver`."""
        assert self._apiserver is not None
        self._apiserver.send(signal.SIGCONT)

    def _await_ready(self, timeout: float) -> None:
        assert self._apiserver is not None and self._etcd is not None
        deadline = time.monotonic() + timeout
        while True:
            for process in (self._etcd, self._apiserver):
                if process.poll() is not None:
                    raise ProcessError(f"{process.name} ended while starting:\n{process.log_tail()}")
            # OSError covers refused connections and every HTTP error; ValueError a certificate half written.
            with contextlib.suppress(OSError, ValueError):
                self.client().request("GET", "/readyz", timeout=2.0)
                return
            if time.monotonic() > deadline:
                raise ProcessError(f"kube-apiserver not ready after {timeout:.0f} s:\n{self._apiserver.log_tail()}")
            time.sleep(0.05)

    @property
    def etcd_url(self) -> str:
        """Return where its etcd answers clients."""
        return f"http://127.0.0.1:{self._client_port}"

    def client(self) -> ApiClient:
        """Return a plain HTTPS client with the admin's token."""
        return ApiClient(self.url, self.ca.read_bytes(), self.token)

    def kubeconfig_for_service_account(
        self, namespace: str, name: str, path: Path | None = None, *, seconds: int = _TEN_YEARS_SECONDS
    ) -> Path:
        """Write a kubeconfig with a token of that ServiceAccount, valid for `seconds`, and return its path.

        A `default` account, which the controller manager makes a moment after its namespace, is waited for (15 s).
        Raises urllib.error.HTTPError when the account does not exist.
        """
        deadline = time.monotonic() + 15
        while True:
            try:
                token = self.client().service_account_token(namespace, name, seconds=seconds)
                break
            except urllib.error.HTTPError as error:
                if error.code != 404 or name != "default" or time.monotonic() > deadline:
                    raise
                # Every namespace gets its `default` account from the controller manager, a moment later.
                time.sleep(0.1)
        return write_kubeconfig(
            path or self.folder / f"kubeconfig-{namespace}-{name}",
            url=self.url,
            ca_pem=self.ca.read_bytes(),
            token=token,
            user=f"{namespace}-{name}",
            namespace=namespace,
        )

    def kubectl(self, *args: str, input: str | None = None, check: bool = True, kubeconfig: Path | None = None) -> str:
        """Run kubectl, as the admin unless `kubeconfig` says otherwise, with `input` on its standard input.

        `apply` finds what changes in an object of a built-in kind with what it knows of the kind itself, as it does
        where a server has no schemas: to fetch those of all kinds costs more than all else that it does.

        Returns its standard output. Raises KubectlError when it fails and `check` is true.
        """
        applies = args[2 * (args[0] == "-n")] == "apply"
        result = subprocess.run(
            [str(self.programs.kubectl), *args, *(("--openapi-patch=false",) if applies else ())],
            input=input,
            capture_output=True,
            text=True,
            check=False,
            # Its own HOME: kubectl keeps its discovery cache there, and reads a person's settings from there.
            env=os.environ
            | COLLECT_NEVER
            | {"KUBECONFIG": str(kubeconfig or self.kubeconfig), "HOME": str(self.folder)},
        )
        if check and result.returncode != 0:
            raise KubectlError(args, result.returncode, result.stderr)
        return result.stdout
