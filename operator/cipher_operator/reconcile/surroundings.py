"""What every run uses of the process around it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cipher_operator.core.connection.password import Password
from cipher_operator.core.permit import Permit, unlimited
from cipher_operator.identity.port import Tokens
from cipher_operator.kube.port import Kube
from cipher_operator.postgres.dial import DialPolicy
from cipher_operator.postgres.login_keys import LoginKeys
from cipher_operator.queue.following import Next
from cipher_operator.queue.references import References
from cipher_operator.queue.ticket import Ticket
from cipher_operator.reconcile import sessions
from cipher_operator.reconcile.at_work import AtWork
from cipher_operator.reconcile.digest import Digest
from cipher_operator.reconcile.inputs import Key, Ref
from cipher_operator.reconcile.losses import Losses
from cipher_operator.reconcile.namespaces import Namespaces
from cipher_operator.reconcile.places import Places
from cipher_operator.reconcile.report.metrics import Sample
from cipher_operator.reconcile.rules import Rules
from cipher_operator.reconcile.run_id import RUN


class Counters(sessions.Counters, Protocol):
    """What runs are counted by."""

    def run(self, key: Key, sample: Sample, following: Next) -> None:
        """Count a run that ended; `following` says when the storage is looked at next."""

    def suspended(self, key: Key) -> None:
        """Note that a storage is left alone by its spec."""

    def server(self, name: str, ready: bool | None) -> None:
        """Note whether a CipherServer is ready; None where it is gone."""

    def forget(self, key: Key) -> None:
        """Drop what is shown of a storage that is gone."""

    def clear(self) -> None:
        """Drop what is shown of all: another process works on them."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`now` is the clock on the wall, `monotonic` counts seconds, `generate` makes a password that nobody knows;
    `enqueue` asks for another run of a storage; `permit` is asked before each message to a server."""

    kube: Kube
    inputs: "References[Key, Ref]"
    namespaces: Namespaces
    places: Places
    policy: DialPolicy
    tokens: Tokens
    keys: LoginKeys
    rules: Rules
    digest: Digest
    counters: Counters
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    generate: Callable[[], Password]
    enqueue: Callable[[Key], None]
    permit: Permit = unlimited
    losses: Losses = field(default_factory=Losses)
    at_work: AtWork = field(default_factory=AtWork)

    def sessions(self, ticket: Ticket) -> sessions.Sessions:
        """Return the sessions of the run that this task is."""
        return sessions.Sessions(
            ticket, self.policy, self.digest, self.counters, RUN.get() or "", self.tokens, self.keys, self.permit
        )
