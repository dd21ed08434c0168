"""A line of the log: what it has, and what it never has."""

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from deployments.errors import StageFailed
from deployments.json_log import ACCESS_LOGGER, JsonLines
from deployments.link import Link, Writer, begin_request, follow, note_session, session_mark
from deployments.pump import run_in_thread
from tests.unit.fake_services import serving

SECRET = "zanzibar-canary-4711"
WRITER = Writer("stt", "speech", "r1")


class Log:
    """Loggers that write to a file, and what is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.handler = JsonLines(str(path), WRITER)

    def to(self, name: str) -> logging.Logger:
        logger = logging.Logger(name, logging.DEBUG)  # noqa: LOG001 - none that others use
        logger.addHandler(self.handler)
        return logger

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    yield Log(tmp_path / "lines")
    follow(Link())


def test_a_line_says_when_where_and_for_whom(log: Log) -> None:
    follow(Link("r-1", session_mark("kitchen-7"), f"00-{'a' * 32}-{'b' * 16}-01"))
    log.to("ray.serve").warning("it is %s", "late", extra={"stage": "stt", "ms": 1.5})
    (line,) = log.lines
    assert line.pop("time")[10:].startswith("T")
    assert line == {
        "level": "WARNING",
        "logger": "ray.serve",
        "message": "it is late",
        "deployment": "stt",
        "application": "speech",
        "replica": "r1",
        "request_id": "r-1",
        "session": session_mark("kitchen-7"),
        "trace_id": "a" * 32,
        "span_id": "b" * 16,
        "stage": "stt",
        "ms": 1.5,
    }
    assert "kitchen" not in session_mark("kitchen-7")


def raised(error: Exception) -> Exception:
    try:
        {}[SECRET]
    except KeyError:
        with suppress(type(error)):
            fail_with(error)  # what it came of is kept as its context
    return error


def fail_with(error: Exception) -> None:
    raise error


def test_an_error_is_told_by_its_type_and_place(log: Log) -> None:
    errors = [ValueError(SECRET), RuntimeError(f'Failed to tokenize: text="{SECRET}"')]
    errors += [
        ExceptionGroup(SECRET, [StageFailed("stt"), TypeError(SECRET)]),
        OSError(28, "full", SECRET),
    ]
    for error in errors:
        log.to("ray.serve").error("it broke", exc_info=raised(error))
    assert SECRET not in log.path.read_text()
    told = [line["error"] for line in log.lines]
    assert [each["type"] for each in told] == [
        "ValueError",
        "RuntimeError",
        "ExceptionGroup",
        "OSError",
    ]
    assert all("test_json_log.py" in each["at"][-1] for each in told)
    assert told[2]["because_of"][:2] == ["StageFailed", "TypeError"]
    assert told[3]["text"] == "full"


def test_what_a_device_says_is_told(log: Log) -> None:
    error = RuntimeError(f"CUDA error: an illegal memory access was encountered\n{SECRET}")
    log.to("ray.serve").error("it broke", exc_info=raised(error))
    assert log.lines[0]["error"]["text"] == "CUDA error: an illegal memory access was encountered"
    assert SECRET not in log.path.read_text()


def test_other_libraries_are_quoted_without_their_arguments(log: Log) -> None:
    log.to("some.library").warning("cannot read %s", SECRET, extra={"text": SECRET})
    log.to("asyncio").error(f"never retrieved\nfuture: <Task exception=ValueError({SECRET!r})>")
    assert [line["message"] for line in log.lines] == ["cannot read %s", "never retrieved"]
    assert SECRET not in log.path.read_text()


def test_a_line_is_never_longer_than_a_pipe_takes_at_once(log: Log) -> None:
    logger = log.to("ray.serve")
    logger.warning("é" * 9000, extra={f"value{n}": "é" * 900 for n in range(40)})
    assert len(log.path.read_bytes()) <= 4096
    assert log.lines[0]["message"].startswith("é")


def test_serves_access_log_is_left_out(log: Log) -> None:
    log.to("ray.serve").info("GET /v1/models/secret 200", extra={"serve_access_log": True})
    assert log.path.read_bytes() == b""


def test_a_pipe_that_nobody_reads_loses_lines_and_does_not_wait(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        log = Log(path)
        logger = log.to("ray.serve")
        for _ in range(2000):
            logger.info("x" * 900)
        size = len(os.read(reader, 1 << 20))
        logger.info("again")
        last = json.loads(os.read(reader, 1 << 20).splitlines()[-1])
    finally:
        os.close(reader)
    assert size < 2000 * 900
    assert last["message"] == "again"
    assert 0 < last["lost_lines"] < 2000


async def test_what_a_thread_of_an_engine_logs_belongs_to_its_request(log: Log) -> None:
    logger = log.to("ray.serve")

    async def serve(request_id: str) -> None:
        begin_request(Link(request_id))
        await run_in_thread(executor, lambda _: logger.info("heard"))

    with ThreadPoolExecutor(2) as executor:
        await asyncio.gather(serve("one"), serve("two"))
    assert {line["request_id"] for line in log.lines} == {"one", "two"}


async def test_a_session_that_a_task_notes_is_known_at_the_end_of_the_request() -> None:
    marks = begin_request(Link("r"))

    async def work() -> None:
        note_session("kitchen-7")

    async with asyncio.TaskGroup() as group:
        group.create_task(work())
    assert marks.session == session_mark("kitchen-7")


def test_a_request_and_a_socket_are_told_by_their_route(log: Log) -> None:
    access = logging.getLogger(ACCESS_LOGGER)
    access.addHandler(log.handler)
    access.setLevel(logging.INFO)
    try:
        with serving() as served:
            served.client.get(
                f"/v1/sessions/{'k' * 9}?api_key={SECRET}", headers={"x-request-id": "a"}
            )
            served.client.post("/v1/generate", json={"prompt": SECRET})
            served.client.get(f"/{SECRET}")
            with served.client.websocket_connect("/v1/realtime?model=gpt-realtime") as socket:
                socket.receive_json()
                socket.send_json({"type": "input_audio_buffer.clear", "event_id": SECRET})
                socket.receive_json()
    finally:
        access.removeHandler(log.handler)
        access.setLevel(logging.NOTSET)
    told = [(line["method"], line["route"], line["status"]) for line in log.lines]
    assert told == [
        ("GET", "/v1/sessions/{session_id}", 404),
        ("POST", "/v1/generate", 200),
        ("GET", "unmatched", 404),
        ("WEBSOCKET", "/v1/realtime", 101),
    ]
    session, generated, _, talk = log.lines
    assert (session["request_id"], session["session"]) == ("a", session_mark("k" * 9))
    assert generated["bytes_in"] > len(SECRET)
    assert generated["bytes_out"] > 50
    assert talk["messages_in"] == 1
    assert talk["session"]
    assert SECRET not in log.path.read_text()
