"""Calls the API without holding what is sent or what comes, and measures its memory."""

import asyncio
import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Scope


@dataclass
class Call:
    """How a call ended; `peak_bytes` is what Python held at most beyond what it held before."""

    status: int = 0
    size: int = 0
    peak_bytes: int = 0


async def measured(api: ASGIApp, path: str, headers: dict[str, str], body: Iterable[bytes]) -> Call:
    call = Call()
    pieces = iter(body)

    async def receive() -> Message:
        piece = next(pieces, None)
        if piece is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": piece, "more_body": piece != b""}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            call.status = message["status"]
        call.size += len(message.get("body", b""))

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    try:
        await asyncio.wait_for(api(scope, receive, send), 60)
        call.peak_bytes = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    return call


def form_upload(
    file: bytes, piece_bytes: int = 64 * 1024
) -> tuple[dict[str, str], Iterator[bytes]]:
    """Headers and body of a form whose only field is `file`."""

    def body() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for start in range(0, len(file), piece_bytes):
            yield file[start : start + piece_bytes]
        yield b"\r\n--x--\r\n"
        yield b""

    return {"content-type": "multipart/form-data; boundary=x"}, body()
