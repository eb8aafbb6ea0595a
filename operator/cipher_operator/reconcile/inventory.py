"""What the operator remembers of each storage between runs. Everything here may be lost at any time."""

from dataclasses import dataclass

from cipher_operator.core.credentials import Wanted

Key = tuple[str, str]
"""(namespace, name) of a CipherStorage."""


@dataclass(slots=True)
class Memory:
    """One storage. `pending` is a generated password not yet published: lost with the process, made anew."""

    uid: str
    failures: int = 0
    pending: Wanted | None = None
    brought: str | None = None
    """Digest of the user's own password that was set last."""
    proven: str | None = None
    """Digest of the server, login, password and database that were tested last."""
    proven_at: float = 0.0
    """Monotonic seconds."""
