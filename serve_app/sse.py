"""Server-sent events and NDJSON lines."""

import json


def sse(event: str, data: object) -> bytes:
    """One server-sent event whose data is JSON."""
    return f"event: {event}\ndata: {_json(data)}\n\n".encode()


def ndjson(event: str, data: object) -> bytes:
    """One line `{"event", "data"}`."""
    return (_json({"event": event, "data": data}) + "\n").encode()


def _json(data: object) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
