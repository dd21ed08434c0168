"""Reads what the API answers."""

import io
import json
from typing import Any

import av


def decoded(data: bytes) -> tuple[int, float]:
    """Sample rate and seconds of an audio file."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.audio[0]
        samples = sum(frame.samples for frame in container.decode(stream))
        return stream.rate, samples / stream.rate


def problem(response: Any) -> tuple[int, str, str | None]:
    """Status, code and param of an error, once its envelope is right."""
    error = response.json()["error"]
    assert list(error) == ["message", "type", "param", "code", "request_id"]
    assert error["request_id"] == response.headers["x-request-id"]
    return response.status_code, error["code"], error["param"]


def sse_events(body: str) -> list[tuple[str, Any]]:
    """Server-sent events: name and data."""
    events: list[tuple[str, Any]] = []
    for block in body.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def ndjson_events(body: str) -> list[tuple[str, Any]]:
    """Lines of `{"event", "data"}`."""
    lines = [json.loads(line) for line in body.splitlines()]
    assert all(set(line) == {"event", "data"} for line in lines)
    return [(line["event"], line["data"]) for line in lines]
