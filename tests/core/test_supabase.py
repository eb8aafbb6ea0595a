"""Supabase's pooler login and the role behind it."""

import pytest

from cipher_operator.core.connection.supabase import is_pooler, login_of, project_ref, role_of

POOLER = "aws-0-eu-west-1.pooler.supabase.com"


@pytest.mark.parametrize(
    ("host", "yes"),
    [
        (POOLER, True),
        ("AWS-1-us-east-2.Pooler.Supabase.COM", True),
        ("pooler.supabase.com", True),
        ("db.abc.supabase.co", False),
        ("pooler.supabase.com.evil.example", False),
        ("xpooler.supabase.com", False),
        ("10.0.0.1", False),
    ],
)
def test_is_pooler(host: str, yes: bool) -> None:
    assert is_pooler(host) is yes


@pytest.mark.parametrize(
    ("host", "login", "role", "ref"),
    [
        (POOLER, "postgres.abc", "postgres", "abc"),
        (POOLER, "odd.name.abc", "odd.name", "abc"),
        (POOLER, "postgres", "postgres", None),
        (POOLER, ".abc", ".abc", None),
        (POOLER, "postgres.", "postgres.", None),
        (POOLER, "postgres.A/B", "postgres.A/B", None),
        ("db.abc.supabase.co", "postgres", "postgres", "abc"),
        ("db.example.com", "first.last", "first.last", None),
    ],
)
def test_role_and_project(host: str, login: str, role: str, ref: str | None) -> None:
    assert role_of(host, login) == role
    assert project_ref(host, login) == ref
    if ref and is_pooler(host):
        assert login_of(host, role, ref) == login


def test_login_is_the_role_elsewhere() -> None:
    assert login_of("db.abc.supabase.co", "cipher", "abc") == "cipher"
    assert login_of(POOLER, "cipher", None) == "cipher"
