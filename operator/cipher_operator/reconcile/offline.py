"""`plan` and `check`: the same look at the server that a run takes, from files or a cluster, and without a write."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from cipher_operator.api.failures import Failure
from cipher_operator.core.connection.password import Password
from cipher_operator.identity.port import Tokens
from cipher_operator.kube.port import Reading
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.provision import Report, converge
from cipher_operator.postgres.session import Session
from cipher_operator.queue.references import References
from cipher_operator.reconcile.decide import decide, parse, shown
from cipher_operator.reconcile.digest import Digest
from cipher_operator.reconcile.history import History
from cipher_operator.reconcile.inputs import Key, Ref
from cipher_operator.reconcile.manifests import Manifests
from cipher_operator.reconcile.namespaces import Namespaces
from cipher_operator.reconcile.rules import Rules
from cipher_operator.reconcile.sessions import with_token
from cipher_operator.reconcile.snapshot import read_snapshot

UNSET = Password("not set by anybody")
UNKNOWN_INSTANCE = "offline"


@dataclass(frozen=True, slots=True)
class Means:
    """What a look is taken with."""

    rules: Rules
    policy: DialPolicy
    tokens: Tokens


async def examine(manifests: Manifests, means: Means) -> Report | Failure:
    """Look at the server as a first run would and return what it would do, or why it cannot. Writes nothing."""
    namespaces = Namespaces(manifests.servers)
    namespaces.saw(manifests.storage.namespace, manifests.labels)
    found = await examine_live(manifests, manifests.storage.key, namespaces, means)
    assert found is not None  # the files hold it
    return found


async def examine_live(kube: Reading, key: Key, namespaces: Namespaces, means: Means) -> Report | Failure | None:
    """Look at the server of a CipherStorage as a run would and return what it would do, or why it cannot; None where
    there is no such storage. Writes nothing. Raises ApiError, ApiUnavailable."""
    digest = Digest()
    inputs: References[Key, Ref] = References(lambda _: None)
    snapshot = await read_snapshot(kube, inputs, namespaces, key, digest, suspended=True)
    if snapshot is None:
        return None
    spec = parse(snapshot, means.rules)
    if isinstance(spec, Failure):
        return spec
    intent = decide(snapshot, spec, History(""), means.rules, now=datetime.now(UTC), fresh=UNSET, digest=digest)
    if isinstance(intent, Failure):
        return shown(snapshot, intent)

    @asynccontextmanager
    async def connect(database: str) -> AsyncIterator[Session]:
        granted = await with_token(intent.admin, means.tokens)
        async with await Session.open(granted, database, means.policy) as session:
            yield session

    report = await converge(connect, intent.desired, intent.orders, maintenance=intent.admin.database, write=False)
    return shown(snapshot, report.failure) if report.failure is not None else report
