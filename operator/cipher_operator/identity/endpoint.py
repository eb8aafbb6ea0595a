"""One question to a cloud over HTTP: bounded in time and size, no redirects, no proxies of the environment."""

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from cipher_operator import __version__
from cipher_operator.api.failures import Failure
from cipher_operator.identity.refusal import unavailable

TIMEOUT = 5.0
"""Seconds for a question with its answer."""
MAX_ANSWER = 64 * 1024
"""Bytes of an answer that are read; tokens have a few thousand."""
ITS_OWN = "That is no matter of rights: it is tried again; where it lasts, look at the health of that service."
"""The remedy for a service that is down, not ready yet, or asked too often."""
_OK, _TOO_MANY, _ITS_ERROR = 200, 429, 500

Codes = Callable[[str], tuple[str, ...]]
"""Returns the error codes that stand in the body of a refusal, the most telling first."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Who is asked: the name in messages, how its refusals are read, and what to do about them.

    `unreached` is the remedy where there is no usable answer, `remedies` are those for its codes, `remedy` that for any
    other refusal of what was asked. `header` must come back with each answer.
    """

    name: str
    codes: Codes
    unreached: str
    remedy: str
    remedies: Mapping[str, str] = field(default_factory=dict)
    header: tuple[str, str] | None = None


class Caller:
    """Asks endpoints. Close it in the end; it opens nothing before the first question."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self._trust: ssl.SSLContext | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def ask(
        self,
        endpoint: Endpoint,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> str:
        """Return the answer's text: to a GET, or with `form` to a POST. Raises Failure for anything else than 200."""
        try:
            status, body = await self._answer(endpoint, url, headers or {}, form)
        except TimeoutError:
            what = f"{endpoint.name} did not answer within {self._timeout:g} s."
            raise unavailable(what, endpoint.unreached) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Its text names the host, so only its kind is told.
            what = f"{endpoint.name} could not be asked ({type(error).__name__})."
            raise unavailable(what, endpoint.unreached) from None
        if status != _OK:
            raise _refused(endpoint, status, body)
        return body

    async def _answer(
        self, endpoint: Endpoint, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> tuple[int, str]:
        sent = self._opened().request(
            "GET" if form is None else "POST",
            url,
            headers=headers,
            data=form,
            allow_redirects=False,
            ssl=await self._trusted() if urlsplit(url).scheme == "https" else True,
        )
        async with sent as answer:
            if endpoint.header is not None and answer.headers.get(endpoint.header[0]) != endpoint.header[1]:
                what = f"What answers in place of {endpoint.name} is something else ({endpoint.header[0]} is missing)."
                raise unavailable(what, endpoint.unreached)
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > MAX_ANSWER:
                    what = f"{endpoint.name} answered with more than {MAX_ANSWER // 1024} KiB."
                    raise unavailable(what, endpoint.unreached)
            return answer.status, body.decode("utf-8", "replace")

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                headers={"User-Agent": f"cipher-operator/{__version__}", "Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                # Minutes lie between two questions: a connection that is kept would be dead by then.
                connector=aiohttp.TCPConnector(force_close=True),
            )
        return self._session

    async def _trusted(self) -> ssl.SSLContext:
        if self._trust is None:
            # A tenth of a second, in which the event loop has other things to do.
            self._trust = await asyncio.to_thread(_public_cas)
        return self._trust


def as_object(text: str) -> dict[str, Any]:
    """Return a JSON object; an empty one for anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def garbage(endpoint: Endpoint) -> Failure:
    """Return the failure for an answer that does not hold what was asked for."""
    return unavailable(f"The answer of {endpoint.name} cannot be read: it holds no token.", endpoint.unreached)


def _refused(endpoint: Endpoint, status: int, body: str) -> Failure:
    if status in range(300, 400):
        return unavailable(f"{endpoint.name} answered with a redirect, which is not followed.", endpoint.unreached)
    codes = tuple(code for code in endpoint.codes(body) if _is_code(code))
    said = ", ".join((*codes, f"HTTP {status}"))
    # It says nothing against who asks: somebody would change what is right.
    other = ITS_OWN if status >= _ITS_ERROR or status == _TOO_MANY else endpoint.remedy
    remedy = next((endpoint.remedies[code] for code in codes if code in endpoint.remedies), other)
    return unavailable(f"{endpoint.name} refused: {said}.", remedy)


def _is_code(text: str) -> bool:
    """Return whether a text can be a code, and not a sentence or a secret."""
    return len(text) <= 64 and text.isascii() and text.replace("_", "").isalnum()


def _public_cas() -> ssl.SSLContext:
    """Return a context with the system's public CAs (SSL_CERT_FILE counts), else with those of certifi."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile or (paths.capath and any(Path(paths.capath).iterdir())):
        return ssl.create_default_context()
    import certifi

    return ssl.create_default_context(cafile=certifi.where())
