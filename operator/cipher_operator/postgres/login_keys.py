"""The keys of administrators' logins: they log in again and again with a password that is hashed the same each time.

Nothing is learnt from a server but its salt and rounds, and only where it took the password. Which keys a login is made
with follows from that; whether they fit is seen before anything is proven (see hashing).
"""

import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from psycopg import pq

from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.connection.password import Password
from cipher_operator.core.connection.scram import Keys, Terms, may_be_derived
from cipher_operator.postgres.hashing import derived
from cipher_operator.postgres.lookup import Address

MOST = 500
"""Logins that are remembered, some 500 bytes each."""
ENOUGH = 2
"""Logins in a row with the same terms after which keys are made. A pooler may name another salt each time."""
MORE = 16
"""By how much more it takes after each time that keys did not fit: two servers may answer to one name."""

_LIBPQ = 180_000
"""The first that takes keys."""


@dataclass(slots=True)
class _Known:
    terms: Terms
    times: int = 0
    enough: int = ENOUGH
    keys: Keys | None = None


class LoginKeys:
    """What is known of the logins of one process, MOST at most: the longest unused goes. No password is kept."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    def login(self, admin: AdminConnection, address: Address) -> bytes:
        """Return what stands for a login with this password at this address of a host."""
        parts = (admin.host, address, str(admin.port), admin.user, admin.password.reveal())
        return hmac.digest(self._secret, b"".join(b"%d:%b" % (len(p := part.encode()), p) for part in parts), "sha256")

    async def of(self, login: bytes, password: Password) -> Keys | None:
        """Return the keys for a login, made when they are first asked for; None where the password is to be used."""
        known = self._known.get(login)
        if known is None:
            return None
        if known.keys is not None:
            return known.keys
        if known.times < known.enough or pq.version() < _LIBPQ or not may_be_derived(password):
            return None
        keys = await derived(password, known.terms)
        if keys.terms == known.terms:
            known.keys = keys
        return keys

    def accepted(self, login: bytes, terms: Terms | None) -> None:
        """Note that a login was taken, on these terms; None where the server asked for it in another way."""
        if terms is None:
            self._known.pop(login, None)
            return
        known = self._known.setdefault(login, _Known(terms))
        if known.terms != terms:
            known.terms, known.times, known.keys = terms, 0, None
        known.times += 1
        self._known.move_to_end(login)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def missed(self, login: bytes, keys: Keys | None) -> None:
        """Note that keys did not fit: they are dropped, and others are not made as soon as these were."""
        known = self._known.get(login)
        # Of several logins that were under way, the first says it for all.
        if known is not None and known.keys is keys is not None:
            known.times, known.keys, known.enough = 0, None, known.enough * MORE

    def clear(self) -> None:
        """Forget all logins."""
        self._known.clear()
