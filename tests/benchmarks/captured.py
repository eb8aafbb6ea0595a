"""What a run sent to PostgreSQL, from the server's log, and the same for other names without the operator."""

import itertools
import re
import time
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import psycopg

from devcluster import PostgresServer
from support.sql_log import PREFIX

SETTINGS = {"log_line_prefix": PREFIX, "log_statement": "all", "log_disconnections": "on"}
"""What a server logs that is to be captured from."""
_ENTRY = re.compile(r"^\d{4}-\d\d-\d\d [\d:.]+ UTC \[(\d+)\] ", re.MULTILINE)
_OPENED = re.compile(r"LOG:  connection authorized: user=(\S+) database=(\S+)")
_MESSAGE = re.compile(r"LOG:  (?:statement|execute [^:]*): (.*)", re.DOTALL)
_WRITES = re.compile(r"(?:^|;)\s*(?:CREATE|ALTER|GRANT|REVOKE|COMMENT|DROP)\b")


@dataclass(frozen=True)
class Step:
    """One thing that happened on the server, in the order of its log; `connection` numbers them from 0."""

    connection: int
    user: str = ""
    database: str = ""
    """Of a connection that opens."""
    message: str | None = None
    closes: bool = False


@dataclass(frozen=True)
class Captured:
    """A run's steps, and the words in them that are the storage's own."""

    steps: tuple[Step, ...]
    words: tuple[str, ...]
    passwords: Mapping[str, str]
    """By login."""

    @property
    def connections(self) -> int:
        return len({step.connection for step in self.steps})

    @property
    def most_at_once(self) -> int:
        now = most = 0
        for step in self.steps:
            now += bool(step.user) - step.closes
            most = max(most, now)
        return most

    @property
    def messages(self) -> int:
        return sum(step.message is not None for step in self.steps)

    def writes(self, user: str) -> list[str]:
        """Return the messages of a user that change something. A login test rolls back what it does."""
        theirs = {step.connection for step in self.steps if step.user == user}
        messages = [step.message for step in self.steps if step.message and step.connection in theirs]
        return [message for message in messages if _WRITES.search(message)]


def captured(log: str, words: Iterable[str], passwords: Mapping[str, str]) -> Captured:
    """Return what a log with PREFIX holds."""
    pieces = _ENTRY.split(log)
    numbers: dict[str, int] = {}
    steps = []
    fresh = itertools.count()
    for pid, text in zip(pieces[1::2], pieces[2::2], strict=True):
        if (opened := _OPENED.match(text)) is not None:
            numbers[pid] = next(fresh)
            steps.append(Step(numbers[pid], user=opened[1], database=opened[2]))
        elif pid in numbers and (message := _MESSAGE.match(text)) is not None:
            steps.append(Step(numbers[pid], message=message[1].replace("\n\t", "\n").strip()))
        elif pid in numbers and "LOG:  disconnection:" in text:
            steps.append(Step(numbers.pop(pid), closes=True))
    return Captured(tuple(steps), tuple(words), dict(passwords))


def other_words(model: Captured, number: int) -> dict[str, str]:
    """Return what the model's words become for another storage: of the same length each."""
    return {word: _other(word, number) for word in model.words}


def _other(word: str, number: int) -> str:
    if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", word):
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{word}-{number}"))
    digits = re.search(r"\d+$", word)
    assert digits is not None, f"{word} must end with digits"
    return word[: digits.start()] + f"{number:0{len(digits[0])}d}"


def replaced(text: str, words: Mapping[str, str]) -> str:
    for word, other in words.items():
        text = text.replace(word, other)
    return text


@dataclass
class Floor:
    """What sending it again took: wall clock and this process's own processor time in seconds, errors by SQLSTATE."""

    seconds: float
    cpu: float
    errors: list[str]


def send_again(model: Captured, server: PostgresServer, numbers: list[int], connections: int) -> Floor:
    """Send a model's messages for other storages, each storage's in their order, so many connections at once."""
    errors: list[str] = []
    workers = max(1, connections // model.most_at_once)
    started, cpu = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(workers) as pool:
        for found in pool.map(lambda number: _send(model, server, other_words(model, number)), numbers):
            errors += found
    return Floor(time.monotonic() - started, time.process_time() - cpu, errors)


def _send(model: Captured, server: PostgresServer, words: Mapping[str, str]) -> list[str]:
    errors = []
    open_: dict[int, psycopg.Connection[Any]] = {}
    talkative = {step.connection for step in model.steps if step.message is not None}
    try:
        for step in model.steps:
            try:
                if step.user:
                    open_[step.connection] = _connect(server, model, step, words)
                elif step.message is not None and step.connection in open_:
                    execute(open_[step.connection], replaced(step.message, words))
                elif step.closes and step.connection in open_:
                    open_.pop(step.connection).close()
            except psycopg.Error as error:
                # A connection that said nothing was refused for the operator too.
                if step.message is not None or step.connection in talkative:
                    errors.append(error.sqlstate or type(error).__name__)
    finally:
        for each in open_.values():
            each.close()
    return errors


def _connect(server: PostgresServer, model: Captured, step: Step, words: Mapping[str, str]) -> psycopg.Connection[Any]:
    password = server.password if step.user == server.superuser else model.passwords[step.user]
    return psycopg.connect(
        host=server.host,
        port=server.port,
        user=replaced(step.user, words),
        password=password,
        dbname=replaced(step.database, words),
        sslmode="disable",
        autocommit=True,
        prepare_threshold=None,
    )


def execute(connection: psycopg.Connection[Any], message: str) -> None:
    """Send one message as it is and take its answers. Raises psycopg.Error."""
    cursor = connection.execute(cast(Any, message.encode()))
    while cursor.nextset():
        pass
