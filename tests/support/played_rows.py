"""All rows of a failure table at once: each in a thread and a namespace of its own.

They break at once, wait at once and are mended at once: a table takes as long as its slowest row, where one after the
other they took minutes. A row that does more than its own storage, role or database can bear has a server of its own.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from support.failure_table import Record, Row, Scene, produce


@dataclass(frozen=True)
class Outcome:
    """What came of one row: the figures that it recorded, and the error that it ended with."""

    figures: tuple[tuple[str, object], ...]
    error: BaseException | None

    def tell(self, record: Record) -> None:
        """Record the figures; raises the error."""
        for name, value in self.figures:
            record(name, value)
        if self.error is not None:
            raise self.error


def play(rows: Iterable[Row], new_scene: Callable[[], Scene]) -> dict[str, Outcome]:
    """Return the outcomes by case."""
    played = list(rows)
    with ThreadPoolExecutor(max(1, len(played)), "row") as threads:
        running = {row.case: threads.submit(_outcome, row, new_scene) for row in played}
    return {case: each.result() for case, each in running.items()}


def _outcome(row: Row, new_scene: Callable[[], Scene]) -> Outcome:
    figures: list[tuple[str, object]] = []
    try:
        with closing(new_scene()) as scene:
            try:
                produce(row, scene, lambda name, value: figures.append((name, value)))
            except AssertionError as error:
                error.add_note(scene.situation())
                raise
    # Of whatever kind: a row may also be skipped. Its own test raises it.
    except BaseException as error:
        error.add_note(f"in the row {row.case!r}")
        return Outcome(tuple(figures), error)
    return Outcome(tuple(figures), None)
