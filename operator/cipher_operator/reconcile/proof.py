"""The login test: when it is due, and what it proves."""

import time

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.connection.password import Password
from cipher_operator.core.desired import Desired
from cipher_operator.core.secret import AppCredentials, app_login
from cipher_operator.postgres.login import prove_login
from cipher_operator.postgres.provision import Converged, Prove
from cipher_operator.reconcile.environment import Environment
from cipher_operator.reconcile.inventory import Key, Memory


class LoginProof:
    """The proof that one storage's credentials work; what was proven last is in its Memory."""

    def __init__(self, environment: Environment, key: Key, memory: Memory) -> None:
        self._environment, self._key, self._memory = environment, key, memory

    def due(
        self, admin: AdminConnection, credentials: AppCredentials, converged: Converged, *, published: bool, asked: bool
    ) -> bool:
        """Return whether the login must be tested: somebody asks, something changed, or the last proof is too old."""
        if converged.proven:
            return False
        if asked:
            return True
        if self._memory.proven != self._digest(admin, credentials, converged.desired.database):
            return True
        if converged.changes or not published:
            return True
        return time.monotonic() - self._memory.proven_at > self._environment.login_test_interval

    def of(self, admin: AdminConnection, password: Password) -> Prove:
        """Return the test of the login that a run is about to make, for `converge` to run when it exists."""

        async def prove(desired: Desired) -> None:
            assert desired.credential is not None and desired.credential.login is not None  # settled by the run
            await self.test(admin, desired, AppCredentials(desired.credential.login, password))

        return prove

    async def test(self, admin: AdminConnection, desired: Desired, credentials: AppCredentials) -> None:
        """Log in as the app would. Raises Failure, stage AccessGranted, unless that acts as it must."""
        login = app_login(admin, credentials)
        try:
            async with self._environment.servers.session(
                self._key, login, desired.database, purpose="login"
            ) as session:
                await prove_login(session, desired, credentials.role)
        except Failure as failure:
            raise Failure(
                failure.reason,
                f"The login test with the app's own password failed: {failure.message}",
                stage=ConditionType.ACCESS_GRANTED,
                sqlstate=failure.sqlstate,
            ) from None
        self._memory.proven = self._digest(admin, credentials, desired.database)
        self._memory.proven_at = time.monotonic()

    def _digest(self, admin: AdminConnection, credentials: AppCredentials, database: str) -> str:
        # A copy of the server has the same marker, and may have an older password.
        parts = {
            "host": admin.host,
            "port": str(admin.port),
            "role": credentials.role,
            "password": credentials.password.reveal(),
            "database": database,
        }
        return self._environment.inputs.digest({key: value.encode() for key, value in parts.items()})
