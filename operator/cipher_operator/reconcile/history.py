"""What survives a run of one storage: a frozen value that the next run replaces. All of it may be lost at any time."""

import sys
from dataclasses import dataclass, replace
from datetime import datetime

from cipher_operator.api.spec import CAKind, DeletionPolicy, Spec
from cipher_operator.core.connection.admin import AdminConnection
from cipher_operator.core.orders import Credential
from cipher_operator.reconcile.proof import PasswordSet, Proof
from cipher_operator.reconcile.result import PasswordChange, Result

MOST_UNTOLD = 100
"""Lines that are kept for the run that can tell of them."""


@dataclass(frozen=True, slots=True)
class Untold:
    """What was done and is still to be told, by whichever run comes to that: the SQL lines, what was taken over, why
    another password is published, and what else is in the app Secret."""

    executed: tuple[str, ...] = ()
    taken_over: tuple[str, ...] = ()
    change: PasswordChange | None = None
    rewritten: tuple[str, ...] = ()

    def told_with(self, result: Result) -> Result:
        """Return the result that tells of it."""
        return replace(
            result,
            executed=self.executed,
            taken_over=self.taken_over,
            change=self.change,
            rewritten=self.rewritten,
        )


NOTHING = Untold()


@dataclass(frozen=True, slots=True)
class History:
    """One storage. `pending` is a generated password that is not published yet: lost with the process, made anew."""

    uid: str
    pending: Credential | None = None
    brought: str | None = None
    """Digest of the user's own password that was set last."""
    proof: Proof | None = None
    password_set: PasswordSet | None = None
    """The password that was set and is not proven yet: that is done once, from then on it is only tested."""
    ca: str | None = None
    """The CA in a ConfigMap that a deletion will need: that of a namespace takes it first, and nobody holds it."""
    rotated: datetime | None = None
    """When a rotated password was published last, by the operator's clock: what the Secret says may be anybody's."""
    refusals: int = 0
    """Logins refused in a row since then."""
    untold: Untold = NOTHING
    dropped: tuple[str, ...] = ()
    """The SQL lines with which a deletion that has not ended dropped something."""

    def did(self, executed: tuple[str, ...], taken_over: tuple[str, ...] = ()) -> "History":
        """Return the history after something was done that is still to be told."""
        if not (executed or taken_over):
            return self
        before = self.untold
        lines = (*before.executed, *executed)[-MOST_UNTOLD:]
        taken = tuple(dict.fromkeys((*before.taken_over, *taken_over)))
        return replace(self, untold=replace(before, executed=lines, taken_over=taken))

    def removed(self, lines: tuple[str, ...]) -> "History":
        """Return the history after a try of a deletion."""
        return replace(self, dropped=(*self.dropped, *lines)[-MOST_UNTOLD:])

    def told(self, result: Result) -> "History":
        """Return the history after a result told of everything; only one that is no failure tells of the Secret."""
        before = self.untold
        left = Untold(change=before.change, rewritten=before.rewritten) if result.failure is not None else NOTHING
        return replace(self, untold=left)

    def settled(self, login: str) -> "History":
        """Return the history where the pending password is that of this login, and set."""
        if self.pending is None:
            return self
        return replace(self, pending=replace(self.pending, login=login, change=False))

    def decided(self, credential: Credential | None, *, generated: bool) -> "History":
        """Return the history with the password that this run is about to set."""
        return replace(self, pending=credential) if generated else self

    def proven(self, proof: Proof) -> "History":
        """Return the history after a test."""
        refusals = 0 if proof.passed else self.refusals + (not proof.remembered)
        return replace(self, proof=proof, refusals=refusals, password_set=None if proof.passed else self.password_set)

    def connected(self, admin: AdminConnection, spec: Spec) -> "History":
        """Return the history after the administrator has logged in."""
        reference = spec.connection.ca
        needed = spec.deletion_policy is DeletionPolicy.DELETE and reference is not None
        kept = needed and reference is not None and reference.kind is CAKind.CONFIG_MAP
        # Interned: the storages of one server share one text.
        return replace(self, ca=sys.intern(admin.ca) if kept and admin.ca is not None else None)

    def published(self, change: PasswordChange | None, rewritten: tuple[str, ...], now: datetime) -> "History":
        """Return the history after the app Secret holds the login, with another password because of `change`."""
        before = self.untold
        keys = tuple(dict.fromkeys((*before.rewritten, *rewritten)))
        untold = replace(before, change=change or before.change, rewritten=keys)
        rotated = now if change is PasswordChange.ROTATED else self.rotated
        return replace(self, pending=None, rotated=rotated, untold=untold)
