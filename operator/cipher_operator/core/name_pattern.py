"""Patterns for names: a part of regular expressions in which matching takes time linear in the pattern and the name.

What a platform team writes is matched against what tenants write, on the event loop: with groups or alternatives, which
Python's engine tries one after the other, one name could hold it for hours.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

PLACEHOLDER = "{namespace}"
_ATOM = re.compile(r"(\{namespace\}|\[\^?[-A-Za-z0-9_]+\]|\\[-.]|[A-Za-z0-9_.-])([*+?]?)")


class PatternError(ValueError):
    """A pattern that cannot be used; the text says what is allowed."""


@dataclass(frozen=True, slots=True)
class _Atom:
    fits: Callable[[str], object]
    optional: bool
    repeated: bool


def name_matches(pattern: str, namespace: str, name: str) -> bool:
    """Return whether a whole name fits a pattern: letters, digits, `_`, `-`, `.` for any character, sets such as
    `[a-z0-9_]`, each with `*`, `+` or `?` behind it, and `{namespace}`, which must stand in it. Raises PatternError.
    """
    atoms = _atoms(pattern, namespace)
    at = _skip(atoms, {0})
    for char in name:
        after = set()
        for position in at:
            if position < len(atoms) and atoms[position].fits(char):
                after.add(position + 1)
                if atoms[position].repeated:
                    after.add(position)
        at = _skip(atoms, after)
    return len(atoms) in at


def _atoms(pattern: str, namespace: str) -> list[_Atom]:
    body = pattern.removeprefix("^").removesuffix("$")
    atoms: list[_Atom] = []
    position, named = 0, False
    while position < len(body):
        found = _ATOM.match(body, position)
        if found is None or (found[1] == PLACEHOLDER and found[2]):
            raise PatternError(
                f"character {position + 1} is not understood: letters, digits, `_`, `-`, `.`, sets such as "
                f"`[a-z0-9_]`, each with `*`, `+` or `?` behind it, and `{PLACEHOLDER}` are"
            )
        if found[1] == PLACEHOLDER:
            named = True
            atoms += [_Atom(re.compile(re.escape(char)).fullmatch, False, False) for char in namespace]
        else:
            atoms.append(_atom(found[1], found[2]))
        position = found.end()
    if not named:
        raise PatternError(f"`{PLACEHOLDER}` must stand in it, so that no tenant takes another's names")
    return atoms


def _atom(text: str, quantifier: str) -> _Atom:
    try:
        one = re.compile(text if text.startswith(("[", "\\", ".")) else re.escape(text))
    except re.error:
        raise PatternError(f"the set {text} is not a set of characters") from None
    return _Atom(one.fullmatch, optional=quantifier in {"*", "?"}, repeated=quantifier in {"*", "+"})


def _skip(atoms: list[_Atom], positions: set[int]) -> set[int]:
    """Return the positions with those behind atoms that may be left out."""
    reached = set(positions)
    for position in range(len(atoms)):
        if position in reached and atoms[position].optional:
            reached.add(position + 1)
    return reached
