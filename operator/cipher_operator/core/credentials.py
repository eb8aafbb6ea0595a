"""Which login and password a run works towards: the law of password changes, without I/O or randomness."""

from collections.abc import Callable
from dataclasses import dataclass

from cipher_operator.core.connection.password import Password
from cipher_operator.core.desired import other_login
from cipher_operator.core.orders import Credential


@dataclass(frozen=True, slots=True)
class Known:
    """What is known before the server is asked.

    `published` is the login and password in the app Secret, `last_login` the login that status names, `pending`
    a password that an earlier run generated and did not publish, `given` the password that the user brings.
    """

    user: str
    published: tuple[str, Password] | None = None
    last_login: str | None = None
    pending: Credential | None = None
    given: Password | None = None
    rotate: bool = False


def wanted_credential(known: Known, generate: Callable[[], Password]) -> Credential:
    """Return the credential of this run.

    A change goes through the login that is not published, so that the published one stays valid until the next
    change; only a password that the user brings is changed in place, because its login is theirs too.
    """
    if known.given is not None:
        # One that was never published may be the login's already; the login test tells.
        return Credential(known.user, known.given, change=known.published not in (None, (known.user, known.given)))
    if known.published is not None and not known.rotate:
        return Credential(*known.published, change=False)
    if known.pending is not None:
        return known.pending
    last = known.published[0] if known.published is not None else known.last_login
    return Credential(other_login(known.user, last) if last else None, generate(), change=True)
