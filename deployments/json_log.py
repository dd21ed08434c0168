"""Logs as JSON: one object a line, on standard output, without anything that a request held.

What is written is chosen, not filtered: of our own and Serve's records the message and plain extra
values, of other libraries' records the message before its arguments are put in, of an error its type
and where it was raised. The text of an error is left out: it may quote what was sent.
"""

import json
import logging
import logging.handlers
import os
import traceback
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from types import TracebackType
from typing import Any

from ray.serve import context as serve_context

from configs.settings import LogSettings
from deployments.link import Writer, current_link

ACCESS_LOGGER = "gemmavoice.access"

_OURS = ("ray.serve", "gemmavoice", "serve_app")
_LINE_BYTES = 4096  # PIPE_BUF: a pipe takes so much in one piece, whoever else writes to it
_MESSAGE_CHARS, _VALUE_CHARS = 1000, 200
_FRAMES, _CAUSES = 12, 4
_STDOUT = 1
# What a RuntimeError of a device or an engine begins with; other texts may quote a prompt.
_OF_A_DEVICE = ("CUDA", "cuBLAS", "cuDNN", "llama_decode returned")
_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "_ray_timestamp_ns",
}
# What Serve adds to its records for its own files.
_SERVES_OWN = frozenset(
    "serve_access_log log_to_stderr skip_context_filter route request_id application deployment "
    "replica component_name component_id component_type timestamp_ns job_id worker_id node_id "
    "actor_id task_id actor_name task_name task_function_name".split()
)


def log_as_json(settings: LogSettings, level: str, writer: Writer) -> None:
    """From now on everything that this process logs is a line of JSON."""
    handler = JsonLines(settings.file, writer)
    serve = logging.getLogger("ray.serve")
    root = logging.getLogger()
    for logger in (serve, root, logging.getLogger("ray")):
        for old in logger.handlers[:]:
            # Serve's files stay; what it writes to stderr would be there twice.
            if type(old) is not logging.handlers.MemoryHandler:
                logger.removeHandler(old)
        logger.addHandler(handler)
    serve.setLevel(level)
    root.setLevel(logging.WARNING)
    access = logging.getLogger(ACCESS_LOGGER)
    access.setLevel(logging.INFO)
    access.handlers = [handler]
    access.propagate = False
    logging.captureWarnings(capture=True)


class JsonLines(logging.Handler):
    """Appends each record to a file, else to standard output. A full pipe loses lines, and counts them.

    It never waits: somebody may be speaking.
    """

    def __init__(self, path: str | None, writer: Writer) -> None:
        super().__init__()
        self._writer = writer
        self._file = _opened(path)
        self._lost = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave out Serve's own access log: it has paths, and ours has more."""
        return not getattr(record, "serve_access_log", False)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            os.write(self._file, self._line(record))
            self._lost = 0
        except (OSError, ValueError, TypeError):  # nobody reads, or not fast enough
            self._lost += 1

    def _line(self, record: logging.LogRecord) -> bytes:
        fields = {**_of_record(record), **_of_writer(self._writer), **_of_request()}
        if self._lost:
            fields["lost_lines"] = self._lost
        ours = record.name.startswith(_OURS)
        fields |= dict(_extras(record)) if ours else {}
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = _error(record.exc_info[1], record.exc_info[2])
        line = _dumped(fields)
        if len(line) > _LINE_BYTES:
            fields["message"] = fields["message"][:_VALUE_CHARS]
            fields.pop("error", None)
            line = _dumped(fields | {"cut": True})
        return line if len(line) <= _LINE_BYTES else _dumped(_of_record(record, _VALUE_CHARS))


def _opened(path: str | None) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    with suppress(OSError):  # it may be a socket, or another user's
        if path is not None:
            return os.open(path, flags, 0o600)
    return _STDOUT


def _of_record(record: logging.LogRecord, chars: int = _MESSAGE_CHARS) -> dict[str, Any]:
    ours = record.name.startswith(_OURS)
    message = record.getMessage() if ours else str(record.msg)
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return {
        "time": at.replace("+00:00", "Z"),
        "level": record.levelname,
        "logger": record.name,
        "message": message.split("\n", 1)[0][:chars],
    }


def _of_writer(writer: Writer) -> dict[str, str]:
    known = {"deployment": writer.deployment, "application": writer.application}
    return {name: value for name, value in (known | {"replica": writer.replica}).items() if value}


def _of_request() -> dict[str, str]:
    """Whose work it is: our own word, else (calls that carry none) Serve's, which is the same id."""
    link = current_link()
    request_id = link.request_id or _serves_request_id()
    trace_id, span_id = (link.traceparent.split("-")[1:3]) if link.traceparent else ("", "")
    found = {"request_id": request_id, "session": link.session}
    found |= {"trace_id": trace_id, "span_id": span_id}
    return {name: value for name, value in found.items() if value}


def _serves_request_id() -> str:
    return serve_context._get_serve_request_context().request_id  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _extras(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    known = _RECORD | _SERVES_OWN if record.name == "ray.serve" else _RECORD
    for name, value in vars(record).items():
        if name in known:
            continue
        if isinstance(value, bool | int | float) or value is None:
            yield name, value
        elif isinstance(value, str):
            yield name, value[:_VALUE_CHARS]


def _error(error: BaseException, trace: TracebackType | None) -> dict[str, object]:
    frames = traceback.extract_tb(trace)[-_FRAMES:]
    told: dict[str, object] = {
        "type": type(error).__name__,
        "at": [f"{_short(each.filename)}:{each.lineno} {each.name}" for each in frames],
    }
    if isinstance(error, OSError):
        told["text"] = str(error.strerror)[:_VALUE_CHARS]
    elif isinstance(error, RuntimeError) and str(error).startswith(_OF_A_DEVICE):
        told["text"] = str(error).split("\n", 1)[0][:_VALUE_CHARS]
    causes = [type(each).__name__ for each in islice(_causes(error), _CAUSES)]
    return told | ({"because_of": causes} if causes else {})


def _causes(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        yield from error.exceptions
    cause = error.__cause__ or error.__context__
    if cause is not None:
        yield cause
        yield from _causes(cause)


def _short(path: str) -> str:
    return "/".join(path.split("/")[-2:])


def _dumped(fields: dict[str, Any]) -> bytes:
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), default=str)
    return text.encode(errors="replace") + b"\n"
