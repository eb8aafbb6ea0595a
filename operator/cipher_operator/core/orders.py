"""What one run is asked to do beyond keeping the storage as desired: its history, and what is asked for once."""

from collections.abc import Set
from dataclasses import dataclass, replace

from cipher_operator.core.connection.password import Password
from cipher_operator.core.sql.step import MARKERS, PASSWORDS, Kind


@dataclass(frozen=True, slots=True)
class Credential:
    """The login that is, or is about to be, published.

    `login` None means not the one that the marker says was published last: with its Secret gone, that password may
    still be in use. `change` asks to set the password although the role exists.
    """

    login: str | None
    password: Password
    change: bool = False


@dataclass(frozen=True, slots=True)
class Orders:
    """The orders of one run. `credential` is None in Shared mode and in a deletion."""

    credential: Credential | None = None
    published: str | None = None
    """The login that the app Secret holds, proven, and that this run does not change."""
    established: bool = False
    """The storage has been Ready before: what is missing now is lost, not new."""
    recreate: bool = False
    """A person asked to begin again where the data is lost."""
    adopted: bool = False
    """`adopt_from` has been carried out: what belongs to that owner now was taken back."""
    revoke_previous: bool = False
    """A person asked to end the login that is not published."""
    database_made: bool = False
    """This very run has created the database."""
    standing: str | None = None
    """The marker's text that this run has seen or written last, '' where none stood; None before its first look."""

    @property
    def login(self) -> str | None:
        """Return the login that this run works towards; None in Shared mode, and until it is settled."""
        return self.credential.login if self.credential is not None else None

    def on(self, login: str) -> "Orders":
        """Return these orders with the login decided."""
        if self.credential is None:
            return self
        return replace(self, credential=replace(self.credential, login=login))

    def after(self, done: Set[Kind], marked: str) -> "Orders":
        """Return what is left to do when such steps have run, whatever became of those behind them; `marked` is the
        marker's text that they write."""
        orders = replace(self, database_made=self.database_made or Kind.CREATE_DATABASE in done)
        if done & MARKERS:
            orders = replace(orders, standing=marked)
        if self.credential is not None and done & PASSWORDS:
            orders = replace(orders, credential=replace(self.credential, change=False))
        return replace(orders, revoke_previous=self.revoke_previous and Kind.DISABLE_LOGIN not in done)

    def carried_out(self) -> "Orders":
        """Return what is left to do after a whole plan has run: what is asked for once is not asked for again."""
        credential = replace(self.credential, change=False) if self.credential is not None else None
        return replace(self, credential=credential, revoke_previous=False)
