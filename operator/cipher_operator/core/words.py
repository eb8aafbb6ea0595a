"""What a server says, made fit for a status: one printable line, short, without anything that leads to a server."""

import re
from collections.abc import Iterable

from cipher_operator.api.printable import printable

MAX_SAID = 200
"""Characters of a server's words in a message."""
_MAX_READ = 2_000
"""Characters that are looked at: a hostile server may send megabytes."""
_LONGEST = 160
"""Characters of a word that may be shown: two quoted names, with a dot between. To look for an address takes the square
of that."""
_ADDRESS = re.compile(
    r"\S*(?:://|@|\$)\S*"  # URLs, logins, verifiers
    r"|\b\d{1,3}(?:\.\d{1,3}){3}\b|\S*:\S*:\S*"  # IPv4, IPv6
    r"|[\w.-]+:\d{2,5}\b"  # host and port
    r"|\b[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+){2,}\b"  # host names; a name in SQL has two parts
)


def without_addresses(text: str | None, hidden: Iterable[str] = (), most: int = MAX_SAID) -> str:
    """Return a server's text as one line of at most `most` characters; each of `hidden` and every address is `…`."""
    if not text:
        return ""
    words = printable(text[:_MAX_READ]).split()
    line = " ".join(word if len(word) <= _LONGEST else "…" for word in words)
    if len(text) > _MAX_READ:
        # What was cut in two may no longer look like an address.
        line = line.rpartition(" ")[0]
    for secret in sorted(filter(None, hidden), key=len, reverse=True):
        line = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)" if len(secret) < 4 else re.escape(secret), "…", line)
    return _ADDRESS.sub("…", line)[:most].rstrip(". ")
