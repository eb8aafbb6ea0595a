"""What a login test proves, of what, and when the next one is due. Pure."""

from dataclasses import dataclass

from cipher_operator.api.failures import Failure


@dataclass(frozen=True, slots=True)
class Subject:
    """What a proof is of: a digest of doors, login, password and database; the marker's revision; the server's start
    (epoch seconds); a digest of what others made there that only a proof can judge; and one of the terms, which doors
    are tested and how they are asked. Where one of them differs, another server may answer (restored, failed over,
    restarted), the same one may answer otherwise, or its answer may mean something else."""

    digest: str
    rev: int | None = None
    started: float | None = None
    judged: str | None = None
    terms: str | None = None

    @property
    def password(self) -> "PasswordSet":
        """Return which setting of a password this is about."""
        return PasswordSet(self.digest, self.rev)


@dataclass(frozen=True, slots=True)
class PasswordSet:
    """A password that was set: a Subject's digest, and the marker's revision that was written with it. A server with
    another revision has lost it, as one does that took over without the last transactions."""

    digest: str
    rev: int | None


@dataclass(frozen=True, slots=True)
class Proof:
    """The last test of a login. A failed one is a fact like one that passed: only a new test lifts it."""

    of: Subject
    at: float
    """Monotonic seconds."""
    failure: Failure | None = None
    remembered: bool = False
    """The failure was known already, and no login was tried."""
    door: Failure | None = None
    """Why the pods' door could not be reached from here, or what else Ready says of it: no refusal."""
    at_door: bool = False
    """The failure is that of the pods' door: the operator's own let the login in."""

    @property
    def passed(self) -> bool:
        """Return whether the login did what Cipher does."""
        return self.failure is None


def due(proof: Proof | None, of: Subject, *, acted: bool, asked: bool, now: float, interval: float) -> bool:
    """Return whether the login must be tested: where nothing proves it, where something changed (`acted`) or somebody
    asks, where the proof is of something else, and where it is older than `interval` seconds."""
    if proof is None or not proof.passed or acted or asked:
        return True
    return proof.of != of or now - proof.at > interval
