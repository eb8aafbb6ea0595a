"""Asks whether a server speaks, in one byte: an SSLRequest, which every PostgreSQL and pooler answers at once.

A bare TCP connection says nothing: the kernel takes it for a frozen server, and a load balancer for a dead one.
"""

import asyncio
import ssl

from cipher_operator.api.failures import Failure
from cipher_operator.postgres.dial import DialPolicy, resolve

SSL_REQUEST = bytes((0, 0, 0, 8, 4, 210, 22, 47))
"""Length 8 and code 80877103 (Message Formats in the manual). The answer is `S`, `N`, or an error message's `E`."""
ALPN = "postgresql"
"""The protocol that a direct TLS handshake names."""


async def answers(host: str, port: int, policy: DialPolicy) -> bool:
    """Return whether any allowed address of the host answers within the policy's timeout, all asked at once."""
    try:
        addresses = await resolve(host, port, policy)
    except Failure:
        return False
    asked = [asyncio.create_task(_answers(address, host, port)) for address in addresses]
    try:
        for answer in asyncio.as_completed(asked, timeout=policy.connect_timeout):
            if await answer:
                return True
    except TimeoutError:
        pass
    finally:
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    return False


async def _answers(address: str, host: str, port: int) -> bool:
    try:
        return await _speaks(address, port) or await _speaks_tls(address, host, port)
    except (OSError, TimeoutError, UnicodeError):
        # UnicodeError: a name that TLS has no form for, as the longest spellings of a number.
        return False


async def _speaks(address: str, port: int) -> bool:
    """Return whether it says anything: what that means, the next run finds out."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(SSL_REQUEST)
        return await reader.read(1) != b""
    except ConnectionError:
        return False
    finally:
        writer.transport.abort()


async def _speaks_tls(address: str, host: str, port: int) -> bool:
    """Return whether what hung up on an SSLRequest takes TLS without one (`sslnegotiation=direct`)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is told to it
    context.set_alpn_protocols([ALPN])
    try:
        _, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=host)
    except ssl.SSLError as error:
        # A refusal in words of TLS is an answer too; an end without a word is none.
        return not isinstance(error, ssl.SSLEOFError)
    writer.transport.abort()
    return True
