"""The ownership marker: JSON in `COMMENT ON ROLE <owner>` that says whose a storage on the server is.

Only comments on roles prove ownership: they need administrative rights on the role, while an app can comment
on every object it owns. In Shared mode there is no role of ours, and the marker stands on `cipher_store`.
"""

import json
from dataclasses import dataclass, replace

MARKER_VERSION = 1
OWNER, LOGIN, SECOND_LOGIN, DATABASE, SCHEMA = "owner", "login", "login_b", "database", "schema"
"""What `created` may name, beside the names of Cipher's tables."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a storage belongs to: an operator instance and one CipherStorage of it."""

    instance: str
    namespace: str
    name: str
    uid: str

    def same_storage(self, other: "Identity") -> bool:
        """Return whether both are the same CipherStorage; a new uid is a re-created one."""
        return (self.instance, self.namespace, self.name) == (other.instance, other.namespace, other.name)


@dataclass(frozen=True, slots=True)
class Marker:
    """A parsed marker. `created` lists what the operator made, `adopted` what it was asked to take over: that is
    kept true like the rest, and given back instead of dropped.

    `rev` grows with every password that is set, and is odd when that was the first login's, even when the
    second's: so it also says whose password was set last.
    """

    identity: Identity
    created: frozenset[str] = frozenset()
    rev: int = 0
    adopted: frozenset[str] = frozenset()

    def text(self) -> str:
        """Return the comment text: one line of JSON with a fixed order of keys."""
        adopted = {"adopted": sorted(self.adopted)} if self.adopted else {}
        fields = {
            "v": MARKER_VERSION,
            "instance": self.identity.instance,
            "ns": self.identity.namespace,
            "name": self.identity.name,
            "uid": self.identity.uid,
            "created": sorted(self.created),
            "rev": self.rev,
        }
        return json.dumps(fields | adopted, separators=(",", ":"))

    def holds(self, token: str) -> bool:
        """Return whether the operator made or took over this thing."""
        return token in self.created or token in self.adopted

    def taking(self, *tokens: str) -> "Marker":
        """Return this marker with more things taken over."""
        return replace(self, adopted=self.adopted | (frozenset(tokens) - self.created))

    def having(self, *tokens: str) -> "Marker":
        """Return this marker with more things created."""
        return replace(self, created=self.created | frozenset(tokens))

    def after_password(self, *, second: bool) -> "Marker":
        """Return this marker after a password of the first or the second login was set."""
        step = 1 if (self.rev + 1) % 2 == (0 if second else 1) else 2
        return replace(self, rev=self.rev + step)

    @property
    def last_was_second(self) -> bool | None:
        """Return whether the password set last was the second login's; None when none was set."""
        return self.rev % 2 == 0 if self.rev else None

    def without(self, *tokens: str) -> "Marker":
        """Return this marker with no claim on these things."""
        return replace(self, created=self.created - frozenset(tokens), adopted=self.adopted - frozenset(tokens))


def parse_marker(comment: str | None) -> Marker | None:
    """Return the marker in a comment, or None for any other text: a stranger's comment is no claim."""
    if not comment or not comment.startswith("{"):
        return None
    try:
        raw = json.loads(comment)
    except (ValueError, RecursionError):
        return None
    if not isinstance(raw, dict) or raw.get("v") != MARKER_VERSION:
        return None
    fields = [raw.get(key) for key in ("instance", "ns", "name", "uid")]
    created, adopted, rev = raw.get("created"), raw.get("adopted", []), raw.get("rev")
    if not isinstance(created, list) or not isinstance(adopted, list) or type(rev) is not int:
        return None
    if not all(isinstance(text, str) for text in (*fields, *created, *adopted)):
        return None
    return Marker(Identity(*map(str, fields)), frozenset(created), rev, frozenset(adopted))
