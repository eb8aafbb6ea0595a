"""One level-triggered run of one CipherServer: may the operator log in, what may its login do, and who uses it."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from cipher_operator.api.connection import Scope
from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import IN_USE_FINALIZER, SERVER_KIND, default_user_name
from cipher_operator.api.reasons import Reason
from cipher_operator.api.server import ServerSpec, parse_server_spec
from cipher_operator.api.spec import Resource, parse_resource
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.permit import NotLeading
from cipher_operator.core.tenancy import check_server
from cipher_operator.kube.cipherservers import get_server, holdable, patch_server_status
from cipher_operator.kube.cipherstorages import begun_tenants, held_tenants
from cipher_operator.kube.events import Recorder
from cipher_operator.kube.finalizers import add, remove
from cipher_operator.kube.objects import Standing
from cipher_operator.kube.port import ApiError, ApiUnavailable
from cipher_operator.kube.secrets import SecretObject
from cipher_operator.postgres.claims import claims
from cipher_operator.postgres.databases import DEFAULT_MAINTENANCE
from cipher_operator.postgres.rights import Rights, look
from cipher_operator.queue.following import Next
from cipher_operator.queue.needs import Busy
from cipher_operator.queue.offers import Offer
from cipher_operator.queue.ticket import Ticket
from cipher_operator.reconcile.attempt import attempt
from cipher_operator.reconcile.conclude import REFUSED_FOR, api_refused, unforeseen
from cipher_operator.reconcile.contents import Contents, read_contents, version_of
from cipher_operator.reconcile.finalize import release_input
from cipher_operator.reconcile.inputs import SECRET, Key, Ref, login_references
from cipher_operator.reconcile.login_rights import lacks
from cipher_operator.reconcile.report.events import NORMAL, WARNING, ready_of
from cipher_operator.reconcile.report.requeue import requeue
from cipher_operator.reconcile.report.server import ServerResult, only_counted, server_status
from cipher_operator.reconcile.result import Result
from cipher_operator.reconcile.run_id import begin_run
from cipher_operator.reconcile.sessions import Remembered, Sessions
from cipher_operator.reconcile.snapshot import note
from cipher_operator.reconcile.surroundings import Surroundings

COUNT_SECONDS = 30.0
"""How often the number of storages is written at most: a namespace that fills would write it each time."""

UNSAID_SECONDS = 300.0
"""How long a look counts where `--interval 0s` asks for none but on change."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Look:
    """A look at a server that found it ready, for what its spec and its Secrets said; `until` is monotonic seconds."""

    at: tuple[object, ...]
    until: float
    rights: Rights


class ServerReconciler:
    """Runs servers by key, ('', name)."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._recorder = Recorder(around.kube, around.now)
        self._counted: dict[str, float] = {}
        """When the number of storages of a server was written last."""
        self._looks: dict[str, _Look] = {}
        self._refused: dict[str, float] = {}
        """Since when, in monotonic seconds, the API server refuses what a look asks for."""

    async def close(self) -> None:
        """Nothing goes on beside the runs."""

    async def reset(self) -> None:
        """Forget what was seen: another process works on the servers from now on."""
        self._looks.clear()
        self._counted.clear()
        self._refused.clear()

    async def run(self, key: Key, ticket: Ticket) -> Next:
        """Look at one server; return when to look again."""
        begin_run()
        return await attempt(self._told(key, ticket), ticket, {"server": key[1]})

    async def _told(self, key: Key, ticket: Ticket) -> Next:
        """Look at one server; once it lasts, tell of it that the operator may not, or the API server cannot. Raises
        the error before."""
        around, name = self._around, key[1]
        try:
            following = await self._look(key, ticket)
        except (ApiError, ApiUnavailable) as error:
            if not error.alone:
                raise
            body = await get_server(around.kube, name)
            lasts = around.monotonic() - self._refused.setdefault(name, around.monotonic())
            if body is None or around.namespaces.servers is None or lasts < REFUSED_FOR:
                raise
            resource = parse_resource(body)
            users, storages = around.inputs.users((SERVER_KIND, "", name)), resource.status.get("storages")
            result = ServerResult(
                storages=storages if isinstance(storages, int) else len(tuple(users)),
                failure=api_refused(error, around.namespaces.servers),
            )
            return await self._tell(resource, result)
        self._refused.pop(name, None)
        return following

    async def _look(self, key: Key, ticket: Ticket) -> Next:
        around, name = self._around, key[1]
        body = await get_server(around.kube, name)
        if body is None or around.namespaces.servers is None:
            self._counted.pop(name, None)
            self._looks.pop(name, None)
            around.counters.server(name, None)
            ticket.withdrawn(name)
            await self._let_go(around.inputs.references(key))
            around.inputs.forget(key)
            return Next(gone=True)
        resource = parse_resource(body)
        refs = login_references(around.namespaces.servers, resource.raw_spec)
        dropped = around.inputs.set_references(key, refs)
        contents = await read_contents(around.kube, around.namespaces.servers, Scope.SERVER, refs)
        note(around.inputs, key, contents, refs, around.digest)
        result = await self._within_limit(resource, contents, ticket)
        if not result.storages:
            result = replace(result, outside=await self._outside(resource, contents, ticket, result.failure))
        if not await self._hold(resource, contents, used=result.used):
            return Next(after=0.0)
        await self._let_go(dropped)
        return await self._tell(resource, _waited_for(resource, contents, result))

    async def _within_limit(self, resource: Resource, contents: Contents, ticket: Ticket) -> ServerResult:
        limit = self._around.rules.reconcile_timeout
        users = self._around.inputs.users((SERVER_KIND, "", resource.name))
        # Until it is known whom the spec allows, all count: what may be used is not let go.
        result = ServerResult(storages=len(tuple(users)))
        try:
            spec = parse_server_spec(resource.raw_spec)
            allowed = await self._staying(resource, self._allowed(users, spec))
            result = replace(result, storages=len(allowed), lost=self._around.losses.among(allowed))
            check_server(spec)
            admin, sessions = contents.admin(spec.connection), self._around.sessions(ticket)
            # Also where nothing is looked at anew: what its lane knows is said.
            sessions.enter(admin, Offer(resource.name, spec.max_connections, spec.allowed.several))
            rights = self._rights_at(resource, contents)
            if rights is None:
                async with asyncio.timeout(limit):
                    rights = await _log_in(sessions, admin)
                self._seen(resource, contents, rights)
            result = replace(result, version=rights.version, admin=rights.admin)
            return replace(result, warnings=tuple(lacks(rights, spec)))
        except TimeoutError:
            why = f"the look at the server did not finish within {limit:g} s; trying again"
            failure = Failure(Reason.UNKNOWN, why, stage=ConditionType.CONNECTED)
            ticket.hung(failure)
        except Failure as raised:
            failure = raised
        except (Busy, NotLeading, ApiError, ApiUnavailable):
            raise
        except Exception:
            logger.exception("a run failed unexpectedly", extra={"server": resource.name})
            failure = unforeseen()
        self._looks.pop(resource.name, None)
        return replace(result, failure=failure)

    def _rights_at(self, resource: Resource, contents: Contents) -> Rights | None:
        """Return what the last look saw, where it is not due and nothing has changed: its users may have."""
        look = self._looks.get(resource.name)
        if look is None or look.at != self._moment(resource, contents) or self._around.monotonic() >= look.until:
            return None
        return look.rights

    def _seen(self, resource: Resource, contents: Contents, rights: Rights) -> None:
        # A little less than the interval, which is spread: the check that it is for is not taken for another.
        until = self._around.monotonic() + 0.8 * (self._around.rules.interval or UNSAID_SECONDS)
        self._looks[resource.name] = _Look(self._moment(resource, contents), until, rights)

    def _moment(self, resource: Resource, contents: Contents) -> tuple[object, ...]:
        """Return what a look depends on."""
        seen = ((*ref, version_of(content, self._around.digest).digest) for ref, content in contents.found.items())
        return resource.uid, resource.generation, tuple(sorted(seen))

    def _allowed(self, users: Iterable[Key], spec: ServerSpec) -> tuple[Key, ...]:
        """Return the storages that use it: those of allowed namespaces that name it."""
        namespaces = self._around.namespaces
        return tuple(key for key in users if spec.allowed.admits(key[0], namespaces.labels(key[0])))

    async def _staying(self, resource: Resource, allowed: tuple[Key, ...]) -> tuple[Key, ...]:
        """Return who of these uses it. Once it is being deleted, only who may have something there: nobody new is let
        in, and who waits for the one that comes after it would else keep it from going."""
        if not resource.deleting:
            return allowed
        kube, spaces = self._around.kube, sorted({space for space, _ in allowed})
        # Before the objects: who comes to his end meanwhile says on his own what he has there.
        at_work = self._around.at_work.await_on((SERVER_KIND, "", resource.name))
        begun = {(space, each) for space in spaces for each in await begun_tenants(kube, space, resource.name)}
        return tuple(key for key in allowed if key in begun | at_work)

    async def _outside(self, resource: Resource, contents: Contents, ticket: Ticket, failure: Failure | None) -> int:
        """Return how many storages are held for what they have on it, where none of those that name it may use it: as
        the server tells itself, and as they say where it does not."""
        around, name = self._around, resource.name
        namespaces = sorted({space for space, _ in around.inputs.users((SERVER_KIND, "", name))})
        said = {(space, each) for space in namespaces for each in await held_tenants(around.kube, space, name)}
        if failure is not None or not said:
            return len(said)
        admin, sessions = contents.admin(parse_server_spec(resource.raw_spec).connection), around.sessions(ticket)
        try:
            async with sessions.open(admin, admin.database or DEFAULT_MAINTENANCE, purpose="admin") as session:
                found = await claims(session, (f"{default_user_name(*key)}_owner" for key in said))
        except Failure:
            return len(said)
        ours = (each.identity for each in found if each.identity.instance == around.rules.instance)
        return len({(each.namespace, each.name) for each in ours} & said)

    async def _hold(self, resource: Resource, contents: Contents, *, used: bool) -> bool:
        """Hold the server and its Secrets while they are used, and let go of them else; return whether that is done."""
        kube = self._around.kube
        held = holdable(resource)
        there = IN_USE_FINALIZER in resource.finalizers
        secrets = [each.holdable for each in contents.found.values() if isinstance(each, SecretObject)]
        if used:
            if not there and not resource.deleting:
                await add(kube, held, IN_USE_FINALIZER)
            for secret in secrets:
                if not secret.deleting and IN_USE_FINALIZER not in secret.finalizers:
                    await add(kube, secret, IN_USE_FINALIZER)
            return True
        if there and not await remove(kube, held, IN_USE_FINALIZER, as_seen=True):
            # A storage took hold of it meanwhile, or somebody changed it: all is looked at again.
            return False
        await self._let_go(contents.found)
        return True

    async def _let_go(self, refs: Iterable[Ref]) -> None:
        for ref in refs:
            if ref[0] == SECRET:
                await release_input(self._around.kube, ref, home=self._around.namespaces.servers)

    async def _tell(self, resource: Resource, result: ServerResult) -> Next:
        around, name = self._around, resource.name
        now, deadline = around.now().strftime("%Y-%m-%dT%H:%M:%SZ"), around.rules.progress_deadline
        status = server_status(result, resource.status, resource.generation, now, progress_deadline=deadline)
        failure = result.failure
        following = requeue(
            Result(failure=failure, remembered=isinstance(failure, Remembered)), around.rules.interval, deadline
        )
        around.counters.server(name, failure is None)
        if only_counted(status, resource.status):
            wait = self._counted.get(name, -COUNT_SECONDS) + COUNT_SECONDS - around.monotonic()
            if wait > 0:
                return Next(after=wait, spread=0.0)
        if status != resource.status:
            if status["storages"] != resource.status.get("storages"):
                self._counted[name] = around.monotonic()
            await patch_server_status(around.kube, name, Standing.of(resource), status)
            await self._announce(resource, result, status)
        return following

    async def _announce(self, resource: Resource, result: ServerResult, status: dict[str, Any]) -> None:
        """Log and post what has changed of Ready."""
        before, good = ready_of(resource), result.failure is None
        if before is not None and (before.status, before.reason) == ("True" if good else "False", result.reason):
            return
        message = next(each["message"] for each in status["conditions"] if each["type"] == "Ready")
        logger.log(
            logging.INFO if good else logging.WARNING, "%s: %s", result.reason, message, extra={"server": resource.name}
        )
        await self._recorder.post(
            resource,
            type_=NORMAL if good else WARNING,
            reason=str(result.reason),
            note=message,
            action="Reconcile",
        )


def _waited_for(resource: Resource, contents: Contents, result: ServerResult) -> ServerResult:
    """Return the result with what somebody deletes and is held while storages use the server."""
    if not result.used:
        return result
    losing = (each.name for each in contents.found.values() if isinstance(each, SecretObject) and each.deleting)
    return replace(result, held=resource.deleting, losing=() if resource.deleting else tuple(sorted(losing)))


async def _log_in(sessions: Sessions, admin: AdminConnection) -> Rights:
    async with sessions.open(admin, admin.database or DEFAULT_MAINTENANCE, purpose="admin") as session:
        return await look(session)
