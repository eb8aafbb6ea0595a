"""The ownership marker: JSON in `COMMENT ON ROLE <owner>` that says whose a storage on the server is.

Only comments on roles prove ownership: they need administrative rights on the role, while an app can comment
on every object it owns. In Shared mode there is no role of ours, and the marker stands on each of Cipher's tables: one
may be dropped, and the app makes it anew at its start, but all of them without a marker are another's, or lost.
"""

import hashlib
import json
from dataclasses import dataclass, replace

MARKER_VERSION = 1
OWNER, LOGIN, SECOND_LOGIN, DATABASE, SCHEMA = "owner", "login", "login_b", "database", "schema"
CLOSING = "closing"
"""What `created` may name, beside the names of Cipher's tables. CLOSING: nothing of others is in the database, and it
is being dropped."""


_DROPPING = "_dropping_"
_DIGITS = 8
MAX_BYTES = 63
"""Of a name on the server."""
BIRTHMARKS = 1_000_000_000
"""From here on a connection limit is a birthmark: no person sets one, and it limits nothing."""


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

    @property
    def birthmark(self) -> int:
        """Return the connection limit that a database of this storage is created with: CREATE DATABASE runs in no
        transaction, and this alone can tell after a crash who ran it."""
        text = json.dumps([self.instance, self.namespace, self.name])
        return BIRTHMARKS + int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % BIRTHMARKS


@dataclass(frozen=True, slots=True)
class Place:
    """Where a storage's relations stand; the names of tables and of the database in a marker mean these."""

    database: str
    schema: str


@dataclass(frozen=True, slots=True)
class Marker:
    """A parsed marker. `created` lists what the operator made, `adopted` what it was asked to take over: that is
    kept true like the rest, and given back instead of dropped.

    `rev` grows with every password that is set. `published` is the login (LOGIN or SECOND_LOGIN) that is known to
    have been published: a password set after that may have been lost with a crash.
    """

    identity: Identity
    place: Place
    created: frozenset[str] = frozenset()
    rev: int = 0
    adopted: frozenset[str] = frozenset()
    published: str | None = None

    def text(self) -> str:
        """Return the comment text: one line of JSON with a fixed order of keys."""
        fields: dict[str, object] = {
            "v": MARKER_VERSION,
            "instance": self.identity.instance,
            "ns": self.identity.namespace,
            "name": self.identity.name,
            "uid": self.identity.uid,
            "db": self.place.database,
            "schema": self.place.schema,
            "created": sorted(self.created),
            "rev": self.rev,
        }
        if self.adopted:
            fields["adopted"] = sorted(self.adopted)
        if self.published is not None:
            fields["published"] = self.published
        return json.dumps(fields, separators=(",", ":"))

    def holds(self, token: str) -> bool:
        """Return whether the operator made or took over this thing."""
        return token in self.created or token in self.adopted

    @property
    def dropping(self) -> str:
        """Return the name that our database gets before it is dropped, in the message that checks this marker: DROP
        DATABASE runs in no transaction, so what it drops must have a name that nothing later can have."""
        digest = hashlib.sha256(f"{self.identity.uid}/{self.rev}".encode()).hexdigest()[:_DIGITS]
        return dropping_prefix(self.place.database) + digest

    def having(self, *tokens: str) -> "Marker":
        """Return this marker with more things created."""
        return replace(self, created=self.created | frozenset(tokens))

    def taking(self, *tokens: str) -> "Marker":
        """Return this marker with more things taken over."""
        return replace(self, adopted=self.adopted | (frozenset(tokens) - self.created))

    def of_roles(self) -> "Marker":
        """Return this marker with a claim on roles alone: what stands in the database is another's now."""
        roles = frozenset({OWNER, LOGIN, SECOND_LOGIN})
        return replace(self, created=self.created & roles, adopted=self.adopted & roles)

    def without(self, *tokens: str) -> "Marker":
        """Return this marker with no claim on these things."""
        return replace(self, created=self.created - frozenset(tokens), adopted=self.adopted - frozenset(tokens))


def claims_of(instance: str, namespace: str) -> str:
    """Return how the text of each marker of a namespace's storages begins."""
    begin = {"v": MARKER_VERSION, "instance": instance, "ns": namespace}
    return json.dumps(begin, separators=(",", ":")).removesuffix("}") + ","


def dropping_prefix(database: str) -> str:
    """Return how the names begin that a database of this name may have while it is dropped."""
    room = MAX_BYTES - len(_DROPPING) - _DIGITS
    return database.encode()[:room].decode(errors="ignore") + _DROPPING


def taken_over(before: str | None, after: str | None) -> tuple[str, ...]:
    """Return for people what the marker `after` claims of others that the one `before` it did not; () for none."""
    stood, stands = parse_marker(before), parse_marker(after)
    if stands is None:
        return ()
    if stood is not None and not stood.identity.same_storage(stands.identity):
        former = stood.identity
        return (f"everything of CipherStorage '{former.namespace}/{former.name}' of operator '{former.instance}'",)
    words = {LOGIN: "the login", SECOND_LOGIN: "the second login", OWNER: "the owner role"}
    new = stands.adopted - (stood.adopted if stood is not None else frozenset())
    return tuple(words.get(token, f"table '{token}'") for token in sorted(new))


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
    texts = [raw.get(key) for key in ("instance", "ns", "name", "uid", "db", "schema")]
    created, adopted, rev = raw.get("created"), raw.get("adopted", []), raw.get("rev")
    if not isinstance(created, list) or not isinstance(adopted, list) or type(rev) is not int:
        return None
    published = raw.get("published")
    if not all(isinstance(text, str) for text in (*texts, *created, *adopted, published or "")):
        return None
    instance, namespace, name, uid, database, schema = map(str, texts)
    identity, place = Identity(instance, namespace, name, uid), Place(database, schema)
    return Marker(identity, place, frozenset(created), rev, frozenset(adopted), published)
