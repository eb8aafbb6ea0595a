"""Everything that a run reads of the cluster: read once, frozen, and noted: only a change of it starts the next."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from cipher_operator.api.connection import Scope
from cipher_operator.api.failures import ConditionType, Failure
from cipher_operator.api.names import FINALIZER
from cipher_operator.api.reasons import Reason
from cipher_operator.api.server import ServerSpec, parse_server_spec
from cipher_operator.api.spec import ManagementPolicy, Resource, Spec, parse_resource
from cipher_operator.core import discretion, tenancy
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.connection.supabase import role_of
from cipher_operator.core.requests import Requests
from cipher_operator.core.tenancy import NOBODY, Neighbours
from cipher_operator.kube.cipherservers import get_server
from cipher_operator.kube.cipherstorages import get_storage
from cipher_operator.kube.finalizers import Holdable
from cipher_operator.kube.port import Reading
from cipher_operator.kube.secrets import SecretObject
from cipher_operator.queue.references import References
from cipher_operator.reconcile.contents import Contents, read_contents, version_of
from cipher_operator.reconcile.digest import Digest
from cipher_operator.reconcile.inputs import (
    CONTENTS,
    PLACE,
    Key,
    Ref,
    app_secret,
    login_references,
    references,
    server_of,
)
from cipher_operator.reconcile.namespaces import Namespaces
from cipher_operator.reconcile.places import Places


class LabelsUnknown(Failure):
    """A CipherServer asks for labels of a namespace of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The CipherServer that a storage names, where it may be used: its spec, or why that cannot be worked with, and
    what it names. `neighbours` are who of the namespace may have a place on it before this one."""

    resource: Resource
    spec: ServerSpec | Failure
    contents: Contents
    neighbours: Neighbours = NOBODY


@dataclass(frozen=True, slots=True, repr=False)
class Snapshot:
    """A CipherStorage and what its spec names, as they were at one moment. `offer` is None where it names no
    CipherServer, and where the one that it names is not available to it: `barred` says why then, to whoever may read
    the CipherServer, and never in a status."""

    resource: Resource
    contents: Contents
    offer: Offer | None = None
    barred: Failure | None = None

    def __repr__(self) -> str:
        return f"Snapshot({self.resource.namespace}/{self.resource.name})"

    @property
    def suspended(self) -> bool:
        """Return whether the storage is to be left alone."""
        return self.resource.raw_spec.get("suspend") is True

    @property
    def observed(self) -> bool:
        """Return whether nothing is to be written for the storage."""
        return self.resource.raw_spec.get("managementPolicy") == ManagementPolicy.OBSERVE

    @property
    def app(self) -> SecretObject | None:
        """Return the app Secret."""
        return self.contents.secret(app_secret(self.resource.key, self.resource.raw_spec)[2])

    def login(self, spec: Spec) -> Contents:
        """Return where the administrator's login is: beside the storage, or beside the operator."""
        return self.offer.contents if spec.tenant is not None and self.offer is not None else self.contents

    def offered_secrets(self, inputs: "References[Key, Ref]") -> list[Holdable]:
        """Return the Secrets of the CipherServer that its own run knows of, and so will let go."""
        if self.offer is None:
            return []
        known = inputs.references(("", self.offer.resource.name))
        found = self.offer.contents.found.items()
        return [each.holdable for ref, each in found if ref in known and isinstance(each, SecretObject)]

    def admin(self, spec: Spec) -> AdminConnection:
        """Return how to log in as administrator. Raises Failure, stage Connected."""
        try:
            return self.login(spec).admin(spec.connection)
        except Failure as failure:
            if spec.tenant is None or failure.reason is not Reason.INVALID_SPEC:
                raise
            # Not the tenant's own spec, which that reason is about elsewhere.
            raise discretion.withheld(failure, spec.tenant.server) from None

    def hidden(self) -> frozenset[str]:
        """Return the names that a tenant's status must not have: those by which the operator gets to the server."""
        offer = self.offer
        if offer is None or isinstance(offer.spec, Failure):
            return frozenset()
        contents, connection = offer.contents, offer.spec.connection
        names = {contents.namespace, *(ref[2] for ref in login_references(contents.namespace, offer.resource.raw_spec))}
        try:
            admin = contents.admin(connection)
        except Failure:
            names |= {connection.host or "", connection.user or ""}
        else:
            names |= {admin.host, f":{admin.port}", admin.user, role_of(admin.host, admin.user)}
        # What he wrote himself is none, and to be silent of it would tell him that he guessed right.
        return frozenset(names - {"", *self.resource.key, *_texts(self.resource.raw_spec)})


def _texts(node: object) -> Iterator[str]:
    """Yield the texts that a spec holds, without the names of its fields."""
    if isinstance(node, str):
        yield node
    for child in node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ():
        yield from _texts(child)


async def read_snapshot(  # noqa: PLR0917 - each is there once in a process
    kube: Reading,
    inputs: "References[Key, Ref]",
    namespaces: Namespaces,
    places: Places,
    key: Key,
    digest: Digest,
    *,
    suspended: bool = False,
) -> Snapshot | None:
    """Return the storage and its inputs; None where it does not exist. Raises ApiError, ApiUnavailable.

    Of a suspended storage nothing else is read, unless `suspended` asks for it: it is left alone, also when it is
    deleted.
    """
    body = await get_storage(kube, *key)
    if body is None:
        return None
    resource = parse_resource(body)
    refs = references(key, resource.raw_spec)
    if resource.raw_spec.get("suspend") is True and not suspended:
        inputs.set_references(key, refs)
        return unread(resource)
    # Before others are looked at: a list that was made before this one named its server is none for it.
    inputs.set_references(key, inputs.references(key) | refs)
    found = await _offer(kube, inputs, namespaces, places, resource)
    offer, barred = (None, found) if isinstance(found, Failure) else (found, None)
    offered = login_references(offer.contents.namespace, offer.resource.raw_spec) if offer is not None else frozenset()
    inputs.set_references(key, refs | offered | _awaited(offer, resource))
    contents = await read_contents(kube, resource.namespace, Scope.STORAGE, refs)
    note(inputs, key, contents, refs, digest)
    if offer is not None:
        note(inputs, key, offer.contents, offered, digest)
    return Snapshot(resource, contents, offer, barred)


def unread(resource: Resource) -> Snapshot:
    """Return a storage of which nothing else is known."""
    return Snapshot(resource, Contents(resource.namespace, Scope.STORAGE, {}))


def _awaited(offer: Offer | None, resource: Resource) -> frozenset[Ref]:
    """Return the place that a storage waits for where its namespace has as many as its CipherServer allows."""
    if offer is None or isinstance(offer.spec, Failure) or offer.spec.limits.storages is None:
        return frozenset()
    neighbours = offer.neighbours
    full = neighbours.older + len(neighbours.younger) >= offer.spec.limits.storages
    return frozenset({_place(resource, offer.resource)}) if full else frozenset()


def _place(resource: Resource, server: Resource) -> Ref:
    return PLACE, resource.namespace, server.name


def note(inputs: "References[Key, Ref]", key: Key, contents: Contents, refs: Iterable[Ref], digest: Digest) -> None:
    """Note which contents a run has read."""
    for ref in refs:
        if ref[0] in CONTENTS:
            inputs.read(key, ref, version_of(contents.found.get(ref), digest))


async def _offer(
    kube: Reading, inputs: "References[Key, Ref]", namespaces: Namespaces, places: Places, resource: Resource
) -> Offer | Failure | None:
    """Return the CipherServer that the storage may use, None where it names none, or why it may not use the one that it
    names.

    Whether it may is asked each time, and before anything that the CipherServer names is read.
    """
    ref = server_of(resource.raw_spec)
    if ref is None:
        return None
    if namespaces.servers is None:
        return _barred("this operator serves no CipherServers")
    body = await get_server(kube, ref[2])
    if body is None:
        return _barred(
            "there is none of that name (`spec.connection.serverRef.name`); correct it, or create the server"
        )
    server = parse_resource(body)
    spec = _open_to(resource, server, namespaces)
    if isinstance(spec, Failure):
        return spec
    try:
        tenancy.check_server(spec)
    except Failure as failure:
        return Offer(server, failure, Contents(namespaces.servers, Scope.SERVER, {}))
    refs = login_references(namespaces.servers, server.raw_spec)
    # Before they are read: what the watch tells of them meanwhile is noted for those alone that are known to read them,
    # and a place that gets free is told to those that are known to wait.
    place = frozenset({_place(resource, server)} if spec.limits.storages is not None else ())
    inputs.set_references(resource.key, inputs.references(resource.key) | refs | place)
    contents = await read_contents(kube, namespaces.servers, Scope.SERVER, refs)
    return Offer(server, spec, contents, await _neighbours(kube, places, resource, server.name, spec))


async def _neighbours(kube: Reading, places: Places, resource: Resource, server: str, spec: ServerSpec) -> Neighbours:
    if spec.limits.storages is None:
        return NOBODY
    found = await places.neighbours(kube, resource, server, spec.limits.storages)
    # By its status it stands already, and begins nothing; one that asks to begin again may have that from anywhere.
    begins = not resource.status.get("database") or Requests.of(resource).recreate
    return found if begins else replace(found, younger=())


def _open_to(resource: Resource, server: Resource, namespaces: Namespaces) -> ServerSpec | Failure:
    """Return the server's spec where it may be used; one that cannot be read admits nobody, and one that is being
    deleted nobody new: who has something there, ready or not, can still take it away."""
    try:
        spec = parse_server_spec(server.raw_spec)
    except Failure as failure:
        return failure.at(ConditionType.CONNECTED)
    home = resource.namespace
    labels = namespaces.labels(home)
    if not spec.allowed.admits(home, labels):
        if labels is None and spec.allowed.selector is not None:
            unknown = f"`spec.allowedNamespaces` asks for labels of namespace '{home}': add the Namespace to the files"
            return LabelsUnknown(Reason.SERVER_NOT_AVAILABLE, unknown, stage=ConditionType.CONNECTED)
        return _barred(f"`spec.allowedNamespaces` leaves namespace '{home}' out; add its name there, or label it")
    # Our finalizer can be put there by whoever makes a storage: it opens the way out, not the way in.
    there = bool(resource.status.get("database")) or (FINALIZER in resource.finalizers and resource.deleting)
    return spec if there or not server.deleting else _barred("it is being deleted and takes no new storage")


def _barred(why: str) -> Failure:
    return Failure(Reason.SERVER_NOT_AVAILABLE, why, stage=ConditionType.CONNECTED)
