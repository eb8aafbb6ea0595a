"""URLs that people and attackers write, beyond those of tests/core/test_url.py: what is refused, and what is read.

Every URL holds a sentinel in each part that is secret, so that a message which repeats one is found out.
"""

from support.hostile_urls.accepted import ACCEPTED
from support.hostile_urls.authority import AUTHORITIES, SCHEMES
from support.hostile_urls.endpoints import ADDRESSES, HOSTS, PORTS
from support.hostile_urls.parameters import PARAMETERS, VALUES
from support.hostile_urls.parts import MARK, Refused
from support.hostile_urls.paths import CHARACTERS, DATABASES, ENCODINGS, FRAGMENTS, OVERLONG

REFUSED: dict[str, list[Refused]] = {
    "authority": AUTHORITIES,
    "scheme": SCHEMES,
    "host": HOSTS,
    "address": ADDRESSES,
    "port": PORTS,
    "database": DATABASES,
    "encoding": ENCODINGS,
    "characters": CHARACTERS,
    "fragment": FRAGMENTS,
    "overlong": OVERLONG,
    "parameter": PARAMETERS,
    "value": VALUES,
}
"""What it attacks: rows of the reason for the row, the Secret's value, and what the message must say."""

__all__ = ["ACCEPTED", "MARK", "REFUSED"]
