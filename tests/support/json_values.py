"""Any JSON, for what must read every object that an API server may have stored."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20)
)
json_values: st.SearchStrategy[Any] = st.recursive(
    _scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)


@st.composite
def with_one_value_replaced(draw: st.DrawFn, value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object with one of its values, at any depth, removed or replaced by any JSON."""
    field = draw(st.sampled_from(sorted(value)))
    inner = value[field]
    result = dict(value)
    if isinstance(inner, Mapping) and inner and draw(st.booleans()):
        result[field] = draw(with_one_value_replaced(inner))
    elif isinstance(inner, list) and inner and isinstance(inner[0], Mapping) and draw(st.booleans()):
        result[field] = [draw(with_one_value_replaced(inner[0])), *inner[1:]]
    elif draw(st.integers(0, 4)) == 0:
        del result[field]
    else:
        result[field] = draw(json_values)
    return result
