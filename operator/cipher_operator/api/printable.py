"""Text from elsewhere as a person may be shown it, in a status, a log or a terminal."""


def printable(text: object) -> str:
    """Return a text as it is, but for what a terminal would obey, or a reader not see: that is a space."""
    said = str(text)
    return said if said.isprintable() else "".join(char if char.isprintable() else " " for char in said)


def shortened(text: str, most: int) -> str:
    """Return a text of at most so many characters: a longer one ends with a clause, and `…`.

    Cut where the characters run out, it would end in the midst of SQL that somebody runs.
    """
    if len(text) <= most:
        return text
    kept = text[: most - len(_CUT)]
    end = max(kept.rfind("; "), kept.rfind(". ")) + 1
    return (kept[:end] if end > most // 2 else kept) + _CUT


_CUT = " …"
