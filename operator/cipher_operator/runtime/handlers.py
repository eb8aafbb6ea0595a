"""The handlers that kopf calls: decorators only. Nothing here waits, raises, or returns anything."""

from collections.abc import Awaitable, Callable
from typing import Any

import kopf

from cipher_operator.api.names import GROUP, PLURAL, VERSION
from cipher_operator.runtime.triggers import Triggers

Login = Callable[[], Awaitable[kopf.AiohttpSession]]


def register(registry: kopf.OperatorRegistry, triggers: Triggers, login: Login, ended: Callable[[], None]) -> None:
    """Register everything; `ended` is called when kopf stops, asked to or not.

    Only `on.event` is used: kopf's other handlers write annotations and finalizers, and sleep through remedies.
    """

    @kopf.on.login(registry=registry)
    async def log_in(**_: Any) -> kopf.AiohttpSession:
        return await login()

    @kopf.on.cleanup(registry=registry)
    async def clean_up(**_: Any) -> None:
        ended()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def storage(event: kopf.RawEvent, **_: Any) -> None:
        triggers.storage(event["type"], event["object"])
