"""A password that cannot slip into a log line, a traceback or a plan."""

from typing import Final, final


@final
class Password:
    """A plain password. `str()`, `repr()` and formatting give `***`; only `reveal()` gives the text.

    Equal by value and hashable, so that frozen facts which hold one stay comparable.
    """

    __slots__ = ("_text",)
    _text: Final[str]

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the plain text."""
        return self._text

    def __str__(self) -> str:
        return "***"

    def __repr__(self) -> str:
        return "Password(***)"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Password) and other._text == self._text

    def __hash__(self) -> int:
        return hash(("Password", self._text))

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Password is never serialised")
