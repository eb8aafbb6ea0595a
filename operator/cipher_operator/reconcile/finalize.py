"""Finalizers, and the end of a CipherStorage: who adds them, who takes them away, and what is dropped on the server."""

from collections.abc import Callable
from dataclasses import replace

from cipher_operator.api.failures import STAGES, ConditionType, Failure
from cipher_operator.api.names import ANNOTATION_FORCE_DELETE, FINALIZER, IN_USE_FINALIZER, SERVER_KIND
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import DeletionPolicy, ManagementPolicy, Resource, Spec
from cipher_operator.core.connection.admin import AdminConnection, read_admin_connection
from cipher_operator.core.desired import desired_from
from cipher_operator.core.discretion import masked, unavailable
from cipher_operator.core.orders import Orders
from cipher_operator.kube.cipherservers import holdable, servers
from cipher_operator.kube.cipherstorages import add_finalizer, remove_finalizer, storage_path, storages
from cipher_operator.kube.finalizers import TRIES, Holdable, add, find, find_again, remove
from cipher_operator.kube.port import ApiError, Json, Kube
from cipher_operator.kube.secrets import secret_path
from cipher_operator.postgres.remove import Removal
from cipher_operator.postgres.remove import remove as remove_from_server
from cipher_operator.reconcile.decide import is_ours, settled, shown
from cipher_operator.reconcile.heirs import heir_of
from cipher_operator.reconcile.inputs import SECRET, Ref, login_references, ways_in
from cipher_operator.reconcile.result import Ended, Result
from cipher_operator.reconcile.sessions import Remembered, Sessions, offer_of
from cipher_operator.reconcile.snapshot import Snapshot
from cipher_operator.reconcile.surroundings import Surroundings


async def ensure_finalizers(
    around: Surroundings, snapshot: Snapshot, spec: Spec, stored: Callable[[str], None]
) -> tuple[tuple[str, str], ...]:
    """Hold, or let go of, the CipherStorage and the way to its server as the deletion policy asks.

    Held before anything is created on the server; the connection Secret and a Secret with its CA too: the deletion of a
    namespace removes those first. A CipherServer is held whatever the policy says, with its Secrets, which its own run
    sees to from then on. Where the connection Secret is missing nothing is held: that run creates nothing.
    Returns kind and name of what somebody deletes; `stored` is called with the storage's new resourceVersion. Raises
    ApiError, ApiUnavailable, and Failure where the way in went after it was read.
    """
    kube, home, resource = around.kube, around.namespaces.servers, snapshot.resource
    again = False
    if spec.management_policy is not ManagementPolicy.MANAGE:
        if FINALIZER in resource.finalizers:
            await release(kube, resource, home)
        return ()
    ways = _ways(snapshot, spec)
    if spec.tenant is not None and not resource.status.get("database"):
        # Since it is noted as at work, one that is deleted from now on waits for it.
        ways = [await _still_open(kube, each, spec.tenant.server) for each in ways]
    if spec.deletion_policy is not DeletionPolicy.DELETE:
        if FINALIZER in resource.finalizers:
            await release(kube, resource, home)
        ways = ways if spec.tenant is not None else []
    elif not ways:
        return ()
    elif FINALIZER not in resource.finalizers:
        stored(await add_finalizer(kube, resource, FINALIZER))
        again = True
    ways = [await _held(kube, resource, spec, each, again=again) for each in ways]
    for each in snapshot.offered_secrets(around.inputs):
        await _held(kube, resource, spec, each, again=False)
    kind = SERVER_KIND if spec.tenant is not None else SECRET
    return tuple((kind, held.name) for held in ways if held.deleting)


def _ways(snapshot: Snapshot, spec: Spec) -> list[Holdable]:
    """Return what leads to the server and can be held; nothing where the connection Secret is missing."""
    if spec.tenant is not None and snapshot.offer is not None:
        return [holdable(snapshot.offer.resource)]
    contents = snapshot.contents
    if contents.secret(spec.connection.secret_name) is None:
        return []
    refs = ways_in(snapshot.resource.namespace, snapshot.resource.raw_spec)
    return [secret.holdable for secret in (contents.secret(ref[2]) for ref in refs) if secret is not None]


async def _still_open(kube: Kube, before: Holdable, server: str) -> Holdable:
    """Return a CipherServer as it is now. Raises Failure where it takes no new storage any more."""
    now = await find_again(kube, before)
    if now is None or now.deleting:
        raise unavailable(server)
    return now


async def _held(kube: Kube, resource: Resource, spec: Spec, way: Holdable, *, again: bool) -> Holdable:
    """Hold what leads to the server, unless somebody deletes it, and return it. Looked at `again` where the storage is
    held just now: another storage's release leaves it there from then on. Raises Failure where it went."""
    found = await find(kube, way.path) if again else way
    if found is not None and not found.deleting and IN_USE_FINALIZER not in found.finalizers:
        try:
            await add(kube, found, IN_USE_FINALIZER)
        except ApiError:
            found = await find_again(kube, found)
            if found is not None and not found.deleting:
                raise
    if found is None:
        raise await _went(kube, resource, spec, way)
    return found


async def _went(kube: Kube, resource: Resource, spec: Spec, way: Holdable) -> Failure:
    """Return what a run ends with whose way to the server went. Where it is the first, nothing was created: the storage
    is held for nothing then."""
    storage = await find(kube, storage_path(*resource.key)) if FINALIZER not in resource.finalizers else None
    if storage is not None and storage.uid == resource.uid:
        await remove(kube, storage, FINALIZER)
    if spec.tenant is not None:
        return unavailable(spec.tenant.server)
    return Failure(
        Reason.SECRET_NOT_FOUND,
        f"'{way.name}', which `spec.connection` names, was deleted a moment ago; create it, and this storage goes on "
        "at once",
        stage=ConditionType.CONNECTED,
    )


async def release(kube: Kube, resource: Resource, home: str | None) -> None:
    """Take our finalizer off the CipherStorage, then ours off its way to the server where nobody else needs it.

    In this order: a crash between leaves a Secret whose finalizer the next start takes away, the other order a storage
    that cannot be finished any more. A CipherServer lets itself go. `home` as for `release_input`.
    """
    await remove_finalizer(kube, resource, FINALIZER)
    for ref in ways_in(resource.namespace, resource.raw_spec):
        if ref[0] == SECRET:
            await release_input(kube, ref, home=home, without=resource.uid)


async def release_input(kube: Kube, ref: Ref, *, home: str | None, without: str = "") -> None:
    """Take our finalizer off a Secret that no held object needs; `without` is the uid of one that is done, `home` the
    namespace in which what CipherServers name is, None where there are none.

    A storage that takes hold of the Secret while the others are looked through changes it: then they are looked through
    again. One that found it held by then changes nothing, and counts on it: so they are after it is let go, too.
    """
    path = secret_path(ref[1], ref[2])
    for _ in range(TRIES):
        held = await find(kube, path)
        if held is None or IN_USE_FINALIZER not in held.finalizers:
            return
        if await _needed(kube, ref, home, without):
            return
        if await remove(kube, held, IN_USE_FINALIZER, as_seen=True):
            break
    if await _needed(kube, ref, home, without):
        held = await find(kube, path)
        if held is not None and not held.deleting:
            await add(kube, held, IN_USE_FINALIZER)


async def _needed(kube: Kube, ref: Ref, home: str | None, without: str) -> bool:
    """Return whether a held storage of the namespace, or a held CipherServer, needs a Secret."""
    return await _uses(kube, ref, without) or (ref[1] == home and await _serves(kube, ref, without))


async def _uses(kube: Kube, ref: Ref, without: str) -> bool:
    """Return whether a held storage of the namespace needs a Secret."""
    async for other in storages(kube, ref[1]):
        if _holds(other, FINALIZER, without) and ref in ways_in(ref[1], other.get("spec")):
            return True
    return False


async def _serves(kube: Kube, ref: Ref, without: str) -> bool:
    """Return whether a held CipherServer needs a Secret."""
    async for server in servers(kube):
        if _holds(server, IN_USE_FINALIZER, without) and ref in login_references(ref[1], server.get("spec")):
            return True
    return False


def _holds(body: Json, finalizer: str, without: str) -> bool:
    metadata = body["metadata"]
    return finalizer in (metadata.get("finalizers") or ()) and metadata["uid"] != without


async def finish(
    around: Surroundings,
    snapshot: Snapshot,
    sessions: Sessions,
    removed: Callable[[tuple[str, ...]], None],
    ca: str | None = None,
) -> Result | Ended:
    """Carry out a deletion and let the object go; return its end, or what it waits for. Raises ApiError, Busy.

    `removed` is called with the SQL lines that ran, before anything else may fail, and where the deletion is cut off.
    `ca` is the CA that was used last, for a deletion that finds no more.
    """
    resource = snapshot.resource
    if FINALIZER not in resource.finalizers:
        return Ended()
    removal, why = Removal(kept=("everything",)), untouched(snapshot)

    def ran(lines: tuple[str, ...]) -> None:
        removed(_told(snapshot, lines))

    if why is None:
        try:
            removal = await _remove(around, snapshot, sessions, ca, ran)
        except Failure as failure:
            removal = replace(removal, failure=failure)
    ran(removal.lines)
    if removal.failure is not None:
        return _waits(removal, snapshot)
    await release(around.kube, resource, around.namespaces.servers)
    missed = bool(resource.status.get("database")) and not (removal.lines or removal.kept)
    return Ended(_told(snapshot, removal.lines), removal.kept, why or "", missed)


def waiting(resource: Resource, failure: Failure) -> Failure:
    """Return what a deletion waits for, with the way out beside it; a failure of anything else as it is."""
    if not resource.deleting or ANNOTATION_FORCE_DELETE in failure.message:
        return failure
    return failure.saying(
        f"The deletion waits: {failure.message.rstrip('.')}. To leave everything on the server, set "
        f'annotation `{ANNOTATION_FORCE_DELETE}: "true"`'
    )


def untouched(snapshot: Snapshot) -> str | None:
    """Return what keeps the deletion from touching the server, None where nothing does."""
    resource = snapshot.resource
    if resource.annotations.get(ANNOTATION_FORCE_DELETE) == "true":
        return f"annotation `{ANNOTATION_FORCE_DELETE}`"
    return "`spec.suspend`" if snapshot.suspended else None


async def _remove(
    around: Surroundings,
    snapshot: Snapshot,
    sessions: Sessions,
    ca: str | None,
    ran: Callable[[tuple[str, ...]], None],
) -> Removal:
    """Drop what the storage created. Raises Failure where there is no way to the server."""
    resource, spec = snapshot.resource, settled(snapshot)
    if spec.management_policy is not ManagementPolicy.MANAGE:
        return Removal(kept=("everything, as `managementPolicy: Observe` asks",))
    if spec.deletion_policy is not DeletionPolicy.DELETE:
        return Removal(kept=("everything, as `deletionPolicy: Retain` asks",))
    admin = _admin(snapshot, spec, ca)
    if not (spec.database.name or admin.database or resource.status.get("database")):
        # It never knew where to begin.
        return Removal()
    desired = desired_from(resource, spec, admin, around.rules.instance)
    heir = await heir_of(around, resource, admin, desired.database)
    sessions.enter(admin, offer_of(spec.tenant))
    return await remove_from_server(
        lambda database: sessions.open(admin, database, purpose="admin"),
        desired,
        Orders(established=bool(resource.status.get("database"))),
        maintenance=admin.database,
        heir=heir,
        cut=ran,
    )


def _admin(snapshot: Snapshot, spec: Spec, ca: str | None) -> AdminConnection:
    """Return the way in. A CA that went with its namespace stands in the app Secret as well, or is remembered."""
    try:
        return snapshot.admin(spec)
    except Failure as failure:
        if failure.reason is not Reason.SECRET_NOT_FOUND or spec.tenant is not None:
            # A tenant's own Secret does not say whom the administrator's login may trust.
            raise
        secret, app = snapshot.contents.secret(spec.connection.secret_name), snapshot.app
        ours = app is not None and is_ours(snapshot.resource, app)
        certificates = app.data.get("certificates") if app is not None and ours else None
        if certificates is None and ca is not None:
            certificates = ca.encode()
        if secret is not None and certificates:
            return read_admin_connection(secret.data, spec.connection, certificates)
        raise Failure(
            Reason.DELETION_BLOCKED,
            f'{failure.message}; or leave everything on the server with annotation `{ANNOTATION_FORCE_DELETE}: "true"`',
            stage=failure.stage,
        ) from None


def _told(snapshot: Snapshot, lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return SQL as whoever reads the storage's Events may know it."""
    for name in snapshot.hidden():
        lines = masked(lines, name)
    return lines


def _waits(removal: Removal, snapshot: Snapshot) -> Result:
    """Return the end of a deletion that waits."""
    assert removal.failure is not None
    found = removal.failure.at(ConditionType.CONNECTED)
    failure = waiting(snapshot.resource, shown(snapshot, found))
    assert failure.stage is not None
    return Result(
        failure=failure,
        reached=STAGES[: STAGES.index(failure.stage)],
        statements=len(removal.lines),
        remembered=isinstance(removal.failure, Remembered),
        cause=found,
    )
