"""Asks whether a server speaks, in one byte: an SSLRequest, which every PostgreSQL and pooler answers at once.

A bare TCP connection says nothing: the kernel takes it for a frozen server, and a load balancer for a dead one.
"""

import asyncio
import contextlib

from cipher_operator.api.failures import Failure
from cipher_operator.postgres.dial import DialPolicy, resolve

SSL_REQUEST = bytes((0, 0, 0, 8, 4, 210, 22, 47))
"""Length 8 and code 80877103 (Message Formats in the manual). The answer is `S`, `N`, or an error message's `E`."""


async def answers(host: str, port: int, policy: DialPolicy) -> bool:
    """Return whether any allowed address of the host answers within the policy's timeout."""
    try:
        addresses = await resolve(host, port, policy)
    except Failure:
        return False
    for address in addresses:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(policy.connect_timeout):
                if await _speaks(address, port):
                    return True
    return False


async def _speaks(address: str, port: int) -> bool:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(SSL_REQUEST)
        await writer.drain()
        # Whatever it says, somebody is there: what it means, the next run finds out.
        return await reader.read(1) != b""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            writer.transport.abort()
