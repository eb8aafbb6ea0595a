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
    """A parsed marker. `created` lists what the operator made.

    `rev` grows with every password that is set, and is odd when that was the first login's, even when the
    second's: so it also says whose password was set last.
    """

    identity: Identity
    created: frozenset[str] = frozenset()
    rev: int = 0

    def text(self) -> str:
        """Return the comment text: one line of JSON with a fixed order of keys."""
        return json.dumps(
            {
                "v": MARKER_VERSION,
                "instance": self.identity.instance,
                "ns": self.identity.namespace,
                "name": self.identity.name,
                "uid": self.identity.uid,
                "created": sorted(self.created),
                "rev": self.rev,
            },
            separators=(",", ":"),
        )

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
        """Return this marker with things taken off `created`."""
        return replace(self, created=self.created - frozenset(tokens))


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
    created, rev = raw.get("created"), raw.get("rev")
    texts = [*fields, *created] if isinstance(created, list) else [None]
    if not all(isinstance(text, str) for text in texts) or type(rev) is not int:
        return None
    return Marker(Identity(*map(str, fields)), frozenset(created or ()), rev)
