"""Answers that a test puts in front of the server: trouble, refusals of policies, others who act in between."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from cipher_operator.kube.port import ApiUnavailable, Json
from support.memory_api.answers import Refused
from support.memory_api.kinds import Place

Act = Callable[[], Awaitable[object] | object]


@dataclass(eq=False)
class Fault:
    """What befalls the requests of `verb` ("" for all) whose path matches the pattern `path`, `times` times.

    In this order: `seconds` pass, `act` is called, the network breaks, the answer is given. `met` counts.
    """

    verb: str = ""
    path: str = ""
    times: int | None = None
    seconds: float = 0.0
    act: Act | None = None
    network: bool = False
    answer: Refused | None = None
    met: int = field(default=0, init=False)

    def meets(self, verb: str, path: str) -> bool:
        left = self.times is None or self.met < self.times
        return left and self.verb in ("", verb) and re.search(self.path, path) is not None

    async def befall(self) -> None:
        """Raise Refused or ApiUnavailable, or return where the request goes on."""
        self.met += 1
        if self.seconds:
            await asyncio.sleep(self.seconds)
        if self.act is not None:
            done = self.act()
            if isinstance(done, Awaitable):
                await done
        if self.network:
            raise ApiUnavailable("ServerDisconnectedError")
        if self.answer is not None:
            raise self.answer


@dataclass(eq=False)
class Policy:
    """A rule of the cluster for objects of one kind; `allows` is asked for each object that is written.

    Without `webhook` it is a ValidatingAdmissionPolicy.
    """

    plural: str
    name: str
    message: str
    allows: Callable[[Json], bool] = lambda body: False
    verbs: tuple[str, ...] = ("CREATE", "UPDATE")
    webhook: bool = False
    status: int = 422

    def check(self, verb: str, where: Place, body: Json) -> None:
        if where.kind.plural != self.plural or verb not in self.verbs or where.subresource or self.allows(body):
            return
        if self.webhook:
            text = f'admission webhook "{self.name}" denied the request: {self.message}'
            raise Refused(400 if self.status == 422 else self.status, "", text)
        text = (
            f'{where.kind.qualified} "{body["metadata"]["name"]}" is forbidden: ValidatingAdmissionPolicy '
            f"'{self.name}' with binding '{self.name}' denied request: {self.message}"
        )
        raise Refused(self.status, "Forbidden" if self.status == 403 else "Invalid", text)
