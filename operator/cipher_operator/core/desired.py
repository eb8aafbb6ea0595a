"""What a storage shall be on the server: the spec with every name decided."""

from dataclasses import dataclass, field, replace

from cipher_operator.api.names import OWNER_SUFFIX, SECOND_LOGIN_SUFFIX
from cipher_operator.api.spec import AdoptFrom
from cipher_operator.core.marker import Identity, Place


@dataclass(frozen=True, slots=True)
class Credential:
    """The login that is, or is about to be, published.

    `login` None means not the one that the marker says was published last: with its Secret gone, that password may
    still be in use. `verifier` is a SCRAM verifier, never the password. `change` asks to set it
    although the role exists.
    """

    login: str | None
    verifier: str = field(repr=False)
    change: bool = False


@dataclass(frozen=True, slots=True)
class Desired:
    """One storage. In Shared mode `credential` is None and the admin's own role owns Cipher's relations."""

    identity: Identity
    database: str
    create_database: bool
    schema: str
    user: str
    credential: Credential | None
    connection_limit: int = -1
    extensions: tuple[str, ...] = ()
    adopt_unowned: bool = False
    adopt_from: AdoptFrom | None = None
    adopted: bool = False
    """`adopt_from` has been carried out: what belongs to that owner now was taken back."""
    established: bool = False
    """The storage has been Ready before: what is missing now is lost, not new."""
    recreate: bool = False
    """A person asked to begin again where the data is lost."""
    published: str | None = None
    """The login that the app Secret holds, proven, and that this run does not change."""
    database_made: bool = False
    """This very run has created the database."""
    revoke_previous: bool = False
    """A person asked to end the login that is not published."""

    @property
    def shared(self) -> bool:
        """Return whether the admin's own login is published."""
        return self.credential is None

    @property
    def place(self) -> Place:
        """Return where Cipher's relations stand."""
        return Place(self.database, self.schema)

    @property
    def owner(self) -> str:
        """Return the role that owns Cipher's relations."""
        return self.user if self.shared else self.user + OWNER_SUFFIX

    @property
    def logins(self) -> tuple[str, ...]:
        """Return the two login roles between which a password change alternates."""
        return () if self.shared else (self.user, self.user + SECOND_LOGIN_SUFFIX)

    def carried_out(self) -> "Desired":
        """Return what is left to reach after a plan has run: what is asked for once is not asked for again."""
        credential = self.credential
        if credential is not None:
            credential = replace(credential, change=False)
        return replace(self, credential=credential, revoke_previous=False)


def other_login(user: str, login: str) -> str:
    """Return the login that a password change goes to, given the one that is published now."""
    second = user + SECOND_LOGIN_SUFFIX
    return user if login == second else second
