"""Reads a server's log: its statements (log_statement=all), what of each stands outside quotes, its connections."""

import re

_ENTRY = re.compile(r"^\d{4}-\d\d-\d\d [\d:.]+ UTC \[\d+\] ", re.MULTILINE)
_STATEMENT = re.compile(r"(?:LOG:  (?:statement|execute [^:]*)|STATEMENT): (.*)", re.DOTALL)
_QUOTED = re.compile(
    r"""(?<![A-Za-z0-9_])[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(?P<tag>\w*)\$(?P<body>.*?)\$(?P=tag)\$""",
    re.DOTALL,
)

PREFIX = "%m [%p] "
"""The log_line_prefix this module reads: one without user and database, which may hold anything."""


def statements(log: str) -> list[str]:
    """Return the statements in a log with PREFIX, in their order."""
    found = (_STATEMENT.match(entry) for entry in _ENTRY.split(log))
    return [match[1].replace("\n\t", "\n").strip() for match in found if match is not None]


def outside_quotes(statement: str) -> str:
    """Return the statement with the content of every literal and quoted name taken out.

    A dollar-quoted body is a statement of its own: what stands outside quotes in it is kept.
    """
    return _QUOTED.sub(lambda match: outside_quotes(match["body"]) if match["body"] is not None else "''", statement)


def most_at_once(log: str) -> int:
    """Return the most connections open at once, from the server's log."""
    open_now = most = 0
    for line in log.splitlines():
        if "connection authorized" in line:
            open_now += 1
        elif "disconnection: session time" in line:
            open_now -= 1
        most = max(most, open_now)
    return most
