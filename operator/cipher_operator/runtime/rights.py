"""The rights that the operator needs: where one is refused, all that are missing are said together, with what grants
them."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager

from cipher_operator.api.names import GROUP, PLURAL, SERVER_PLURAL
from cipher_operator.kube.backoff import Backoff
from cipher_operator.kube.leases import LEASE_NAME
from cipher_operator.kube.port import ApiError, ApiUnavailable, Kube
from cipher_operator.kube.rights import Right, account, missing, named
from cipher_operator.runtime.settings import Settings

SETTLED = 2.0
"""Seconds between a refusal and the question: an API server that starts refuses before it knows its roles."""
AGAIN = (2.0, 30.0)
"""Seconds between questions while rights are missing, at first and at most."""
QUIET = 300.0
"""Seconds after which it is asked again where none was missing: a policy that refuses answers 403 as well."""

logger = logging.getLogger(__name__)

Open = Callable[[], AbstractAsyncContextManager[Kube]]
"""Opens a client that may ask whether this process leads or not."""


class Rights:
    """Waits for a refusal, and says what is missing; says once that nothing is missing any more."""

    def __init__(self, settings: Settings, lease_namespace: str | None, client: Open) -> None:
        self._settings, self._client = settings, client
        self._wanted = tuple(needed(settings, lease_namespace))
        self._refused = asyncio.Event()

    def count(self, _: str, status: int | None) -> None:
        """Take note of the answer to a request."""
        if status == 403:
            self._refused.set()

    async def follow(self) -> None:
        """Wait for refusals, for ever."""
        while True:
            await self._refused.wait()
            await asyncio.sleep(SETTLED)
            self._refused.clear()
            await self._until_granted()
            await asyncio.sleep(QUIET)

    async def _until_granted(self) -> None:
        said: tuple[Right, ...] = ()
        backoff = Backoff(*AGAIN)
        while True:
            try:
                async with self._client() as kube:
                    # Of those that somebody withholds for ever, the others are not asked about again and again.
                    lacking = await missing(kube, said or self._wanted)
                    if lacking and lacking != said:
                        who, what = await account(kube), named(lacking)
                        logger.warning("%s lacks rights: %s. %s", who, what, remedy(self._settings))
                        said = lacking
            except ApiUnavailable:
                await asyncio.sleep(backoff.next())
                continue
            except ApiError as error:
                logger.debug("which rights are missing may not be asked: %s", error)
                return
            if not lacking:
                break
            await asyncio.sleep(backoff.next())
        if said:
            logger.info("the operator has all of its rights; it goes on")


def needed(settings: Settings, lease_namespace: str | None) -> Iterator[Right]:
    """Yield what manifests/ grant to an operator with these settings.

    Left out is what it may do with app Secrets where only a CipherServer's Secrets are watched: whoever grants that in
    some namespaces does not tell the operator in which.
    """
    for place in settings.namespaces or ("",):
        yield from _rights(place, GROUP, PLURAL, "get list watch patch")
        yield from _rights(place, GROUP, f"{PLURAL}/status", "patch")
        yield from _rights(place, GROUP, f"{PLURAL}/finalizers", "update")
        yield from _rights(place, "", "configmaps", "get list watch")
        yield from _rights(place, "events.k8s.io", "events", "create patch")
        if settings.watch_secrets == "all":
            yield from _rights(place, "", "secrets", "get list watch create update patch")
    if settings.watch_secrets == "servers":
        yield from _rights(settings.server_secrets_namespace or "", "", "secrets", "get list watch patch")
    if settings.cluster_servers:
        yield from _rights("", GROUP, SERVER_PLURAL, "get list watch patch")
        yield from _rights("", GROUP, f"{SERVER_PLURAL}/status", "patch")
        yield from _rights("", "", "namespaces", "list watch")
    if settings.instance_id is None:
        yield from _rights("", "", "namespaces", "get", "kube-system")
    if lease_namespace is not None:
        yield from _rights(lease_namespace, "coordination.k8s.io", "leases", "create")
        yield from _rights(lease_namespace, "coordination.k8s.io", "leases", "get update", LEASE_NAME)


def remedy(settings: Settings) -> str:
    """Return what grants the rights of an operator with these settings."""
    if settings.namespaces:
        folder, value = "manifests/overlays/restricted-namespace", "namespaces"
        also = f", and `kubectl -n NAMESPACE apply -k {folder}/served` for each namespace"
    elif settings.watch_secrets == "servers":
        folder, value, also = "manifests/overlays/servers-only", "secrets.watch: servers", ""
    else:
        folder, value, also = "manifests/base", "rbac.create: true", ""
    return (
        f"Grant them to this account: `kubectl apply -k {folder}`{also} does so for ServiceAccount cipher-operator in "
        f"cipher-system, the chart (`{value}`) for its own. The operator goes on by itself"
    )


def _rights(namespace: str, group: str, resource: str, verbs: str, name: str = "") -> Iterator[Right]:
    for verb in verbs.split():
        yield Right(namespace, group, resource, name, verb)
