"""`plan` and `check`: the same look at the server that a run takes, from files or a cluster, and without a write.

Whoever takes it holds what he gives it: the files, or a kubeconfig with its rights. So he is told the cause of all that
fails, a CipherServer's too, which a status keeps from tenants.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cipher_operator.api.failures import Failure
from cipher_operator.api.names import ANNOTATION_FORCE_DELETE, FINALIZER
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import ManagementPolicy
from cipher_operator.core.connection.password import Password
from cipher_operator.core.marker import Identity
from cipher_operator.identity.port import Tokens
from cipher_operator.kube.namespaces import get_labels
from cipher_operator.kube.port import Reading
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.provision import Report, converge
from cipher_operator.postgres.session import Session
from cipher_operator.queue.references import References
from cipher_operator.reconcile.decide import Intent, decide, parse, shown
from cipher_operator.reconcile.digest import Digest
from cipher_operator.reconcile.history import History
from cipher_operator.reconcile.inputs import Key, Ref, server_of
from cipher_operator.reconcile.manifests import Manifests
from cipher_operator.reconcile.namespaces import Namespaces
from cipher_operator.reconcile.places import Places
from cipher_operator.reconcile.rules import Rules
from cipher_operator.reconcile.sessions import with_token
from cipher_operator.reconcile.snapshot import LabelsUnknown, Snapshot, read_snapshot

UNSET = Password("not set by anybody")
UNKNOWN_INSTANCE = "offline"


@dataclass(frozen=True, slots=True)
class Means:
    """What a look is taken with."""

    rules: Rules
    policy: DialPolicy
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Look:
    """What a look has shown: what a first run would do, or why it cannot; and why the operator does none of it."""

    found: Report | Failure
    notes: tuple[str, ...] = ()


async def examine(manifests: Manifests, means: Means) -> Look:
    """Look at the server as a first run would. Writes nothing."""
    look = await examine_live(manifests, manifests.storage.key, manifests.servers, means)
    assert look is not None  # the files hold it
    return replace(look, notes=(*look.notes, *_beyond(look.found, manifests.storage.key, means.rules.instance)))


def _beyond(found: Report | Failure, key: Key, instance: str) -> Iterator[str]:
    """Yield what files do not tell: the status and the published Secret of a storage that stands."""
    if isinstance(found, Failure) or found.observed is None:
        return
    own = Identity(instance, *key, uid="")
    markers = (role.marker for role in found.observed.roles.values())
    if any(marker is not None and marker.identity.same_storage(own) for marker in markers):
        yield (
            "the operator manages it already, and files have neither its status nor its login; for what the operator "
            f"would do in the cluster: `cipher-operator plan {key[1]} -n {key[0]}`"
        )


async def examine_live(kube: Reading, key: Key, servers: str, means: Means) -> Look | None:
    """Look at the server of a CipherStorage as a first run would; None where there is no such storage. `servers` is the
    namespace in which all that CipherServers name is. Writes nothing.

    Raises ApiError, ApiUnavailable.
    """
    digest = Digest()
    snapshot = await _snapshot(kube, key, servers, digest)
    if snapshot is None:
        return None
    return Look(await _found(snapshot, means, digest), tuple(_notes(snapshot)))


def _notes(snapshot: Snapshot) -> Iterator[str]:
    """Yield why the operator does not do what a first run would."""
    resource = snapshot.resource
    observes = resource.raw_spec.get("managementPolicy") == ManagementPolicy.OBSERVE
    if resource.deleting:
        forced = resource.annotations.get(ANNOTATION_FORCE_DELETE) == "true"
        drops = FINALIZER in resource.finalizers and not (observes or forced or snapshot.suspended)
        then = "removes from the server what it created there" if drops else "leaves the server as it is"
        yield f"it is being deleted: the operator only {then}"
    elif snapshot.suspended:
        yield "it is suspended: the operator does nothing for it until `spec.suspend` is false"
    elif observes:
        yield "`spec.managementPolicy` is Observe: the operator writes this plan into the status, and runs none of it"


async def _found(snapshot: Snapshot, means: Means, digest: Digest) -> Report | Failure:
    intent = _intent(snapshot, means.rules, digest)
    if isinstance(intent, Failure):
        return intent

    @asynccontextmanager
    async def connect(database: str) -> AsyncIterator[Session]:
        granted = await with_token(intent.admin, means.tokens)
        async with await Session.open(granted, database, means.policy) as session:
            yield session

    report = await converge(connect, intent.desired, intent.orders, maintenance=intent.admin.database, write=False)
    if report.failure is not None:
        return _whose(snapshot, report.failure)
    # He may know what is said to the administrator, too.
    warnings = (*intent.admin.warnings, *intent.of_the_way(), *report.warnings)
    return replace(report, warnings=tuple(dict.fromkeys(warnings)))


async def _snapshot(kube: Reading, key: Key, servers: str, digest: Digest) -> Snapshot | None:
    """Return the storage and its inputs; the Namespace is read only where a CipherServer asks for its labels."""
    inputs: References[Key, Ref] = References(lambda _: None)
    namespaces, places = Namespaces(servers), Places(inputs)
    snapshot = await read_snapshot(kube, inputs, namespaces, places, key, digest, suspended=True)
    if snapshot is None or not isinstance(snapshot.barred, LabelsUnknown):
        return snapshot
    namespaces.saw(key[0], await get_labels(kube, key[0]))
    return await read_snapshot(kube, inputs, namespaces, places, key, digest, suspended=True)


def _intent(snapshot: Snapshot, rules: Rules, digest: Digest) -> Intent | Failure:
    """Return what a first run works towards, or the cause why that cannot be."""
    spec = parse(snapshot, rules)
    if isinstance(spec, Failure):
        return _cause(snapshot, spec)
    try:
        # In its own words: what `decide` says of it is for tenants.
        snapshot.login(spec).admin(spec.connection)
    except Failure as failure:
        return _of_server(snapshot, failure)
    if rules.instance == UNKNOWN_INSTANCE and spec.tenant is not None and spec.adopt_from is not None:
        # A tenant's can be this operator's alone: whoever has no cluster to ask is taken at his word.
        rules = replace(rules, instance=spec.adopt_from.instance)
    return decide(snapshot, spec, History(""), rules, now=datetime.now(UTC), fresh=UNSET, digest=digest)


def _cause(snapshot: Snapshot, failure: Failure) -> Failure:
    """Return why the CipherServer cannot be used, where that is what a failure says to tenants."""
    if failure.reason is not Reason.SERVER_NOT_AVAILABLE:
        return failure
    unusable = snapshot.offer.spec if snapshot.offer is not None else snapshot.barred
    return _of_server(snapshot, unusable) if isinstance(unusable, Failure) else failure


def _whose(snapshot: Snapshot, failure: Failure) -> Failure:
    """Return a failure that says that it is the CipherServer's, where it is."""
    own = failure.reason in {Reason.CONFLICT, Reason.ALREADY_EXISTS} or shown(snapshot, failure) is failure
    return failure if own else _of_server(snapshot, failure)


def _of_server(snapshot: Snapshot, failure: Failure) -> Failure:
    server = server_of(snapshot.resource.raw_spec)
    return failure if server is None else failure.saying(f"CipherServer '{server[2]}': {failure.message}")
