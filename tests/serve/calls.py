"""Requests that the tests share, and ways to break them off."""

import io
import json
import socket
import threading
import time
import wave
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx2

from tests.serve.cluster import Cluster

T = TypeVar("T")

KEYS = {"message", "type", "param", "code", "request_id"}


def noise_wav(duration_s: float = 1.0, rate: int = 16_000) -> bytes:
    """Mono 16-bit audio that is not silent."""
    sink = io.BytesIO()
    with wave.open(sink, "wb") as writer:
        writer.setparams((1, 2, rate, 0, "NONE", "NONE"))
        writer.writeframes(b"\x10\x20\xf0\xdf" * int(rate * duration_s / 2))
    return sink.getvalue()


def upload(audio: bytes) -> dict[str, Any]:
    return {"file": ("utterance.wav", audio, "audio/wav")}


def error_of(response: httpx2.Response) -> dict[str, Any]:
    """The envelope of an error answer, checked for its shape."""
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == KEYS
    assert body["error"]["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text
    assert "ray" not in response.text.lower().split()
    return body["error"]


def say(cluster: Cluster, prefix: str = "", timeout_s: float = 60, **fields: str) -> Any:
    """A whole spoken turn, as JSON."""
    response = cluster.client.post(
        f"{prefix}/v1/dialogue", files=upload(noise_wav()), data=fields, timeout=timeout_s
    )
    assert response.status_code == 200, response.text
    return response.json()


def generate(cluster: Cluster, prefix: str = "", timeout_s: float = 30, **fields: Any) -> Any:
    """A written reply; the whole response."""
    body = {"prompt": "Say it."} | fields
    return cluster.client.post(f"{prefix}/v1/generate", json=body, timeout=timeout_s)


def lines(response: httpx2.Response) -> Iterator[tuple[str, Any]]:
    """Event and data of each NDJSON line."""
    for line in response.iter_lines():
        item = json.loads(line)
        yield item["event"], item["data"]


def events(response: httpx2.Response) -> Iterator[tuple[str, Any]]:
    """Event and data of each server-sent event."""
    name = ""
    for line in response.iter_lines():
        key, _, value = line.partition(": ")
        if key == "event":
            name = value
        elif key == "data":
            yield name, json.loads(value)


@contextmanager
def streamed_turn(cluster: Cluster, prefix: str = "", **config: Any) -> Iterator[httpx2.Response]:
    """A spoken turn, line by line; leaving the block drops the connection."""
    with cluster.client.stream(
        "POST",
        f"{prefix}/v1/dialogue",
        files=upload(noise_wav()),
        data={"stream_audio": "true", "generation_config": json.dumps(config)},
        timeout=60,
    ) as response:
        assert response.status_code == 200
        yield response


def raw_request(
    cluster: Cluster, target: str, headers: Mapping[str, str], body: bytes = b""
) -> socket.socket:
    """Send a POST byte by byte as given, and hand over the connection."""
    head = [f"POST {target} HTTP/1.1", f"Host: 127.0.0.1:{cluster.port}"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    if "Transfer-Encoding" not in headers:
        head.append(f"Content-Length: {len(body)}")
    connection = socket.create_connection(("127.0.0.1", cluster.port), timeout=20)
    connection.sendall("\r\n".join([*head, "", ""]).encode() + body)
    return connection


def json_request(
    cluster: Cluster, target: str, body: Any, headers: Mapping[str, str] | None = None
) -> socket.socket:
    json_headers = {"Content-Type": "application/json", **(headers or {})}
    return raw_request(cluster, target, json_headers, json.dumps(body).encode())


def form_request(cluster: Cluster, target: str, audio: bytes) -> socket.socket:
    """Upload a file over a bare connection."""
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    body = part + audio + b"\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    return raw_request(cluster, target, headers, body)


def read_head(connection: socket.socket) -> tuple[int, list[tuple[str, str]]]:
    """Status and headers of the answer."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(4096)
        assert piece, f"the connection ended: {received!r}"
        received += piece
    status, *fields = received.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    headers = [
        (name.lower(), value.strip()) for name, _, value in (f.partition(":") for f in fields)
    ]
    return int(status.split()[1]), headers


@dataclass
class Background(Generic[T]):
    """A call in a thread of its own, which is waited for, never left alone."""

    thread: threading.Thread
    results: list[T]
    errors: list[BaseException]

    def result(self, within_s: float) -> T:
        self.thread.join(within_s)
        assert not self.thread.is_alive(), f"no answer within {within_s:g} s"
        if self.errors:
            raise self.errors[0]
        return self.results[0]


def in_background(call: Callable[[], T]) -> Background[T]:
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return Background(thread, results, errors)


@contextmanager
def at_most(limit_s: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < limit_s
