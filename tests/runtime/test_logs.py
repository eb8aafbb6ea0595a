"""Formats, and what never reaches the log."""

import ast
import asyncio
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from cipher_operator import core
from cipher_operator.reconcile.run_id import begin_run
from cipher_operator.runtime import logs

SECRET = "s3cr3t-pass"


@pytest.fixture(autouse=True)
def kept_logging() -> Iterator[None]:
    names = (None, "cipher_operator", "kopf", "kubernetes")
    levels = {name: logging.getLogger(name).level for name in names}
    handlers = list(logging.getLogger().handlers)
    yield
    logging.getLogger().handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.getLogger("aiohttp.access").disabled = False
    logging.captureWarnings(False)


def written(log_format: str, level: str = "info") -> tuple[io.StringIO, logging.Logger]:
    stream = io.StringIO()
    logs.set_up(log_format, level, stream)
    return stream, logging.getLogger("cipher_operator.reconcile.reconcile")


def test_json_is_one_object_per_line_with_what_the_line_is_about() -> None:
    stream, logger = written("json")
    logger.info("Ready: %s", "all\nis well", extra={"storage": "ns/chat", "seconds": 0.06, "reason": "Ready"})
    entry = json.loads(stream.getvalue())
    assert entry.pop("time").endswith("+00:00")
    assert entry == {
        "level": "info",
        "logger": "cipher_operator.reconcile.reconcile",
        "message": "Ready: all is well",
        "storage": "ns/chat",
        "seconds": 0.06,
        "reason": "Ready",
    }


async def test_every_line_of_a_run_carries_its_name_whoever_writes_it() -> None:
    stream, logger = written("json")
    names = []

    async def run() -> None:
        names.append(begin_run())
        await asyncio.sleep(0)
        logger.info("outcome")
        await asyncio.create_task(beside())

    async def beside() -> None:
        logging.getLogger("kopf").warning("of a task that the run began")

    await asyncio.gather(asyncio.create_task(run()), asyncio.create_task(run()))
    logger.info("of no run")
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    by_message = {
        message: [each.get("run") for each in entries if each["message"] == message]
        for message in ("outcome", "of a task that the run began", "of no run")
    }
    assert len(set(names)) == 2
    assert by_message["outcome"] == names
    assert set(by_message["of a task that the run began"]) <= set(names)
    assert by_message["of no run"] == [None]


def test_text_begins_with_the_storage() -> None:
    stream, logger = written("text")
    logger.warning("refused", extra={"storage": "ns/chat", "seconds": 0.06})
    assert stream.getvalue()[9:] == "WARNING ns/chat: refused (seconds=0.06)\n"


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_traceback_has_no_texts_of_exceptions(log_format: str) -> None:
    stream, logger = written(log_format)
    try:
        try:
            raise ValueError(f"cannot parse {SECRET}")
        except ValueError as error:
            raise RuntimeError(SECRET) from error
    except RuntimeError:
        logger.exception("a run failed unexpectedly")
    text = stream.getvalue()
    assert SECRET not in text
    assert "builtins.RuntimeError" in text and "caused by builtins.ValueError" in text
    assert "test_logs.py:" in text


@pytest.mark.parametrize(
    "text",
    [
        f"postgres://admin:{SECRET}@db.example.com:5432/app",
        f"dsn postgresql://admin:{SECRET}@host/db?sslmode=require",
        f"postgresql://admin:a/b@{SECRET}@host/db",
        f"https://user:{SECRET}@proxy:3128",
        f"password={SECRET} user=x",
        f"{{'password': '{SECRET}'}}",
        f'{{"token": "{SECRET}"}}',
        f"Authorization: Bearer {SECRET}",
        f"SCRAM-SHA-256$4096:{SECRET}==$abc",
        f"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.{SECRET}",
    ],
)
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_redaction(text: str, log_format: str) -> None:
    stream, logger = written(log_format)
    logger.error("what a library says: %s", text, extra={"about": text})
    assert SECRET not in stream.getvalue()


def test_a_sentence_about_passwords_is_left_alone() -> None:
    text = "The password of login `chat` was refused; set `spec.user.passwordSecretRef` or mend the Secret."
    assert logs.redact(text) == text


def _said(path: Path) -> Iterator[str]:
    """Yield what a module may say: its texts of several words, but for what documents it."""
    tree = ast.parse(path.read_text())
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = ""
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            text = node.value
        if text.count(" ") > 2:
            yield text


def test_no_message_of_ours_loses_its_remedy_in_the_log() -> None:
    texts = [text for path in Path(core.__path__[0]).rglob("*.py") for text in _said(path)]
    assert any("postgresql://USER:PASSWORD@HOST/DATABASE" in text for text in texts)
    assert [text for text in texts if logs.redact(text) != text] == []


def test_kopf_is_heard_only_from_warnings_on_even_in_debug() -> None:
    stream, _ = written("text", "debug")
    for name in ("kopf.objects", "kopf.activities", "kopf._cogs.clients.api"):
        logging.getLogger(name).info("Handler 'storage' succeeded.")
        logging.getLogger(name).debug("a whole Secret")
    logging.getLogger("kopf.objects").warning("heard")
    assert stream.getvalue().count("\n") == 1


def test_of_its_tries_kopf_says_nothing_beside_ours() -> None:
    stream, _ = written("text")
    for why in ("APIForbiddenError('no', status=403)", "KindNotServed('no')", "ClientConnectorError()"):
        logging.getLogger("kopf._cogs.clients.api").error(
            f"Request attempt #1 failed; will retry: GET https://api/?limit=100 -> {why}"
        )
    logging.getLogger("kopf._cogs.clients.api").error(
        "Request attempt #1 failed; escalating: GET https://api/ -> OSError()"
    )
    assert [line.rpartition(" ")[2] for line in stream.getvalue().splitlines()] == ["OSError()"]


def test_a_library_repeats_itself_once_a_minute() -> None:
    stream, logger = written("text")
    for attempt in range(5):
        logging.getLogger("kopf._cogs.clients.api").error("Request attempt #%d failed; escalating", attempt)
        logger.warning("ours is never dropped")
    assert stream.getvalue().count("escalating") == 1
    assert stream.getvalue().count("ours") == 5
