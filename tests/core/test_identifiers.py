"""Names in SQL: any text stays one quoted name, in every step, and nothing builds SQL but psycopg.sql."""

import ast
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import cipher_operator
from cipher_operator.api.failures import Failure
from cipher_operator.api.names import MAX_USER_NAME, default_user_name
from cipher_operator.api.reasons import Reason
from cipher_operator.api.spec import parse_spec
from cipher_operator.core.connection.password import Password
from cipher_operator.core.schema import INDEXES, TABLES, Index, Table
from cipher_operator.core.sql import removals, steps
from cipher_operator.core.sql.composing import compose, identifiers, quoted, schemas_in
from cipher_operator.core.sql.step import Change, Kind, Step, statements_of
from cipher_operator.postgres.apply import with_passwords
from support import crd
from support.hostile import CONTROL, HOSTILE, MARK
from support.sql_log import outside_quotes
from support.storages import MINIMAL

NAMES = HOSTILE | {name: value for name, value in CONTROL.items() if "\0" not in value}
STEPS = [
    function
    for module in (steps, removals)
    for function in vars(module).values()
    if isinstance(function, types.FunctionType)
    and function.__module__ == module.__name__
    and get_type_hints(function)["return"] is Step
]
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(text)
@example('"')
@example('\\"')
@example("a.b")
@example("{x}%s")
@example("current_user")
@example("PUBLIC")
def test_any_text_is_one_quoted_name(name: str) -> None:
    as_name = '"' + name.replace('"', '""') + '"'
    assert quoted(name) == as_name
    assert compose("DROP ROLE {role}; --{role}", role=name).as_string(None) == f"DROP ROLE {as_name}; --{as_name}"
    assert identifiers([name, name]).as_string(None) == f"{as_name}, {as_name}"


@pytest.mark.parametrize("name", ["a\0b", "\0", "a\0"], ids=["inside", "alone", "behind"])
def test_nul_never_becomes_a_shorter_name(name: str) -> None:
    for build in (lambda: compose("{x}", x=name), lambda: identifiers(["a", name]), lambda: quoted(name)):
        with pytest.raises(ValueError, match="a name holds NUL"):
            build()


def _value(hint: Any, name: str) -> Any:
    """Return a value of a step's field: the name wherever text fits."""
    if hint is Table:
        return TABLES[0]
    if hint is Index:
        return INDEXES[0]
    if get_origin(hint) is tuple:
        return (name, name)
    if get_origin(hint) is types.UnionType:
        return _value(get_args(hint)[0], name)
    return {str: name, int: 7, bool: True, Password: Password(name), Change: Change.SET_LOGGED}[hint]


def _step(make: Callable[..., Step], name: str) -> Step:
    hints = {field: hint for field, hint in get_type_hints(make).items() if field != "return"}
    return make(**{field: _value(hint, name) for field, hint in hints.items()})


def test_every_kind_of_step_has_its_one_function() -> None:
    made = {make.__name__: str(_step(make, "plain").kind) for make in STEPS}
    assert made == {str(kind): str(kind) for kind in Kind}


@pytest.mark.parametrize("make", STEPS, ids=lambda make: str(make.__name__))
def test_every_step_keeps_every_text_within_quotes(make: Callable[..., Step]) -> None:
    plain = _around_names(_step(make, "plain"))
    assert plain
    for name in NAMES.values():
        around = _around_names(_step(make, name))
        assert around == plain
        assert MARK not in around


def _around_names(step: Step) -> str:
    """Return the step's statements without what is quoted; psycopg writes a space before a literal with backslashes."""
    sent = [with_passwords(each, lambda password: password.password.reveal()) for each in statements_of([step])]
    statements = "; ".join(each.as_string(None) for each in sent)
    return re.sub(r"\s+", " ", outside_quotes(statements))


@pytest.mark.parametrize(
    ("setting", "schemas"),
    [
        ("", ("",)),
        ("public", ("public",)),
        ('"$user", public', ("$user", "public")),
        ('cipher,"Other" ,x', ("cipher", "Other", "x")),
        ('"a""b", public', ('a"b', "public")),
        ('"a, public"', ("a, public",)),
        ('""""', ('"',)),
    ],
)
def test_a_search_path_is_read_as_the_server_writes_it(setting: str, schemas: tuple[str, ...]) -> None:
    assert schemas_in(setting) == schemas


@given(st.lists(text, min_size=1))
def test_a_search_path_of_any_names_is_read_as_those(names: list[str]) -> None:
    assert schemas_in(", ".join(map(quoted, names))) == tuple(names)


@given(text, text)
def test_a_derived_name_is_plain_whatever_it_is_derived_from(namespace: str, name: str) -> None:
    user = default_user_name(namespace, name)
    assert re.fullmatch(r"cipher[a-z0-9_]*_[0-9a-f]{8}", user)
    assert len(user) <= MAX_USER_NAME


TOO_LONG = {
    "database.name": ["d" * 64, "ä" * 32, "🦀" * 16],
    "schema": ["s" * 64, "ä" * 32, "\u0308" * 32],
    "user.name": ["u" * 58, "ä" * 29, "🦀" * 15],
}
LONGEST = {"database.name": ["d" * 63, "日" * 21], "schema": ["s" * 63], "user.name": ["u" * 57, "日" * 19]}
UNPRINTABLE = ["a\nb", "a\u202eb", "a\u200bb", "a\x7f", "\ufeffa", "a\u00a0b", "a\ud800b"]


@pytest.mark.parametrize("path", TOO_LONG)
def test_names_that_postgresql_would_cut_or_nobody_can_read_are_refused(path: str) -> None:
    # The schema of the CRD says it first; an object stored under another schema may hold anything.
    for value in TOO_LONG[path] + UNPRINTABLE:
        with pytest.raises(Failure, match=f"`spec.{path}` must be printable and not longer than") as caught:
            parse_spec("team", "chat", crd.changed(MINIMAL, {path: value}))
        assert caught.value.reason is Reason.INVALID_SPEC
        assert caught.value.message.isprintable()
    for value in LONGEST[path]:
        parse_spec("team", "chat", crd.changed(MINIMAL, {path: value}))


SOURCES = sorted(Path(cipher_operator.__file__).parent.rglob("*.py"))
# Where a template is no literal, and why that holds nothing from outside.
TEMPLATES = {
    ("core/sql/composing.py", "compose"): "its callers' templates, which are looked at here too, and quoted names",
    ("core/sql/composing.py", "identifiers"): "quoted names",
    ("core/sql/composing.py", "number"): "an int",
    ("core/sql/steps.py", "_column"): "types and defaults of core/schema.py",
    ("core/sql/steps.py", "mend_table"): "a Change",
    ("postgres/catalog.py", "catalog_query"): "constants of the module",
    ("postgres/rights.py", "look"): "constants of the module",
    ("postgres/proof_sql.py", "_fill"): "constants of core/cipher_sql.py",
}


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.IfExp):
        return _is_literal(node.body) and _is_literal(node.orelse)
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _calls(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, ast.Call]]:
    """Yield (name of the function around it, call)."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call):
            yield inside, node
        yield from _calls(node, node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else inside)


def test_templates_are_literals() -> None:
    found: dict[tuple[str, str], int] = {}
    literal = 0
    for path in SOURCES:
        place = path.relative_to(Path(cipher_operator.__file__).parent).as_posix()
        for inside, call in _calls(ast.parse(path.read_text())):
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            if name not in {"SQL", "compose"} or not call.args:
                continue
            if _is_literal(call.args[0]):
                literal += 1
            else:
                found[place, inside] = call.lineno
    assert literal > 60, "the templates are seen"
    assert found.keys() == TEMPLATES.keys()


def test_nothing_else_talks_to_a_server() -> None:
    # Session.execute takes only what psycopg.sql composed, and mypy sees to that.
    talking = {
        path.name
        for path in SOURCES
        for _, call in _calls(ast.parse(path.read_text()))
        if getattr(call.func, "attr", "") in {"execute", "executemany", "exec_", "exec_params", "send_query"}
    }
    assert talking == {
        "apply.py",
        "claims.py",
        "indexes.py",
        "inspect.py",
        "limits.py",
        "login.py",
        "mend.py",
        "remove.py",
        "rights.py",
        "session.py",
    }
