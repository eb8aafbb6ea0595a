"""Supabase's shared pooler as it looks to clients: TLS, logins spelt `<role>.<project ref>`, and its refusals.

Behind it is a real server. Texts and codes are those of Supavisor's own sources.
"""

import socket
from collections.abc import Callable
from typing import Any

import pytest

from devcluster import PostgresServer
from devcluster.tls import TlsFixture
from support.wire import WireProxy, error_message


class Supavisor(WireProxy):
    """A pooler for one project. `logins` are the users that clients have named, in order."""

    host = "aws-0-eu-central-1.pooler.supabase.com"

    def __init__(self, server: PostgresServer, ref: str, tls: TlsFixture) -> None:
        super().__init__(server, tls)
        self.ref = ref
        self.logins: list[str] = []

    @property
    def direct_host(self) -> str:
        """The project's own host, which leads to the server itself."""
        return f"db.{self.ref}.supabase.co"

    def admit(self, parameters: dict[str, str], *, encrypted: bool) -> dict[str, str] | bytes:
        login = parameters["user"]
        self.logins.append(login)
        role, _, ref = login.rpartition(".")
        if not role:
            return _refused("(ENOIDENTIFIER) no tenant identifier provided (external_id or sni_hostname required)")
        if ref != self.ref:
            return _refused(f"(ENOTFOUND) tenant/user {role}.{ref} not found")
        if not encrypted:
            return _refused(f"(ESSLREQUIRED) SSL connection is required for user: {role}")
        return parameters | {"user": role}


def resolve_to_loopback(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """Let these names lead to 127.0.0.1 in this process, for whoever asks Python: no DNS is at hand for a test."""
    real: Callable[..., Any] = socket.getaddrinfo
    known = {host.encode() for host in hosts}

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.encode() if isinstance(host, str) else host
        if name not in known:
            return real(host, *args, **kwargs)
        if kwargs.get("flags", 0) & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not a number")
        return real("127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def _refused(text: str) -> bytes:
    return error_message({"S": "FATAL", "V": "FATAL", "C": "XX000", "M": text})
