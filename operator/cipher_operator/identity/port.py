"""The port to cloud identities: a login, and the password that the cloud gives for it."""

from dataclasses import dataclass
from typing import Protocol

from cipher_operator.api.choices import AuthMethod
from cipher_operator.core.connection.password import Password


@dataclass(frozen=True, slots=True)
class Login:
    """Whom a token is for, and where. `region` is for AWSIAM, `scope` for AzureEntra; None stands for the default."""

    method: AuthMethod
    host: str
    port: int
    user: str
    region: str | None = None
    scope: str | None = None


class Tokens(Protocol):
    """Where passwords come from that nobody keeps."""

    async def token(self, login: Login) -> Password:
        """Return a token that is good for a minute at least; it is sent over verified TLS only.

        Raises Failure(IDENTITY_UNAVAILABLE) at stage CONNECTED, with the cloud's own error code and the remedy.
        """
        ...

    def refused(self, login: Login, token: Password) -> None:
        """Say that a server did not take a token: it, and what it was made with, is handed out no more."""
        ...
