"""The sentinels that the URLs are made of."""

MARK = "zq"
"""In every part of a URL that no message may repeat, and in none of the operator's own words."""

USER, PASSWORD, HOST, DATABASE = "userzq1", "passzq2", "hostzq3.example", "dbzq4"
LOGIN = f"{USER}:{PASSWORD}"

Refused = tuple[str, str | bytes, str]


def url(rest: str) -> str:
    """Return a URL with a good login, and what is given after the `@`."""
    return f"postgresql://{LOGIN}@{rest}"


def at_host(rest: str) -> str:
    """Return a URL with a good login and host, and what is given after the host."""
    return url(HOST + rest)
