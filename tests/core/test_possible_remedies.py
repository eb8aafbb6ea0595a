"""No message asks for what the API server refuses: a field that cannot change is a new CipherStorage's."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import cipher_operator

PACKAGE = Path(cipher_operator.__file__).parent
IMPOSSIBLE = re.compile(r"[Ss]et (?:another )?`spec\.(?:schema|user\.name|user\.mode|app\.secretName|database\.name)")


def texts(source: str) -> Iterator[str]:
    """Yield the string literals, those in several parts as one; what is filled in is '…'."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)


def test_no_message_asks_to_change_an_immutable_field() -> None:
    found = [
        (path.name, text)
        for path in sorted(PACKAGE.rglob("*.py"))
        for text in texts(path.read_text())
        if IMPOSSIBLE.search(text)
    ]
    assert found == []
