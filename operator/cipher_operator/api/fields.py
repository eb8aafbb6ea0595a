"""Typed reading of JSON of any shape: what cannot be used is named by its path."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from cipher_operator.api.durations import parse_duration
from cipher_operator.api.failures import Failure
from cipher_operator.api.reasons import Reason

Choice = TypeVar("Choice", bound=StrEnum)
ChoiceDefault = TypeVar("ChoiceDefault")
NumberDefault = TypeVar("NumberDefault")


class Fields:
    """A JSON object with its path, such as `spec.user`; an absent one is empty and false.

    Every method raises Failure InvalidSpec, with the field's path and the rule, for a value of another type.
    """

    def __init__(self, value: Any, path: str) -> None:
        if value is not None and not isinstance(value, Mapping):
            raise _invalid(path, "must be an object")
        self._value: Mapping[str, Any] = value or {}
        self._path = path
        self._present = value is not None

    def __bool__(self) -> bool:
        return self._present

    @property
    def path(self) -> str:
        """Return where it stands, such as `spec.user`."""
        return self._path

    @property
    def fields(self) -> tuple[str, ...]:
        """Return the names of the fields that are set."""
        return tuple(str(field) for field, value in self._value.items() if value is not None)

    def node(self, field: str) -> "Fields":
        """Return the object in a field."""
        return Fields(self._value.get(field), f"{self._path}.{field}")

    def items(self, field: str) -> list["Fields"]:
        """Return the objects of the list in a field; [] of an absent one."""
        value = self._value.get(field)
        if value is None:
            return []
        if not isinstance(value, list):
            raise _invalid(f"{self._path}.{field}", "must be a list")
        return [Fields(item, f"{self._path}.{field}[{position}]") for position, item in enumerate(value)]

    def text(self, field: str) -> str | None:
        """Return a text; None for an absent or empty one."""
        value = self._value.get(field)
        if value is not None and not isinstance(value, str):
            raise _invalid(f"{self._path}.{field}", "must be a string")
        if value is not None and "\0" in value:
            raise _invalid(f"{self._path}.{field}", "must not contain NUL")
        return value or None

    def required(self, field: str) -> str:
        """Return a text that must be there."""
        value = self.text(field)
        if value is None:
            raise _invalid(f"{self._path}.{field}", "must be set")
        return value

    def name(self, field: str, most: int, reserved: Callable[[str], bool]) -> str | None:
        """Return a name of at most `most` bytes for something in PostgreSQL, which cuts longer ones without a word.

        `reserved` says which names are the server's or the provider's own.
        """
        value = self.text(field)
        if value is not None and not (value.isprintable() and len(value.encode()) <= most):
            raise _invalid(f"{self._path}.{field}", f"must be printable and not longer than {most} bytes")
        if value is not None and reserved(value):
            raise _invalid(
                f"{self._path}.{field}", "must not be one that PostgreSQL or the provider reserves for itself"
            )
        return value

    def words(self, field: str) -> tuple[str, ...]:
        """Return a list of texts; () of an absent one."""
        value = self._value.get(field)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _invalid(f"{self._path}.{field}", "must be a list of strings")
        return tuple(value)

    def texts(self, field: str) -> Mapping[str, str]:
        """Return a map of texts."""
        value = self._value.get(field)
        if value is None:
            return {}
        if not isinstance(value, Mapping) or not all(isinstance(item, str) for item in value.values()):
            raise _invalid(f"{self._path}.{field}", "must be a map of strings")
        return {str(key): item for key, item in value.items()}

    def flag(self, field: str, *, default: bool) -> bool:
        """Return a boolean."""
        value = self._value.get(field)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise _invalid(f"{self._path}.{field}", "must be true or false")
        return value

    def number(self, field: str, default: NumberDefault) -> int | NumberDefault:
        """Return a whole number."""
        value = self._value.get(field)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            raise _invalid(f"{self._path}.{field}", "must be a whole number")
        return value

    def choice(self, field: str, kind: type[Choice], default: ChoiceDefault) -> Choice | ChoiceDefault:
        """Return a member of an enumeration."""
        value = self.text(field)
        if value is None:
            return default
        try:
            return kind(value)
        except ValueError:
            allowed = ", ".join(kind)
            raise _invalid(f"{self._path}.{field}", f"must be one of {allowed}") from None

    def seconds(self, field: str) -> float | None:
        """Return a duration in seconds."""
        value = self.text(field)
        if value is None:
            return None
        try:
            return parse_duration(value)
        except ValueError as error:
            raise _invalid(f"{self._path}.{field}", str(error)) from None


def _invalid(field: str, rule: str) -> Failure:
    return Failure(Reason.INVALID_SPEC, f"`{field}` {rule}")
