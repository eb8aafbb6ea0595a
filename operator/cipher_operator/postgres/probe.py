"""Asks whether a server takes connections, without saying a word to it."""

import asyncio
import contextlib

from cipher_operator.api.failures import Failure
from cipher_operator.postgres.dial import DialPolicy, resolve


async def answers(host: str, port: int, policy: DialPolicy) -> bool:
    """Return whether any allowed address of the host takes a TCP connection within the policy's timeout."""
    try:
        addresses = await resolve(host, port, policy)
    except Failure:
        return False
    for address in addresses:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(policy.connect_timeout):
                _, writer = await asyncio.open_connection(address, port)
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(policy.connect_timeout):
                    await writer.wait_closed()
            return True
    return False
