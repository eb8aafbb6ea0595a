"""Supabase's shared pooler knows a login as `<role>.<project ref>`; the server behind it knows the role alone."""

import re

_POOLER = re.compile(r"(?:[a-z0-9-]+\.)*pooler\.supabase\.com\.?", re.IGNORECASE)
_DIRECT = re.compile(r"db\.(?P<ref>[a-z0-9]+)\.supabase\.co\.?", re.IGNORECASE)
_REF = re.compile(r"[a-z0-9]+")


def is_pooler(host: str) -> bool:
    """Return whether the host is a Supabase shared pooler (`*.pooler.supabase.com`)."""
    return _POOLER.fullmatch(host) is not None


def role_of(host: str, login: str) -> str:
    """Return the role on the server behind a login used at this host: `postgres.abc` at a pooler is `postgres`."""
    role, dot, ref = login.rpartition(".")
    return role if dot and role and is_pooler(host) and _REF.fullmatch(ref) else login


def project_ref(host: str, login: str) -> str | None:
    """Return the project that a connection goes to, read off the pooler login or the direct host name."""
    if is_pooler(host):
        role, dot, ref = login.rpartition(".")
        return ref if dot and role and _REF.fullmatch(ref) else None
    direct = _DIRECT.fullmatch(host)
    return direct["ref"].lower() if direct else None


def login_of(host: str, role: str, ref: str | None) -> str:
    """Return the login by which a role is reached at this host; the role itself anywhere but at a pooler."""
    return f"{role}.{ref}" if ref and is_pooler(host) else role
