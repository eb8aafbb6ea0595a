"""Label selectors, as Kubernetes means them (API reference: LabelSelector)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cipher_operator.api.failures import Failure
from cipher_operator.api.fields import Fields
from cipher_operator.api.reasons import Reason


class Operator(StrEnum):
    """How an expression compares."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True)
class Expression:
    """One requirement of a label."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether labels fulfil it; an absent label is not in any set."""
        there = self.key in labels
        match self.operator:
            case Operator.EXISTS:
                return there
            case Operator.DOES_NOT_EXIST:
                return not there
            case Operator.IN:
                return there and labels[self.key] in self.values
            case Operator.NOT_IN:
                return not there or labels[self.key] not in self.values


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements hold at once; one without any would select everything and is refused."""

    labels: Mapping[str, str]
    expressions: tuple[Expression, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether labels fulfil all of it."""
        same = all(labels.get(key) == value for key, value in self.labels.items())
        return same and all(expression.matches(labels) for expression in self.expressions)


def parse_selector(node: Fields) -> Selector:
    """Return a selector. Raises Failure InvalidSpec that names the field."""
    expressions = tuple(map(_expression, node.items("matchExpressions")))
    selector = Selector(node.texts("matchLabels"), expressions)
    if not selector.labels and not selector.expressions:
        raise Failure(
            Reason.INVALID_SPEC, f"`{node.path}` is empty, which would select everything; say `from: All` for that"
        )
    return selector


def _expression(node: Fields) -> Expression:
    key = node.required("key")
    operator = node.choice("operator", Operator, None)
    if operator is None:
        raise Failure(Reason.INVALID_SPEC, f"`{node.path}.operator` must be set")
    values = frozenset(node.words("values"))
    if (operator in {Operator.IN, Operator.NOT_IN}) != bool(values):
        raise Failure(Reason.INVALID_SPEC, f"`{node.path}.values` must be set with In and NotIn, and only with them")
    return Expression(key, operator, values)
