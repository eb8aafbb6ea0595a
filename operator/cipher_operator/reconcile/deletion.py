"""The end of a CipherStorage: finalizers, and the server when `deletionPolicy: Delete` says so."""

from cipher_operator.api.failures import Failure
from cipher_operator.api.names import ANNOTATION_FORCE_DELETE, FINALIZER, IN_USE_FINALIZER
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import DeletionPolicy, ManagementPolicy, Resource, Spec, UserMode, parse_spec
from cipher_operator.core.desired import Credential, Desired
from cipher_operator.core.marker import Identity
from cipher_operator.core.naming import database_name, user_name
from cipher_operator.kube.cipherstorages import add_finalizer, remove_finalizer, storages
from cipher_operator.kube.client import KubeClient
from cipher_operator.kube.finalizers import Holdable, add, find, remove
from cipher_operator.kube.secrets import configmap_path, secret_path
from cipher_operator.postgres import remove as server
from cipher_operator.queue.inputs import Ref
from cipher_operator.reconcile.environment import Environment
from cipher_operator.reconcile.references import ways_in
from cipher_operator.reconcile.sources import Sources, not_found


async def protect(environment: Environment, resource: Resource, spec: Spec) -> None:
    """Hold, or let go of, the CipherStorage and the way to its server as the deletion policy asks.

    Held before anything is created on the server; the connection Secret and its CA too, because the deletion of a
    namespace removes those first (as PVC protection does). Raises Failure SecretNotFound: a run that goes on could
    find a Secret that has just come, and create what nothing is held for. Raises ApiError.
    """
    if spec.deletion_policy is DeletionPolicy.DELETE and spec.management_policy is ManagementPolicy.MANAGE:
        if FINALIZER not in resource.finalizers:
            await _way_in(environment, resource, spec)
            await add_finalizer(environment.kube, resource, FINALIZER)
        # Read when the storage itself is held: from now on no other storage's release takes our finalizer away.
        for held in await _way_in(environment, resource, spec):
            if not held.deleting:
                await add(environment.kube, held, IN_USE_FINALIZER)
    elif FINALIZER in resource.finalizers:
        await release(environment, resource)


async def _way_in(environment: Environment, resource: Resource, spec: Spec) -> list[Holdable]:
    """Return the connection Secret and its CA, if that is there. Raises Failure SecretNotFound, ApiError."""
    refs = ways_in(resource.namespace, resource.raw_spec)
    secret, *ca = [await find(environment.kube, _path(ref)) for ref in refs]
    if secret is None:
        raise not_found("Secret", spec.connection.secret_name, "`spec.connection.secretRef.name`")
    return [secret, *(held for held in ca if held is not None)]


async def release(environment: Environment, resource: Resource) -> None:
    """Take our finalizer off the CipherStorage, then ours off its way to the server where nobody else needs it.

    In this order: a crash between leaves a Secret whose deletion `release_input` lets through, while the other
    order would leave a storage that cannot be finished any more.
    """
    await remove_finalizer(environment.kube, resource, FINALIZER)
    for ref in ways_in(resource.namespace, resource.raw_spec):
        await release_input(environment.kube, ref, without=resource.uid)


async def release_input(kube: KubeClient, ref: Ref, *, without: str = "") -> None:
    """Take our finalizer off a Secret or ConfigMap that no held CipherStorage needs; `without` is the uid of one that
    is done."""
    held = await find(kube, _path(ref))
    if held is None or IN_USE_FINALIZER not in held.finalizers:
        return
    namespace = ref[1]
    async for other in storages(kube, namespace):
        metadata = other["metadata"]
        holds = FINALIZER in (metadata.get("finalizers") or ()) and metadata["uid"] != without
        if holds and ref in ways_in(namespace, other.get("spec")):
            return
    await remove(kube, held, IN_USE_FINALIZER)


def _path(ref: Ref) -> str:
    kind, namespace, name = ref
    return configmap_path(namespace, name) if kind == "ConfigMap" else secret_path(namespace, name)


async def finish(environment: Environment, resource: Resource) -> list[str]:
    """Carry out the deletion and let the object go; return the SQL lines that ran.

    Raises Failure while something on the server, or the way to it, keeps the deletion from being finished; and
    ApiError.
    """
    lines: list[str] = []
    if FINALIZER not in resource.finalizers:
        return lines
    if not _let_go(resource):
        spec = parse_spec(resource.namespace, resource.name, resource.raw_spec)
        if spec.deletion_policy is DeletionPolicy.DELETE and spec.management_policy is ManagementPolicy.MANAGE:
            lines = await _remove(environment, resource, spec)
    await release(environment, resource)
    return lines


def _let_go(resource: Resource) -> bool:
    """Return whether the server is left alone: a person says so, or the storage is suspended."""
    return resource.annotations.get(ANNOTATION_FORCE_DELETE) == "true" or resource.raw_spec.get("suspend") is True


async def _remove(environment: Environment, resource: Resource, spec: Spec) -> list[str]:
    try:
        admin = await Sources(environment.kube, environment.inputs, resource.key).admin(resource.namespace, spec)
    except Failure as failure:
        if failure.reason is not Reason.SECRET_NOT_FOUND:
            raise
        raise Failure(
            Reason.DELETION_BLOCKED,
            f'{failure.message}; or leave everything on the server with annotation `{ANNOTATION_FORCE_DELETE}: "true"`',
            stage=failure.stage,
        ) from None
    if not (spec.database.name or admin.database or resource.status.get("database")):
        # It never knew where to begin.
        return []
    user = user_name(resource, spec, admin)
    shared = spec.user.mode is UserMode.SHARED
    desired = Desired(
        identity=Identity(environment.instance_id, resource.namespace, resource.name, resource.uid),
        database=database_name(spec, admin, resource.status),
        create_database=False,
        schema=spec.schema,
        user=user,
        credential=None if shared else Credential(user, ""),
        extensions=spec.extensions,
        established=bool(resource.status.get("database")),
    )
    return await server.remove(
        lambda database: environment.servers.session(resource.key, admin, database, purpose="admin"),
        desired,
        maintenance=admin.database,
    )
