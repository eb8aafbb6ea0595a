"""Why a file of YAML cannot be used, without a word of what is in it: it may hold credentials."""

import yaml

UNREADABLE = (OSError, yaml.YAMLError, ValueError, RecursionError)
"""What reading a file and parsing it raise: a text that is no UTF-8 is a ValueError."""


def unreadable(error: Exception, *, instead: str) -> str:
    """Return what is wrong, to be said behind the file's name; `instead` is what to name where it is a directory."""
    if isinstance(error, IsADirectoryError):
        return f"is a directory; {instead}"
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}"
    mark = getattr(error, "problem_mark", None)
    return "is not YAML" + (f": line {mark.line + 1}" if mark is not None else "")
