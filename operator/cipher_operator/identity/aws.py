"""Tokens for RDS and Aurora: signed here, with the credentials of the operator's Pod."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from cipher_operator.core.awsv4 import Credentials, rds_login_token, region_of
from cipher_operator.core.connection.password import Password
from cipher_operator.identity.aws_credentials import PodCredentials
from cipher_operator.identity.endpoint import Caller
from cipher_operator.identity.environment import Environ
from cipher_operator.identity.kept import MARGIN, Clock, Issued, Kept
from cipher_operator.identity.port import Login
from cipher_operator.identity.refusal import unavailable

USED = 600.0
"""Seconds for which a token is handed out, of the 900 for which RDS takes it."""


class RDSTokens:
    """Signs tokens; the credentials are kept and fetched anew before they end."""

    name = "AWS"

    def __init__(self, environ: Environ, caller: Caller, clock: Clock, wall: Callable[[], float] = time.time) -> None:
        self._environ, self._wall = environ, wall
        self._pod = PodCredentials(environ, caller, wall)
        # More than a token needs: one that is signed with them ends with them.
        self._credentials: Kept[Credentials] = Kept(self.name, clock, 2 * MARGIN)

    def valid_for(self, login: Login) -> tuple[object, ...]:
        """Return what a token is bound to: it is signed for this host, port, user and region."""
        return login.host, login.port, login.user, login.region

    async def fetch(self, login: Login) -> Issued[Password]:
        """Return a new token, good no longer than the credentials that it was signed with. Raises Failure."""
        region = self._region(login)
        if not region:
            raise unavailable(
                "The server's AWS region is not known: neither AWS_REGION nor the host's name tells it.",
                "Set `spec.auth.region`, and take the endpoint's own name as host: RDS takes tokens for no other.",
            )
        credentials = await self._credentials.get(region, lambda: self._pod.fetch(region))
        at = datetime.fromtimestamp(self._wall(), UTC)
        token = rds_login_token(
            credentials.value, host=login.host, port=login.port, user=login.user, region=region, at=at
        )
        return Issued(token, min(USED + MARGIN, credentials.seconds))

    def distrust(self, login: Login) -> None:
        """Have the next token signed with new credentials: sessions of a role can be revoked before they end."""
        self._credentials.forget(self._region(login))

    def _region(self, login: Login) -> str | None:
        return login.region or self._environ.get("AWS_REGION") or region_of(login.host)

    async def close(self) -> None:
        """Forget the credentials."""
        await self._credentials.close()
