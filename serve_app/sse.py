"""Server-sent events and NDJSON lines."""

import json


def sse(event: str, data: object) -> bytes:
    """One server-sent event whose data is JSON."""
    return f"event: {event}\ndata: {_json(data)}\n\n".encode()


def sse_data(data: object) -> bytes:
    """One server-sent event without a name, as OpenAI sends them."""
    return f"data: {_json(data)}\n\n".encode()


def ndjson(event: str, data: object) -> bytes:
    """One line `{"event", "data"}`."""
    return json_line({"event": event, "data": data})


def json_line(data: object) -> bytes:
    """One line of JSON."""
    return (_json(data) + "\n").encode()


def _json(data: object) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
