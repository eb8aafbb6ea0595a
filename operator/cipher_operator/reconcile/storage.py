"""One level-triggered run of one storage for every cause: create, change, delete, Secret, drift, retry, resync.

snapshot → decide → converge → prove → publish → Result; what is told of it stands in `report/`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import Resource, parse_resource
from cipher_operator.core.orders import Orders
from cipher_operator.core.permit import NotLeading
from cipher_operator.core.requests import Requests
from cipher_operator.kube.cipherstorages import get_storage
from cipher_operator.kube.events import Recorder
from cipher_operator.kube.port import ApiError, ApiUnavailable
from cipher_operator.postgres.provision import Report, converge
from cipher_operator.queue.following import Next
from cipher_operator.queue.needs import Busy
from cipher_operator.queue.ticket import Ticket
from cipher_operator.reconcile import finalize
from cipher_operator.reconcile.attempt import attempt
from cipher_operator.reconcile.builds import Builds, is_not_its_own
from cipher_operator.reconcile.conclude import (
    REFUSED_FOR,
    api_refused,
    discreet,
    failed,
    planned,
    ready,
    refused,
    unforeseen,
)
from cipher_operator.reconcile.decide import Intent, decide, parse
from cipher_operator.reconcile.history import History
from cipher_operator.reconcile.inputs import Key, server_of
from cipher_operator.reconcile.prove import prove, test
from cipher_operator.reconcile.publish import holds, publish
from cipher_operator.reconcile.report.events import held_sentence
from cipher_operator.reconcile.report.requeue import requeue
from cipher_operator.reconcile.result import Ended, Result
from cipher_operator.reconcile.run_id import begin_run
from cipher_operator.reconcile.sessions import Sessions, offer_of
from cipher_operator.reconcile.snapshot import Snapshot, read_snapshot, unread
from cipher_operator.reconcile.surroundings import Surroundings
from cipher_operator.reconcile.tell import Teller

logger = logging.getLogger(__name__)


class Reconciler:
    """Runs storages by key. A run never raises for what can go wrong outside, but Busy, which is the queue's."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._histories: dict[Key, History] = {}
        self._unreadable: dict[Key, float] = {}
        """Since when, in monotonic seconds, a storage's runs end at what the API server cannot read or write for it."""
        self._builds = Builds(around.enqueue, around.monotonic)
        self._recorder = Recorder(around.kube, around.now)

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a storage that is gone."""
        self._histories.pop(key, None)
        self._unreadable.pop(key, None)
        self._builds.cancel(key)
        self._around.inputs.forget(key)
        self._around.counters.forget(key)
        self._around.losses.forget(key)

    async def close(self) -> None:
        """End what is built beside the runs."""
        await self._builds.close()

    async def reset(self) -> None:
        """End that, and drop what is remembered and shown: another process works on the storages from now on."""
        await self._builds.close()
        self._around.counters.clear()
        self._around.keys.clear()
        self._around.losses.clear()
        self._histories.clear()
        self._unreadable.clear()

    async def run(self, key: Key, ticket: Ticket) -> Next:
        """Bring one storage to where it shall be; return when to look again."""
        begin_run()
        return await attempt(self._look(key, ticket), ticket, {"storage": "/".join(key)})

    async def _look(self, key: Key, ticket: Ticket) -> Next:
        around, started = self._around, self._around.monotonic()
        try:
            snapshot = await read_snapshot(
                around.kube, around.inputs, around.namespaces, around.places, key, around.digest
            )
        except (ApiError, ApiUnavailable) as error:
            if not error.alone:
                raise
            return await self._unread(key, error, ticket, started)
        if snapshot is None:
            self.forget(key)
            return Next(gone=True)
        if snapshot.suspended and not snapshot.resource.deleting:
            # The status stays as it was, as Flux does it.
            self._builds.cancel(key)
            self._unreadable.pop(key, None)
            around.counters.suspended(key)
            logger.info("suspended by spec.suspend", extra={"storage": "/".join(key)})
            return Next(after=None)
        try:
            with around.at_work.on(server_of(snapshot.resource.raw_spec), key):
                following = await self._told(snapshot, ticket, started)
        except ApiUnavailable as error:
            if not error.alone:
                raise
            return await self._unread(key, error, ticket, started)
        self._unreadable.pop(key, None)
        return following

    async def _told(self, snapshot: Snapshot, ticket: Ticket, started: float) -> Next:
        """Run, tell of it, and return when to look again."""
        around, resource = self._around, snapshot.resource
        teller = Teller(around.kube, self._recorder, resource, around.now, around.rules.progress_deadline)
        async with teller.saying(Reason.DELETING if resource.deleting else Reason.PROGRESSING):
            result = await self._within_limit(snapshot, ticket, teller.stored)
        if isinstance(result, Ended):
            await teller.farewell(result)
            self.forget(resource.key)
            return Next(gone=True)
        return await self._end(resource, result, teller, started)

    async def _unread(self, key: Key, error: ApiError | ApiUnavailable, ticket: Ticket, started: float) -> Next:
        """Tell of a storage whose inputs the operator may not read, or of which the API server cannot read or write
        something, once that has lasted, and let one go that needs none. Raises the error before."""
        around = self._around
        body = await get_storage(around.kube, *key)
        resource = parse_resource(body or {})
        snapshot = unread(resource)
        if resource.deleting and finalize.untouched(snapshot) is not None:
            return await self._told(snapshot, ticket, started)
        if around.monotonic() - self._unreadable.setdefault(key, started) < REFUSED_FOR or body is None:
            raise error
        teller = Teller(around.kube, self._recorder, resource, around.now, around.rules.progress_deadline)
        failure = finalize.waiting(resource, api_refused(error, key[0]))
        return await self._end(resource, Result(failure=failure), teller, started)

    async def _end(self, resource: Resource, result: Result, teller: Teller, started: float) -> Next:
        """Tell of a run, and return when to look again."""
        around = self._around
        around.losses.saw(resource.key, result.reason)
        following = requeue(result, around.rules.interval, around.rules.progress_deadline)
        if not result.quiet:
            told = self._history(resource).untold.told_with(result)
            around.counters.run(resource.key, await teller.tell(told, around.monotonic() - started), following)
            if (history := self._histories.get(resource.key)) is not None:
                self._histories[resource.key] = history.told(told)
        return following

    async def _within_limit(self, snapshot: Snapshot, ticket: Ticket, stored: Callable[[str], None]) -> Result | Ended:
        """Return the result, or the end of a storage that is let go. `stored` as for `ensure_finalizers`."""
        limit = self._around.rules.reconcile_timeout
        try:
            async with asyncio.timeout(limit):
                if snapshot.resource.deleting:
                    self._builds.cancel(snapshot.resource.key)
                    return await self._finish(snapshot, ticket)
                if snapshot.observed:
                    self._builds.cancel(snapshot.resource.key)
                result = await self._reconcile(snapshot, ticket, stored)
                if result.failure is not None and is_not_its_own(result.failure):
                    self._builds.cancel(snapshot.resource.key)
                return discreet(snapshot, result)
        except TimeoutError:
            why = f"the run did not finish within {limit:g} s; trying again"
            failure = Failure(Reason.UNKNOWN, why, stage=ConditionType.CONNECTED)
            ticket.hung(failure)
            failure = finalize.waiting(snapshot.resource, failure)
        except ApiError as error:
            failure = api_refused(error, snapshot.resource.namespace)
        except (Busy, NotLeading, ApiUnavailable):
            raise
        except Exception:
            logger.exception("a run failed unexpectedly", extra={"storage": "/".join(snapshot.resource.key)})
            failure = finalize.waiting(snapshot.resource, unforeseen())
        return refused(snapshot, failure)

    async def _finish(self, snapshot: Snapshot, ticket: Ticket) -> Result | Ended:
        """Carry out a deletion; its end tells of all that was dropped, however many tries it took."""
        resource = snapshot.resource

        def removed(lines: tuple[str, ...]) -> None:
            self._remember(resource, self._history(resource).removed(lines))

        sessions, ca = self._around.sessions(ticket), self._history(resource).ca
        end = await finalize.finish(self._around, snapshot, sessions, removed, ca)
        return replace(end, dropped=self._history(resource).dropped) if isinstance(end, Ended) else end

    async def _reconcile(self, snapshot: Snapshot, ticket: Ticket, stored: Callable[[str], None]) -> Result:
        around, resource = self._around, snapshot.resource
        if "reconcile" in Requests.of(resource).new:
            # Before whatever ends this run: that answers the request, too.
            self._builds.asked(resource.key)
        spec = parse(snapshot, around.rules)
        if isinstance(spec, Failure):
            return refused(snapshot, spec)
        try:
            held = await finalize.ensure_finalizers(around, snapshot, spec, stored)
        except Failure as failure:
            return refused(snapshot, failure)
        history = self._history(resource)
        intent = decide(
            snapshot, spec, history, around.rules, now=around.now(), fresh=around.generate(), digest=around.digest
        )
        if isinstance(intent, Failure):
            return replace(refused(snapshot, intent), interval=spec.interval)
        self._remember(resource, history.decided(intent.orders.credential, generated=intent.generated))
        result = await self._carry_out(snapshot, intent, around.sessions(ticket))
        warnings = (*result.warnings, *(held_sentence(*each) for each in held))
        return replace(result, held=held, warnings=warnings, interval=spec.interval)

    async def _carry_out(self, snapshot: Snapshot, intent: Intent, sessions: Sessions) -> Result:
        """Converge, then prove and publish."""
        try:
            sessions.enter(intent.admin, offer_of(intent.spec.tenant))
        except Failure as failure:
            return refused(snapshot, failure)

        def did(report: Report) -> None:
            done = intent.tellable(report.executed, report.observed)
            self._remember(snapshot.resource, self._history(snapshot.resource).did(done, report.taken_over))

        report = await self._converge(sessions, intent, did)
        did(report)
        if report.failure is not None:
            return failed(snapshot, intent, report, report.failure)
        history = self._history(snapshot.resource)
        self._remember(snapshot.resource, history.connected(intent.admin, intent.spec))
        if intent.observe:
            return planned(snapshot, intent, report)
        return await self._publish(snapshot, intent, report, sessions)

    async def _publish(self, snapshot: Snapshot, intent: Intent, report: Report, sessions: Sessions) -> Result:
        """Publish the login, after it was proven where that is due."""
        resource = snapshot.resource
        proven = await prove(
            sessions,
            intent,
            report,
            self._history(resource),
            now=self._around.monotonic(),
            interval=self._around.rules.login_test_interval,
            remember=lambda history: self._remember(resource, history),
        )
        report, refusal = proven.report, proven.proof.failure
        # Its pods may have all that `connectionLimit` gives: that says nothing against what they hold. That there was
        # none for the administrator, to set a refused password again, does.
        full = refusal is not None and refusal.reason is Reason.TOO_MANY_CONNECTIONS and report.failure is None
        spared = full and holds(intent, report)
        if refusal is not None and not spared:
            return failed(snapshot, intent, report, refusal, again_soon=proven.again_soon)
        self._builds.start(resource.key, intent, report, sessions)
        building = self._builds.failure(resource.key)
        if building is not None and intent.existing is None:
            return failed(snapshot, intent, report, building)
        published = await publish(self._around, snapshot, intent, report)
        if isinstance(published, Failure):
            return failed(snapshot, intent, report, published)
        self._remember(resource, proven.history.published(intent.change, published.rewritten, self._around.now()))
        if building is not None:
            return failed(snapshot, intent, report, building)
        return ready(intent, proven, published, spared=spared, now=self._around.now())

    async def _converge(self, sessions: Sessions, intent: Intent, cut: Callable[[Report], None]) -> Report:
        """Make the server as desired; the login of a first run is tested beside, where there is a slot for it."""

        async def beside(orders: Orders, tables: Awaitable[None]) -> Failure | None:
            assert orders.credential is not None and orders.credential.login is not None  # settled by the run
            return await test(sessions, intent, orders.credential.login, tables)

        first = not (intent.orders.established or intent.desired.shared or intent.observe)
        return await converge(
            lambda database: sessions.open(intent.admin, database, purpose="admin"),
            intent.desired,
            intent.orders,
            maintenance=intent.admin.database,
            write=not intent.observe,
            prove=beside if first and sessions.may_open_beside(intent.admin) else None,
            cut=cut,
        )

    def _history(self, resource: Resource) -> History:
        history = self._histories.get(resource.key)
        return history if history is not None and history.uid == resource.uid else History(resource.uid)

    def _remember(self, resource: Resource, history: History) -> None:
        self._histories[resource.key] = history
