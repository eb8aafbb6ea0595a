"""One level-triggered reconcile for every cause: create, change, delete, Secret, drift, retry, resync."""

import asyncio
import logging
import random
import time
from datetime import UTC, datetime
from typing import Literal

from cipher_operator.api.conditions import Condition
from cipher_operator.api.failures import STAGES, ConditionType, Failure
from cipher_operator.api.names import ANNOTATION_FORCE_DELETE
from cipher_operator.api.reasons import FailureClass, Reason
from cipher_operator.api.spec import Resource, Spec, parse_resource, parse_spec
from cipher_operator.core.outcome import Outcome, next_status
from cipher_operator.core.requests import Requests
from cipher_operator.kube.cipherstorages import get_storage, patch_status
from cipher_operator.kube.client import KubeClient
from cipher_operator.kube.events import post_event
from cipher_operator.kube.port import ApiError, ApiUnavailable
from cipher_operator.queue.inputs import Inputs
from cipher_operator.queue.servers import Servers
from cipher_operator.reconcile.deletion import finish, protect
from cipher_operator.reconcile.environment import Environment, Progress
from cipher_operator.reconcile.inventory import Key, Memory
from cipher_operator.reconcile.provisioning import StorageRun
from cipher_operator.runtime.metrics import Metrics
from cipher_operator.runtime.settings import Settings

logger = logging.getLogger(__name__)

TRANSIENT_BASE, TRANSIENT_CAP = 2.0, 60.0
WAITING_RETRY = 60.0
"""Seconds between tries where somebody must change an input: the inputs are watched, this only catches the rest."""
STALLED_RETRY = 120.0
BLOCKED_RETRY = 15.0
"""Where a deletion is blocked by what somebody is about to remove, another storage that is deleted too for one."""
API_RETRY = 5.0
"""Seconds at most between tries while the API server is away: when it is back, all storages go on."""


class Reconciler:
    """Runs storages by key. A run never raises for what can go wrong outside; it returns when to come back."""

    def __init__(
        self,
        settings: Settings,
        kube: KubeClient,
        *,
        servers: Servers,
        inputs: Inputs,
        instance_id: str,
        metrics: Metrics,
    ) -> None:
        self._settings, self._kube, self._servers, self._metrics = settings, kube, servers, metrics
        self._memories: dict[Key, Memory] = {}
        self._refusals: dict[Key, int] = {}
        self._environment = Environment(
            kube=kube,
            inputs=inputs,
            servers=servers,
            instance_id=instance_id,
            login_test_interval=settings.login_test_interval,
            now=lambda: datetime.now(UTC),
        )

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a storage that is gone."""
        self._memories.pop(key, None)
        self._refusals.pop(key, None)
        self._servers.forget(key)
        self._metrics.forget(key)

    async def run(self, key: Key) -> float | None:
        """Bring one storage to where it shall be; return the seconds until the next look, None for never."""
        started = time.monotonic()
        try:
            body = await get_storage(self._kube, *key)
            if body is None:
                self.forget(key)
                return None
            delay = await self._reconcile(parse_resource(body), started)
        except ApiUnavailable as error:
            # Without the API server there is neither an input nor a place for a status.
            logger.warning("the Kubernetes API does not answer: %s; trying again", error, extra=_about(key))
            return random.uniform(0.5, 1.0) * API_RETRY  # noqa: S311 - spreads retries
        except ApiError as error:
            # One that has just started refuses for a moment what it allows later.
            logger.warning("the Kubernetes API refused: %s; trying again", error, extra=_about(key))
            failures = self._refusals[key] = self._refusals.get(key, 0) + 1
            return _backoff(failures, TRANSIENT_CAP)
        self._refusals.pop(key, None)
        return delay

    async def _reconcile(self, resource: Resource, started: float) -> float | None:
        memory = self._memory(resource)
        suspended = resource.raw_spec.get("suspend") is True
        if resource.deleting:
            return await self._delete(resource, memory, started)
        if suspended:
            # The status stays as it was, as Flux does it.
            logger.info("suspended by spec.suspend", extra=_about(resource.key))
            return None
        progress = Progress()
        interval: float | None = None
        try:
            spec = parse_spec(resource.namespace, resource.name, resource.raw_spec)
            interval = spec.interval
            outcome = await self._provision(resource, spec, memory, progress)
        except Failure as failure:
            outcome = Outcome(
                failure=failure.at(ConditionType.CONNECTED),
                reached=tuple(dict.fromkeys(progress.reached)),
                handled=_answered(resource),
                unpublished=progress.unpublished,
            )
        await self._report(resource, outcome, progress, started)
        return _sooner(self._next_look(outcome, memory, interval), progress.next_look)

    async def _provision(self, resource: Resource, spec: Spec, memory: Memory, progress: Progress) -> Outcome:
        _refuse_extensions(spec, self._settings.allowed_extensions)
        run = StorageRun(self._environment, resource, spec, memory, progress)
        try:
            async with asyncio.timeout(self._settings.reconcile_timeout) as limit:
                loop = asyncio.get_running_loop()
                progress.extend = lambda seconds: limit.reschedule(loop.time() + seconds)
                await protect(self._environment, resource, spec)
                facts = await run.provision()
        except TimeoutError:
            raise Failure(
                Reason.UNKNOWN,
                f"the run did not finish within {self._settings.reconcile_timeout:g} s; trying again",
                stage=_first_open(progress),
            ) from None
        except ApiError as error:
            raise Failure(
                Reason.UNKNOWN,
                f"the Kubernetes API refused a request of the operator: {error.reason}; look at its RBAC and quotas",
                stage=_first_open(progress),
            ) from error
        return Outcome(
            facts=facts,
            reached=tuple(dict.fromkeys(progress.reached)),
            plan=progress.plan,
            handled=progress.handled if facts is not None else _answered(resource),
            warnings=tuple(progress.warnings),
            unpublished=progress.unpublished,
        )

    async def _delete(self, resource: Resource, memory: Memory, started: float) -> float | None:
        try:
            async with asyncio.timeout(self._settings.reconcile_timeout):
                lines = await finish(self._environment, resource)
        except TimeoutError:
            failure = Failure(Reason.UNKNOWN, "the deletion did not finish in time; trying again")
        except Failure as raised:
            failure = raised
        else:
            logger.info("let go after %d statements", len(lines), extra=_about(resource.key))
            self.forget(resource.key)
            return None
        if ANNOTATION_FORCE_DELETE not in failure.message:
            failure.message = (
                f"The deletion waits: {failure.message.rstrip('.')}. To leave everything on the server, set "
                f'annotation `{ANNOTATION_FORCE_DELETE}: "true"`'
            )
        failed = failure.at(ConditionType.CONNECTED).stage or ConditionType.CONNECTED
        outcome = Outcome(failure=failure, reached=STAGES[: STAGES.index(failed)])
        await self._report(resource, outcome, Progress(), started)
        return self._next_look(outcome, memory, None)

    async def _report(self, resource: Resource, outcome: Outcome, progress: Progress, started: float) -> None:
        """Write the status if it changed; then the event, the log line and the metrics."""
        now = self._environment.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        status = next_status(
            outcome,
            resource.status,
            resource.generation,
            now,
            progress_deadline=self._settings.progress_deadline,
        )
        if status != dict(resource.status):
            await patch_status(self._kube, resource.namespace, resource.name, resource.uid, status)
        seconds = time.monotonic() - started
        self._metrics.outcome(resource.key, str(outcome.result), seconds, status["conditions"])
        self._metrics.statements(progress.statements)
        message = next(c["message"] for c in status["conditions"] if c["type"] == "Ready")
        level = logging.INFO if outcome.failure is None else logging.WARNING
        details = {"reason": str(outcome.result), "seconds": round(seconds, 3), "statements": progress.statements}
        if outcome.failure is not None and outcome.failure.sqlstate:
            details["sqlstate"] = outcome.failure.sqlstate
        logger.log(level, "%s: %s", outcome.result, message, extra={**_about(resource.key), **details})
        await self._post_events(resource, outcome, progress, message)

    async def _post_events(self, resource: Resource, outcome: Outcome, progress: Progress, message: str) -> None:
        """Post on transitions only: Ready's status or reason changed, or drift was healed."""
        before = _ready(resource)
        changed = before is None or (before.status, before.reason) != (
            "False" if outcome.failure is not None or outcome.plan else "True",
            str(outcome.result),
        )
        if before is not None and before.status == "True" and progress.changes and outcome.failure is None:
            # Whose role runs a statement, and the marker, are no news to a person.
            shown = [line for line in progress.changes if not line.startswith(("SET LOCAL ROLE", "COMMENT ON"))]
            lines = " ".join(shown)
            if progress.rotated:
                note = f"A new password is published, the one before stays valid until the next; {lines}"
                await self._event(resource, "Normal", "PasswordRotated", note)
            elif progress.lost_secret:
                note = f"The app Secret was missing or unusable: a new password is published; {lines}"
                await self._event(resource, "Warning", "SecretRecreated", note)
            elif progress.brought:
                note = f"The password in `user.passwordSecretRef` counts now, the one before no longer; {lines}"
                await self._event(resource, "Normal", "PasswordChanged", note)
            elif shown and "revokePrevious" in progress.handled:
                note = f"The login that is not published may no longer log in; {lines}"
                await self._event(resource, "Normal", "PreviousRevoked", note)
            elif shown and before.observed_generation == resource.generation:
                await self._event(resource, "Warning", "DriftHealed", f"The server had drifted; {lines}")
        for sentence in progress.ignored:
            await self._event(resource, "Warning", "RequestIgnored", sentence)
        if changed:
            type_: Literal["Normal", "Warning"] = "Normal"
            if outcome.failure is not None or outcome.plan:
                type_ = "Warning"
            await self._event(resource, type_, str(outcome.result), message)

    async def _event(self, resource: Resource, type_: Literal["Normal", "Warning"], reason: str, note: str) -> None:
        await post_event(self._kube, resource, type_=type_, reason=reason, note=note, action="Reconcile")

    def _next_look(self, outcome: Outcome, memory: Memory, interval: float | None) -> float | None:
        """Return the seconds until the next look, by the class of what went wrong."""
        failure = outcome.failure
        if failure is None:
            memory.failures = 0
            every = self._settings.interval if interval is None else interval
            return random.uniform(0.9, 1.1) * every if every else None  # noqa: S311 - spreads checks
        if failure.failure_class is FailureClass.TRANSIENT:
            memory.failures += 1
            return _backoff(memory.failures, TRANSIENT_CAP)
        memory.failures = 0
        slow = WAITING_RETRY if failure.failure_class is FailureClass.WAITING else STALLED_RETRY
        if failure.reason is Reason.DELETION_BLOCKED:
            slow = BLOCKED_RETRY
        return random.uniform(0.75, 1.0) * slow  # noqa: S311 - spreads retries

    def _memory(self, resource: Resource) -> Memory:
        memory = self._memories.get(resource.key)
        if memory is None or memory.uid != resource.uid:
            memory = self._memories[resource.key] = Memory(resource.uid)
        return memory


def _refuse_extensions(spec: Spec, allowed: tuple[str, ...]) -> None:
    """Raise Failure InvalidSpec for an extension that this operator does not create: some let people out of SQL."""
    for extension in spec.extensions:
        if extension not in allowed:
            raise Failure(
                Reason.INVALID_SPEC,
                f"`spec.extensions` names '{extension}', which this operator does not create; it creates "
                f"{', '.join(allowed) or 'none'} (flag --allowed-extensions)",
                stage=ConditionType.CONNECTED,
            )


def _answered(resource: Resource) -> dict[str, str]:
    """Return the requests that every finished look answers, whatever it found: to look, and to forget one."""
    return {name: value for name, value in Requests.of(resource).new.items() if name == "reconcile" or not value}


def _ready(resource: Resource) -> Condition | None:
    conditions = resource.status.get("conditions")
    found = (Condition.from_json(raw) for raw in conditions) if isinstance(conditions, list) else ()
    return next((condition for condition in found if condition and condition.type == ConditionType.READY), None)


def _first_open(progress: Progress) -> ConditionType:
    """Return the first stage that is not proven."""
    return next((stage for stage in STAGES if stage not in progress.reached), STAGES[-1])


def _backoff(failures: int, cap: float) -> float:
    """Return the seconds until the next try after so many failures in a row, with jitter."""
    return random.uniform(0.75, 1.0) * min(cap, TRANSIENT_BASE * 2.0 ** min(failures - 1, 10))  # noqa: S311


def _sooner(one: float | None, other: float | None) -> float | None:
    """Return the smaller of two times, where None is never."""
    return min((seconds for seconds in (one, other) if seconds is not None), default=None)


def _about(key: Key) -> dict[str, str]:
    return {"storage": f"{key[0]}/{key[1]}"}
