"""Tokens of whichever cloud a login names, kept for as long as they may be used."""

import os
import time
from collections.abc import Callable
from typing import Protocol

from cipher_operator.api.choices import AuthMethod
from cipher_operator.core.connection.password import Password
from cipher_operator.identity.aws import RDSTokens
from cipher_operator.identity.endpoint import TIMEOUT, Caller
from cipher_operator.identity.entra import EntraTokens
from cipher_operator.identity.environment import Environ
from cipher_operator.identity.google import CloudSQLTokens
from cipher_operator.identity.kept import Clock, Issued, Kept, boottime
from cipher_operator.identity.port import Login


class _Cloud(Protocol):
    name: str

    def valid_for(self, login: Login) -> tuple[object, ...]: ...

    async def fetch(self, login: Login) -> Issued[Password]: ...

    def distrust(self, login: Login) -> None: ...

    async def close(self) -> None: ...


class CloudTokens:
    """Tokens by the identity of the operator's own Pod, which `environ` describes. Close it in the end.

    It opens nothing before the first token is asked for. `clock` gives seconds that only grow, `wall` the time in
    seconds since 1970, `timeout` is in seconds, for one question to a cloud.
    """

    def __init__(
        self,
        environ: Environ = os.environ,
        *,
        clock: Clock = boottime,
        wall: Callable[[], float] = time.time,
        timeout: float = TIMEOUT,
    ) -> None:
        self._caller = Caller(timeout)
        self._clouds: dict[AuthMethod, _Cloud] = {
            AuthMethod.AWS_IAM: RDSTokens(environ, self._caller, clock, wall),
            AuthMethod.CLOUD_SQL_IAM: CloudSQLTokens(environ, self._caller),
            AuthMethod.AZURE_ENTRA: EntraTokens(environ, self._caller),
        }
        self._kept: dict[AuthMethod, Kept[Password]] = {
            method: Kept(cloud.name, clock) for method, cloud in self._clouds.items()
        }

    async def token(self, login: Login) -> Password:
        """Return a token that is good for a minute at least. Raises Failure(IDENTITY_UNAVAILABLE).

        KeyError for AuthMethod.PASSWORD, for which no cloud has anything.
        """
        cloud = self._clouds[login.method]
        issued = await self._kept[login.method].get(cloud.valid_for(login), lambda: cloud.fetch(login))
        return issued.value

    def refused(self, login: Login, token: Password) -> None:
        """Say that a server did not take a token. Whoever revokes what was given takes nothing that was made with it,
        for as long as it would have lasted; what is given anew is good."""
        cloud = self._clouds[login.method]
        if self._kept[login.method].forget(cloud.valid_for(login), token):
            cloud.distrust(login)

    async def close(self) -> None:
        """End what is under way, forget all tokens and close the connections."""
        for kept in self._kept.values():
            await kept.close()
        for cloud in self._clouds.values():
            await cloud.close()
        await self._caller.close()
