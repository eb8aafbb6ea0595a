"""One run of one storage: from its inputs to a published login, or a Failure."""

import secrets as randomness
import string
from dataclasses import replace

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import SECOND_LOGIN_SUFFIX
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import AdoptionPolicy, ManagementPolicy, Resource, Spec, UserMode
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.connection.password import Password
from cipher_operator.core.connection.scram import SALT_BYTES, scram_verifier
from cipher_operator.core.credentials import Known, Wanted, wanted_credential
from cipher_operator.core.desired import Credential, Desired
from cipher_operator.core.marker import Identity
from cipher_operator.core.naming import database_name, user_name
from cipher_operator.core.outcome import Facts
from cipher_operator.core.plan.plan import noted
from cipher_operator.core.requests import Requests
from cipher_operator.core.rotation import password_annotations, rotation_due, seconds_to_rotation
from cipher_operator.core.secret import (
    AppCredentials,
    app_door,
    app_login,
    app_secret_data,
    check_password,
    check_publishable,
    read_app_secret,
)
from cipher_operator.kube.secrets import SecretObject
from cipher_operator.postgres.provision import Converged, Prove, converge
from cipher_operator.reconcile.environment import Environment, Progress
from cipher_operator.reconcile.inventory import Key, Memory
from cipher_operator.reconcile.proof import LoginProof
from cipher_operator.reconcile.publishing import (
    AppSecret,
    holds,
    labels_for,
    publish,
    refuse_foreign,
)
from cipher_operator.reconcile.sources import Sources

PASSWORD_LENGTH = 32
FOLLOW_UP_SECONDS = 1.0
RETEST_SECONDS = 60.0
_ALPHABET = string.ascii_letters + string.digits


def generate_password() -> Password:
    """Return 32 letters and digits from the operating system's generator: nothing in it ever needs quoting."""
    return Password("".join(randomness.choice(_ALPHABET) for _ in range(PASSWORD_LENGTH)))


class StorageRun:
    """One run. `provision` returns the facts to publish in status; `progress` tells how far it came."""

    def __init__(
        self, environment: Environment, resource: Resource, spec: Spec, memory: Memory, progress: Progress
    ) -> None:
        self._environment, self._resource, self._spec, self._memory = environment, resource, spec, memory
        self._sources = Sources(environment.kube, environment.inputs, resource.key)
        self._key: Key = resource.key
        self._proof = LoginProof(environment, resource.key, memory)
        self._requests = Requests.of(resource)
        self._published: str | None = None
        self._untested = False
        self.progress = progress

    async def provision(self) -> Facts | None:
        """Make the storage ready and return its facts; None in Observe mode. Raises Failure, ApiError."""
        resource, spec = self._resource, self._spec
        existing = await self._sources.secret(resource.namespace, spec.app.secret_name)
        self.progress.unpublished = existing is None or read_app_secret(existing.data) is None
        admin = await self._sources.admin(resource.namespace, spec)
        self.progress.warnings.extend(admin.warnings)
        database = database_name(spec, admin, resource.status)
        check_publishable(admin, spec.app, database)
        refuse_foreign(resource, spec.app.secret_name, existing)
        wanted = None
        if spec.user.mode is UserMode.DEDICATED:
            wanted = await self._wanted(admin, existing)
        else:
            check_password(admin.password)
        desired = self._desired(admin, database, wanted)
        if spec.management_policy is ManagementPolicy.OBSERVE:
            await self._observe(admin, desired)
            return None
        converged = await self._converge(admin, desired, self._proof.of(admin, wanted.password) if wanted else None)
        self.progress.warnings.extend(converged.warnings)
        credentials, converged = await self._prove(admin, converged, wanted, existing)
        await self._publish(admin, database, credentials, converged, existing)
        version = converged.observed.server.version
        return Facts(database, credentials.role, spec.app.secret_name, f"{version // 10_000}.{version % 10_000}")

    async def _wanted(self, admin: AdminConnection, existing: SecretObject | None) -> Wanted:
        """Return the login and password that this run works towards."""
        spec, status = self._spec, self._resource.status
        user = user_name(self._resource, spec, admin)
        published = read_app_secret(existing.data) if existing is not None else None
        logins = (user, user + SECOND_LOGIN_SUFFIX)
        ours = published is not None and published.role in logins
        last = status.get("user")
        given = None
        if spec.user.password_ref is not None:
            given = await self._sources.password(self._resource.namespace, spec.user.password_ref)
            check_password(given)
        known = Known(
            user=user,
            published=(published.role, published.password) if published is not None and ours else None,
            last_login=last if last in logins else None,
            pending=self._memory.pending,
            given=given,
            rotate=existing is not None
            and rotation_due(self._requests, spec.rotation_interval, existing.annotations, self._environment.now()),
        )
        wanted = wanted_credential(known, generate_password)
        if given is None and wanted.change:
            self._memory.pending = wanted
        if given is not None and wanted.change and self._memory.brought == self._brought(wanted):
            wanted = replace(wanted, change=False)
        self.progress.rotated = known.published is not None and wanted.change and given is None
        self.progress.brought = known.published is not None and given is not None and known.published[1] != given
        self.progress.lost_secret = known.published is None and known.last_login is not None
        if not wanted.change and known.published == (wanted.login, wanted.password):
            self._published = wanted.login
        return wanted

    def _brought(self, wanted: Wanted) -> str:
        return self._environment.inputs.digest({"password": wanted.password.reveal().encode()})

    def _desired(self, admin: AdminConnection, database: str, wanted: Wanted | None) -> Desired:
        resource, spec = self._resource, self._spec
        credential = None
        if wanted is not None:
            verifier = scram_verifier(wanted.password, randomness.token_bytes(SALT_BYTES))
            credential = Credential(wanted.login, verifier, wanted.change)
        return Desired(
            identity=Identity(self._environment.instance_id, resource.namespace, resource.name, resource.uid),
            database=database,
            create_database=spec.database.create,
            schema=spec.schema,
            user=user_name(resource, spec, admin),
            credential=credential,
            connection_limit=spec.user.connection_limit,
            extensions=spec.extensions,
            adopt_unowned=spec.adoption_policy is AdoptionPolicy.IF_UNOWNED,
            adopt_from=spec.adopt_from,
            # Once is enough: two storages that name each other would take turns.
            adopted=not self._requests.adopt,
            established=bool(resource.status.get("database")),
            recreate=self._requests.recreate,
            # Not together with a change: until that is published, the previous login is the published one.
            revoke_previous=self._requests.revoke_previous and self._published is not None,
            published=self._published,
        )

    async def _observe(self, admin: AdminConnection, desired: Desired) -> None:
        converged = await self._run(admin, desired, write=False)
        self.progress.reached.append(ConditionType.CONNECTED)
        if not converged.pending:
            self.progress.reached += [
                ConditionType.DATABASE_READY,
                ConditionType.ACCESS_GRANTED,
                ConditionType.SCHEMA_APPLIED,
            ]
        self.progress.plan = converged.pending

    async def _converge(self, admin: AdminConnection, desired: Desired, prove: Prove | None = None) -> Converged:
        converged = await self._run(admin, desired, write=True, prove=prove)
        self.progress.reached += [
            ConditionType.CONNECTED,
            ConditionType.DATABASE_READY,
            ConditionType.ACCESS_GRANTED,
            ConditionType.SCHEMA_APPLIED,
        ]
        return converged

    async def _run(
        self, admin: AdminConnection, desired: Desired, *, write: bool, prove: Prove | None = None
    ) -> Converged:
        servers = self._environment.servers
        try:
            converged = await converge(
                lambda database: servers.session(self._key, admin, database, purpose="admin"),
                desired,
                maintenance=admin.database,
                write=write,
                prove=prove,
                extend=self.progress.extend,
            )
        except Failure as failure:
            self.progress.reached += failure.reached
            raise
        self.progress.statements += converged.statements
        self.progress.changes += converged.changes
        return converged

    async def _prove(
        self, admin: AdminConnection, converged: Converged, wanted: Wanted | None, existing: SecretObject | None
    ) -> tuple[AppCredentials, Converged]:
        """Return credentials that work: a login with them has succeeded, now or within the test interval.

        A password that the server no longer accepts is set again, once.
        """
        if wanted is None:
            return AppCredentials(converged.desired.user, admin.password), converged
        credential = converged.desired.credential
        assert credential is not None and credential.login is not None  # settled by the run
        login = credential.login
        if self._memory.pending is not None and self._memory.pending.password == wanted.password:
            self._memory.pending = Wanted(login, wanted.password, change=False)
        if wanted.change and self._spec.user.password_ref is not None:
            self._memory.brought = self._brought(wanted)
        credentials = AppCredentials(login, wanted.password)
        asked = "reconcile" in self._requests.new
        if not self._proof.due(admin, credentials, converged, published=existing is not None, asked=asked):
            return credentials, converged
        try:
            await self._proof.test(admin, converged.desired, credentials)
        except Failure as failure:
            endpoint = app_door(admin, self._spec.app, converged.desired.database, ssl_in_use=converged.ssl_in_use)
            if failure.reason is Reason.TOO_MANY_CONNECTIONS and holds(
                existing, app_secret_data(endpoint, credentials).data
            ):
                # Its pods may have all that `connectionLimit` gives: that says nothing against what they hold.
                self.progress.warnings.append("the login test found no free connection and is tried again")
                self._untested = True
                return credentials, converged
            if failure.reason is not Reason.AUTHENTICATION_FAILED:
                raise
            again = replace(converged.desired, credential=replace(credential, change=True), established=True)
            converged = await self._converge(admin, again)
            self._environment.servers.forget_verdict(app_login(admin, credentials))
            await self._proof.test(admin, converged.desired, credentials)
        return credentials, converged

    async def _publish(
        self,
        admin: AdminConnection,
        database: str,
        credentials: AppCredentials,
        converged: Converged,
        existing: SecretObject | None,
    ) -> None:
        spec, environment = self._spec, self._environment
        endpoint = app_door(admin, spec.app, database, ssl_in_use=converged.ssl_in_use)
        published = app_secret_data(endpoint, credentials)
        self.progress.warnings.extend(published.warnings)
        before = read_app_secret(existing.data) if existing is not None else None
        changed = before is None or before.password != credentials.password
        standing = existing.annotations if existing is not None else {}
        annotations = {
            **spec.app.annotations,
            **password_annotations(self._requests, standing, environment.now(), changed=changed),
        }
        wanted = AppSecret(
            spec.app.secret_name,
            published.data,
            labels_for(self._resource, spec),
            annotations,
        )
        await publish(environment.kube, environment.inputs, self._resource, wanted, existing)
        self._memory.pending = None
        self.progress.reached.append(ConditionType.SECRET_PUBLISHED)
        impossible = self._requests.impossible(spec.user)
        self.progress.ignored.extend(impossible.values())
        self.progress.handled = {
            name: value
            for name, value in self._requests.new.items()
            if name != "revokePrevious" or self._published is not None or name in impossible
        }
        # What this run could not do yet waits for no interval; nor does the note of which login is published: by it
        # the next owner, or this storage deleted and made again, spares that login.
        soon = not noted(converged.desired, converged.observed) or len(self.progress.handled) < len(self._requests.new)
        self.progress.next_look = (
            FOLLOW_UP_SECONDS if soon else seconds_to_rotation(spec.rotation_interval, annotations, environment.now())
        )
        if self._untested:
            self.progress.next_look = min(self.progress.next_look or RETEST_SECONDS, RETEST_SECONDS)
