"""Text from elsewhere as a person may be shown it, in a status, a log or a terminal."""


def printable(text: object) -> str:
    """Return a text as it is, but for what a terminal would obey, or a reader not see: that is a space."""
    said = str(text)
    return said if said.isprintable() else "".join(char if char.isprintable() else " " for char in said)
