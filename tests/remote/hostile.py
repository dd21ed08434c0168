"""Servers of bare sockets that do what no server should."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Answer = Callable[[socket.socket], None]


class Hostile:
    """An address, what came in, and when a connection was closed by the other side."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.requests: list[bytes] = []
        self.left = threading.Event()


@contextmanager
def hostile(*answers: Answer) -> Iterator[Hostile]:
    """Give each connection the next answer, the last one again and again."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Hostile(listener.getsockname()[1])

    def serve() -> None:
        number = 0
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            answer = answers[min(number, len(answers) - 1)]
            number += 1
            threading.Thread(target=converse, args=(connection, answer), daemon=True).start()

    def converse(connection: socket.socket, answer: Answer) -> None:
        with connection:
            connection.settimeout(20)
            try:
                server.requests.append(_request(connection))
                answer(connection)
            except OSError:
                server.left.set()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        listener.close()


def _request(connection: socket.socket) -> bytes:
    """One whole request."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            while len(body) < int(value):
                body += _some(connection)
    return head + b"\r\n\r\n" + body


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    if not data:
        raise ConnectionResetError
    return data


def says(status: str, media_type: str, body: bytes, *headers: str) -> Answer:
    """One answer that is whole."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {media_type}", f"Content-Length: {len(body)}"]
    head = "\r\n".join([*lines, *headers, "Connection: close", "", ""]).encode()
    return lambda connection: connection.sendall(head + body)


def streams(*pieces: bytes, media_type: str = "audio/wav", then: Answer | None = None) -> Answer:
    """Chunks, and then something else than their end."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nTransfer-Encoding: chunked\r\n\r\n"

    def answer(connection: socket.socket) -> None:
        connection.sendall(head.encode())
        for piece in pieces:
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        (then or cuts)(connection)

    return answer


def cuts(connection: socket.socket) -> None:
    """The connection ends."""


def is_silent(connection: socket.socket) -> None:
    """Nothing comes; it waits until the other side goes away."""
    if not connection.recv(1):
        raise ConnectionResetError


def ends(connection: socket.socket) -> None:
    """The chunks end as they should."""
    connection.sendall(b"0\r\n\r\n")


def never_ends(connection: socket.socket) -> None:
    """More and more audio."""
    while True:
        connection.sendall(b"10000\r\n" + b"\x11" * 0x10000 + b"\r\n")


def drips(connection: socket.socket) -> None:
    """A byte, and another."""
    while True:
        connection.sendall(b"1\r\n\x11\r\n")
        time.sleep(0.05)
