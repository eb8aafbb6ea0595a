"""Objects in files of YAML or JSON, as `kubectl apply -f` reads them; what cannot be read is said by its file."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cipher_operator.api.printable import printable
from cipher_operator.kube.unreadable import UNREADABLE, unreadable

STDIN = "-"
MAX_VALUES = 1_000_000
"""Scalars, lists and maps in one document, aliases written out: a few lines can stand for thousands of millions."""


class ManifestError(Exception):
    """The files do not hold what is needed; the text says what and where, and quotes no content."""


@dataclass(frozen=True, slots=True, repr=False)
class Document:
    """One object; `source` is its file, as people name it."""

    source: str
    body: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Document({self.label})"

    @property
    def kind(self) -> str:
        """Return its kind."""
        return str(self.body["kind"])

    @property
    def api_version(self) -> str:
        """Return its apiVersion, empty where it has none."""
        return str(self.body.get("apiVersion") or "")

    @property
    def name(self) -> str:
        """Return its name, empty where it has none."""
        return self._text("name")

    @property
    def namespace(self) -> str:
        """Return the namespace that it states, empty where it states none."""
        return self._text("namespace")

    @property
    def label(self) -> str:
        """Return how people name it: kind, the namespace that it states, name."""
        return f"{self.kind} {'/'.join(filter(None, (self.namespace, self.name))) or 'without a name'}"

    def texts(self, *path: str) -> dict[str, str]:
        """Return a map of texts, such as `data` or labels; a null is an empty text, as the API server has it.

        Raises ManifestError where a value is no text: 0123 and yes are not what they look like in YAML.
        """
        found: Any = self.body
        for part in path:
            found = mapping(found).get(part)
        for key, value in mapping(found).items():
            if value is not None and not isinstance(value, str):
                where = f"`{'.'.join(path)}`, key '{printable(key)}'"
                raise ManifestError(f"{self.source}: {self.label}: {where}: must be a text; put it in quotes")
        return {str(key): value or "" for key, value in mapping(found).items()}

    def _text(self, field: str) -> str:
        value = mapping(self.body.get("metadata")).get(field)
        if value is not None and not isinstance(value, str):
            raise ManifestError(f"{self.source}: {self.kind}: `metadata.{field}` must be a text; put it in quotes")
        if value and not value.isprintable():
            # What is printed would be obeyed by a terminal.
            raise ManifestError(
                f"{self.source}: {self.kind}: `metadata.{field}` has a line break or a control character in it"
            )
        return value or ""


def read_documents(sources: Iterable[str]) -> list[Document]:
    """Return the objects in files, `-` for standard input; those in a List are taken out. Raises ManifestError."""
    return [document for source in sources for document in _documents(source)]


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping, an empty one for what is none."""
    return value if isinstance(value, Mapping) else {}


def _documents(source: str) -> Iterator[Document]:
    if not source:
        raise ManifestError("-f: the name of a file is empty")
    where = "standard input" if source == STDIN else source
    try:
        text = sys.stdin.read() if source == STDIN else Path(source).read_text()
        bodies = [body for body in _bodies(text, where) if body is not None]
    except UNREADABLE as error:
        raise ManifestError(f"{where} {unreadable(error, instead='name its files, each with -f')}") from None
    for body in bodies:
        yield from _objects(where, body)


def _bodies(text: str, where: str) -> Iterator[Any]:
    """Yield what the documents hold. Raises ManifestError, YAMLError, ValueError, RecursionError."""
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            # Before anything is made of it: merges (`<<`) are carried out there.
            _check_size(node, where)
            yield loader.construct_document(node)
    finally:
        loader.dispose()


def _check_size(root: yaml.Node | None, where: str) -> None:
    """Raise ManifestError where a document has too many values: an alias counts as all that it stands for."""
    count, left = 0, [root] if root is not None else []
    while left:
        node = left.pop()
        count += 1
        if count > MAX_VALUES:
            raise ManifestError(
                f"{where} holds a document of more than {MAX_VALUES:,} values, by aliases "
                "that repeat others or hold themselves, perhaps; split it, or write them out"
            )
        if isinstance(node, yaml.SequenceNode):
            left += node.value
        elif isinstance(node, yaml.MappingNode):
            left += [each for pair in node.value for each in pair]


def _objects(source: str, body: Any) -> Iterator[Document]:
    if not isinstance(body, Mapping) or not isinstance(body.get("kind"), str):
        raise ManifestError(f"{source} holds something that is no Kubernetes object: it has no `kind`")
    if not body["kind"].isprintable():
        raise ManifestError(f"{source} holds an object whose `kind` has a line break or a control character in it")
    items = body.get("items")
    if body["kind"].endswith("List") and isinstance(items, list):
        for item in items:
            yield from _objects(source, item)
    else:
        yield Document(source, body)
