"""A WebSocket client that sends what no good client sends, frame by frame."""

import base64
import json
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any, Self

from tests.serve.cluster import Cluster

CONTINUED, TEXT, BINARY, RESERVED, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x3, 0x8, 0x9, 0xA


class Gone(Exception):
    """The connection ended without a closing frame."""


class RawWebSocket:
    """One connection, as a context; frames are masked unless told otherwise."""

    def __init__(self, cluster: Cluster, path: str = "/v1/realtime", timeout_s: float = 20) -> None:
        self._socket = socket.create_connection(("127.0.0.1", cluster.port), timeout=timeout_s)
        key = base64.b64encode(os.urandom(16)).decode()
        head = [
            f"GET {path} HTTP/1.1",
            f"Host: 127.0.0.1:{cluster.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ]
        self._socket.sendall("\r\n".join([*head, "", ""]).encode())
        self._received = b""
        head_bytes = self._until(b"\r\n\r\n")
        assert b" 101 " in head_bytes.split(b"\r\n")[0], head_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(
        self,
        opcode: int,
        payload: bytes = b"",
        *,
        fin: bool = True,
        rsv: int = 0,
        mask: bool = True,
    ) -> None:
        """Send one frame."""
        size = len(payload)
        length = size if size < 126 else 126 if size < 1 << 16 else 127
        frame = bytes([fin << 7 | rsv << 4 | opcode, mask << 7 | length])
        if length == 126:
            frame += struct.pack("!H", size)
        elif length == 127:
            frame += struct.pack("!Q", size)
        # A mask of zeros leaves the payload as it is.
        self._socket.sendall(frame + (b"\0" * 4 if mask else b"") + payload)

    def tell(self, **event: Any) -> None:
        """Send an event."""
        self.send(TEXT, json.dumps(event).encode())

    def receive(self) -> tuple[int, bytes]:
        """The next frame; the server sends whole ones.

        Raises:
            Gone: there is none.
        """
        first, second = self._exactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self._exactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._exactly(8))
        return first & 0x0F, self._exactly(size)

    def events(self) -> Iterator[Any]:
        """Every event until the connection is closed."""
        while True:
            opcode, payload = self.receive()
            if opcode == CLOSE:
                return
            if opcode == TEXT:
                yield json.loads(payload)

    def event(self, kind: str) -> Any:
        """The next event of this type."""
        return next(event for event in self.events() if event["type"] == kind)

    def close_code(self) -> int:
        """Read to the closing frame; its code.

        Raises:
            Gone: the connection ends without one.
        """
        while True:
            opcode, payload = self.receive()
            if opcode == CLOSE:
                return struct.unpack("!H", payload[:2])[0] if payload else 1005

    def _until(self, end: bytes) -> bytes:
        while end not in self._received:
            self._more()
        found, _, self._received = self._received.partition(end)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            self._more()
        found, self._received = self._received[:size], self._received[size:]
        return found

    def _more(self) -> None:
        try:
            piece = self._socket.recv(1 << 16)
        except ConnectionError as error:
            raise Gone from error
        if not piece:
            raise Gone
        self._received += piece
