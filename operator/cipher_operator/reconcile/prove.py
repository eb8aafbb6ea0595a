"""The proof before publishing: the login does what Cipher does, at the operator's door and at the pods'."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace

from cipher_operator.api.failures import Failure
from cipher_operator.api.names import ANNOTATION_RECONCILE
from cipher_operator.api.reasons import Reason
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.door import app_login, door_login
from cipher_operator.core.marker import parse_marker
from cipher_operator.core.plan.fitness import judged_by_proof
from cipher_operator.postgres.login import prove_login
from cipher_operator.postgres.provision import Report, converge
from cipher_operator.reconcile.decide import Intent
from cipher_operator.reconcile.doors import UNREACHABLE, of_login, pods_way, test_doors
from cipher_operator.reconcile.history import History
from cipher_operator.reconcile.proof import Proof, Subject, due
from cipher_operator.reconcile.sessions import Remembered, Sessions

GAPS = 3
"""Tests, 2 s apart, of a password that was just set: poolers learn of it a moment after the server."""
SETS_AGAIN = "The operator sets the password again where the app Secret is its own"
HAS_SET = (
    "The operator sets the password again no more than once, and has set it; where somebody has changed it since, have "
    f"it set once more with a new value of annotation `{ANNOTATION_RECONCILE}`"
)


@dataclass(frozen=True, slots=True)
class Proven:
    """The proof, and report and history as it left them."""

    proof: Proof
    report: Report
    history: History

    @property
    def again_soon(self) -> bool:
        """Return whether a refused login is to be tested again in a moment: its password was just set. What is wrong
        with the tables showed once it was let in."""
        failure = self.proof.failure
        let_in = failure is not None and failure.reason is Reason.SCHEMA_CONFLICT
        return self.history.password_set == self.proof.of.password and self.history.refusals < GAPS and not let_in


async def prove(
    sessions: Sessions,
    intent: Intent,
    report: Report,
    history: History,
    *,
    now: float,
    interval: float,
    remember: Callable[[History], None],
) -> Proven:
    """Test the login where that is due, and return the proof that stands.

    A password that the server itself refuses is set again, once; a refusal that was only remembered causes no write.
    `now` is in monotonic seconds. Raises Busy where the pods' door has no free slot; `remember` keeps what was learnt.
    """
    of, login = subject(sessions, intent, report), login_of(intent, report)
    history = _after_setting(sessions, intent, report, history, of)
    remember(history)
    acted, asked = bool(report.executed) or intent.existing is None, "reconcile" in intent.requests.new
    if asked and history.refusals >= GAPS:
        # It was given the time that poolers need. Whoever asks says that it may be another by now.
        history = replace(history, password_set=None)
        remember(history)
    before = history.proof
    needed = report.tested or due(before, of, acted=acted, asked=asked, now=now, interval=interval)
    if before is not None and not needed:
        return Proven(before, report, history)
    refusal = report.refusal if report.tested else await test(sessions, intent, login)
    if refusal is not None and _may_set_again(intent, history, refusal, of):

        def did(again: Report) -> None:
            nonlocal history
            history = history.did(intent.tellable(again.executed, again.observed), again.taken_over)
            remember(history)

        again = await _set_again(sessions, intent, report, did)
        of = subject(sessions, intent, again)
        # One that failed before has set nothing, and is tried again.
        history = _after_setting(sessions, intent, again, history, of)
        remember(history)
        report, refusal = _together(report, again), again.failure
        if refusal is None:
            refusal = await test(sessions, intent, login)
    if refusal is not None and report.failure is None and not intent.desired.shared:
        refusal = _with_remedy(refusal, once_set=history.password_set == of.password)
    door, own = None, refusal is None
    if own:
        refusal, door = await test_doors(
            sessions,
            intent,
            login,
            ssl_in_use=bool(report.ssl_in_use),
            building=bool(report.deferred),
            started=report.observed.server.started if report.observed is not None else None,
        )
        if door is not None and (said := _still_said(before, of, door)) is not None:
            refusal, door = said, None
    proof = Proof(of, now, refusal, isinstance(refusal, Remembered), door, at_door=own and refusal is not None)
    history = history.proven(proof)
    remember(history)
    proven = Proven(proof, report, history)
    if refusal is not None and proven.again_soon:
        # At whichever of the doors it was refused: what caches logins knows the new password a little later.
        for way in _ways(intent, report, login):
            sessions.forget_verdict(way)
    return proven


def subject(sessions: Sessions, intent: Intent, report: Report) -> Subject:
    """Return what a proof of this run is of, as the last observation shows it."""
    login, admin = login_of(intent, report), intent.admin
    door = door_login(intent.door(ssl_in_use=bool(report.ssl_in_use)), admin, intent.credentials(login))
    where = [(at.host, str(at.port), str(at.ssl_mode), at.ca or "") for at in (admin, door)]
    digest = sessions.digest(*(part for at in where for part in at), intent.desired.database, login, intent.password)
    asked = [(at.channel_binding, at.require_auth, at.ssl_negotiation, at.target_session_attrs) for at in (admin, door)]
    terms = sessions.digest(str(intent.spec.app.verify), *(str(term) for at in asked for term in at))
    observed = report.observed
    if observed is None:
        return Subject(digest, terms=terms)
    # As it was written last: a run that failed behind that has not looked again.
    marker = parse_marker(report.orders.standing) if not intent.desired.shared else None
    judged = sessions.digest(*judged_by_proof(observed, login))
    return Subject(digest, marker.rev if marker is not None else None, observed.server.started, judged, terms)


def login_of(intent: Intent, report: Report) -> str:
    """Return the role behind the login that this run works towards."""
    credential = report.orders.credential
    return intent.desired.user if credential is None or credential.login is None else credential.login


async def test(sessions: Sessions, intent: Intent, login: str, tables: Awaitable[None] | None = None) -> Failure | None:
    """Log in at the operator's own door and do what Cipher does; return why that does not work, None where it does.

    With `tables`, beside the work on the schema: the session is opened at once, and used when that is done.
    """
    connection = app_login(intent.admin, intent.credentials(login))
    try:
        if tables is None:
            sessions.enter(connection)
        async with sessions.open(connection, intent.desired.database, purpose="login") as session:
            if tables is not None:
                await tables
            await prove_login(session, intent.desired, login)
    except Failure as failure:
        return of_login(failure, "The login test with the app's own password failed")
    return None


def _with_remedy(refusal: Failure, *, once_set: bool) -> Failure:
    """Return why the operator's own door refused a password, with what the operator does about that: one that was set
    is only tested from then on."""
    if refusal.reason is not Reason.AUTHENTICATION_FAILED:
        return refusal
    kind = Remembered if isinstance(refusal, Remembered) else Failure
    message = f"{refusal.message}. {HAS_SET if once_set else SETS_AGAIN}"
    return kind(refusal.reason, message, stage=refusal.stage, sqlstate=refusal.sqlstate)


def _still_said(before: Proof | None, of: Subject, door: Failure) -> Failure | None:
    """Return what the pods' door said of the same login, where nobody was reached there now: that lifts no refusal.

    A pooler that the server does not let in answers its next clients late (PgBouncer: `server_login_retry`).
    """
    if before is None or before.failure is None or not before.at_door or door.reason not in UNREACHABLE:
        return None
    if (before.of.digest, before.of.terms) != (of.digest, of.terms):
        return None
    said = before.failure
    # Somebody was asked: it counts as a test that failed, and the next one comes later.
    return Failure(said.reason, said.message, stage=said.stage, sqlstate=said.sqlstate)


def _ways(intent: Intent, report: Report, login: str) -> Iterator[AdminConnection]:
    """Yield the ways on which the login is tested."""
    yield app_login(intent.admin, intent.credentials(login))
    door = pods_way(intent, login, ssl_in_use=bool(report.ssl_in_use))
    if door is not None and door.other:
        yield door.way


def _after_setting(sessions: Sessions, intent: Intent, report: Report, history: History, of: Subject) -> History:
    """Return the history where this run has set the password: from now on it is only tested."""
    if not any("PASSWORD '***'" in line for line in report.executed):
        return history
    history = replace(history, password_set=of.password, refusals=0).settled(login_of(intent, report))
    return history if intent.brought is None else replace(history, brought=sessions.digest(intent.brought))


def _may_set_again(intent: Intent, history: History, refusal: Failure, of: Subject) -> bool:
    return (
        refusal.reason is Reason.AUTHENTICATION_FAILED
        and not isinstance(refusal, Remembered)
        and not intent.desired.shared
        and history.password_set != of.password
    )


async def _set_again(sessions: Sessions, intent: Intent, report: Report, did: Callable[[Report], None]) -> Report:
    """Set the password of a login that the server refused, and return the report of that. `did` is called with it, also
    where it is cut off."""
    credential = report.orders.credential
    assert credential is not None  # only a login of ours is set again
    again = await converge(
        lambda database: sessions.open(intent.admin, database, purpose="admin"),
        intent.desired,
        replace(report.orders, credential=replace(credential, change=True), established=True),
        maintenance=intent.admin.database,
        cut=did,
    )
    did(again)
    for way in _ways(intent, again, login_of(intent, again)):
        sessions.forget_verdict(way)
    return again


def _together(report: Report, again: Report) -> Report:
    return replace(
        again,
        executed=(*report.executed, *again.executed),
        statements=report.statements + again.statements,
        deferred=again.deferred or report.deferred,
    )
