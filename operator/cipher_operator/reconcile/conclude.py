"""The ends that a run can come to, as Results."""

from dataclasses import replace
from datetime import datetime

from cipher_operator.api.failures import STAGES, ConditionType, Failure
from cipher_operator.api.reasons import Reason
from cipher_operator.core.connection.certificates import certificate_blocks
from cipher_operator.core.discretion import told_to_tenants
from cipher_operator.core.plan.plan import noted
from cipher_operator.core.rotation import seconds_to_rotation
from cipher_operator.core.secret import read_app_secret
from cipher_operator.kube.port import ApiError, ApiUnavailable
from cipher_operator.kube.refusals import missing_rights
from cipher_operator.postgres.provision import Report
from cipher_operator.reconcile.decide import Intent, answered, shown
from cipher_operator.reconcile.doors import door_warning
from cipher_operator.reconcile.inputs import server_of
from cipher_operator.reconcile.prove import Proven, login_of
from cipher_operator.reconcile.publish import Published
from cipher_operator.reconcile.result import Facts, Result, stages
from cipher_operator.reconcile.sessions import Remembered
from cipher_operator.reconcile.snapshot import Snapshot

FOLLOW_UP_SECONDS = 1.0
GAP_SECONDS = 2.0
"""Before a password that was just set is tested again."""
RETEST_SECONDS = 60.0

REFUSED_FOR = 10.0
"""Seconds until an object says that its inputs may not be read: an API server that has just started refuses anybody."""


def refused(snapshot: Snapshot, failure: Failure) -> Result:
    """Return the end of a run that came to no session."""
    return Result(
        failure=failure,
        handled=answered(snapshot.resource),
        unpublished=unpublished(snapshot),
        remembered=isinstance(failure, Remembered),
    )


def failed(snapshot: Snapshot, intent: Intent, report: Report, failure: Failure, *, again_soon: bool = False) -> Result:
    """Return the end of a run that did not reach everything; `again_soon` where the login is tested again at once."""
    failure = failure.at(ConditionType.CONNECTED)
    return Result(
        failure=failure,
        reached=stages(report.observed, failure),
        handled=answered(snapshot.resource),
        unpublished=unpublished(snapshot),
        warnings=report.warnings,
        statements=report.statements,
        cas=_cas(intent),
        soon=GAP_SECONDS if again_soon else None,
        # Pods have what was published before: nothing is said against that yet.
        quiet=again_soon and intent.existing is not None,
        remembered=isinstance(failure, Remembered),
    )


def discreet(snapshot: Snapshot, result: Result) -> Result:
    """Return a result that says no more than whoever reads the storage's status may know."""
    server, failure = server_of(snapshot.resource.raw_spec), result.failure
    if failure is not None:
        result = replace(result, failure=shown(snapshot, failure), cause=failure)
    if server is None or not result.warnings:
        return result
    hidden = snapshot.hidden()
    told = told_to_tenants(result.warnings, server[2], hidden)
    withheld = tuple(text for text in result.warnings if text not in told)
    return replace(result, warnings=told, withheld=withheld)


def planned(snapshot: Snapshot, intent: Intent, report: Report) -> Result:
    """Return the end of a run in Observe mode."""
    reached = STAGES[:1] if report.pending else STAGES[:4]
    return Result(
        plan=intent.tellable(report.pending, report.observed),
        reached=reached,
        handled=answered(snapshot.resource),
        warnings=report.warnings,
        unpublished=unpublished(snapshot),
    )


def ready(intent: Intent, proven: Proven, published: Published, *, spared: bool, now: datetime) -> Result:
    """Return the end of a run after which the storage is Ready."""
    report, requests = proven.report, intent.requests
    observed = report.observed
    assert observed is not None  # converged
    impossible = requests.impossible(intent.spec.user)
    put_off = {"revokePrevious"} if intent.orders.published is None else set()
    resting = {"rotate"} if intent.rests is not None else set()
    handled = {
        name: value for name, value in requests.new.items() if name not in put_off | resting or name in impossible
    }
    # What this run could not do yet waits for no interval; nor does the note of which login is published: by it the
    # next owner, or this storage deleted and made again, spares that login.
    unfinished = not noted(intent.desired, report.orders, observed) or requests.new.keys() - handled - resting
    soon = seconds_to_rotation(intent.spec.rotation_interval, published.annotations, now)
    if intent.rests is not None:
        soon = intent.rests
    if unfinished:
        soon = FOLLOW_UP_SECONDS
    elif spared:
        soon = RETEST_SECONDS if soon is None else min(soon, RETEST_SECONDS)
    retest = ("the login test found no free connection and is tried again",) if spared else ()
    version = observed.server.version
    return Result(
        facts=Facts(
            intent.desired.database,
            login_of(intent, report),
            intent.spec.app.secret_name,
            f"{version // 10_000}.{version % 10_000}",
            published.password_set_at,
        ),
        reached=STAGES,
        handled=handled,
        ignored=tuple(impossible.values()),
        warnings=(*intent.of_the_way(), *report.warnings, *published.warnings, *door_warning(proven.proof), *retest),
        statements=report.statements,
        cas=_cas(intent),
        soon=soon,
    )


def _cas(intent: Intent) -> tuple[str, ...]:
    door = certificate_blocks(intent.door_ca) if intent.door_ca is not None else None
    return tuple(dict.fromkeys(ca for ca in (intent.admin.ca, door) if ca is not None))


def api_refused(error: ApiError | ApiUnavailable, namespace: str) -> Failure:
    """Return the failure of requests that the API server refused, or failed on. Rights that are missing are named, but
    for those in a namespace that is not the storage's."""
    if isinstance(error, ApiUnavailable):
        why = (
            f"the Kubernetes API fails on an object that the spec names, or that is kept for it ({error}); look at its "
            "log: a Secret that it cannot decrypt must be deleted and created anew, an admission webhook that hangs be "
            "mended"
        )
        return Failure(Reason.UNKNOWN, why, stage=ConditionType.CONNECTED)
    why = f"the Kubernetes API refused a request of the operator: {error.reason}; look at its RBAC and quotas"
    rights = [each for each in missing_rights(error) if each[2] in ("", namespace)]
    if rights:
        lacking = " and ".join(_named(*each) for each in rights)
        it = "that right" if len(rights) == 1 else "these rights"
        why = f"the operator may not {lacking}: whoever installed it must give it {it} (RBAC)"
    return Failure(Reason.UNKNOWN, why, stage=ConditionType.CONNECTED)


def unforeseen() -> Failure:
    """Return the failure of a run that ended with an error which nobody has thought of; the log has where."""
    return Failure(
        Reason.UNKNOWN,
        "the server sent what no PostgreSQL does, or the operator has a defect; see where in the operator's log, and "
        "correct the connection Secret, or report it",
        stage=ConditionType.CONNECTED,
    )


def _named(verb: str, resource: str, namespace: str) -> str:
    return f"{verb} {resource}" + (f" in namespace '{namespace}'" if namespace else "")


def unpublished(snapshot: Snapshot) -> bool:
    """Return whether the app Secret is known to be missing, or to hold no login."""
    return snapshot.app is None or read_app_secret(snapshot.app.data) is None
