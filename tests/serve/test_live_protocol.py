"""The realtime socket against clients that break the protocol, flood, or fall silent."""

import base64
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.serve.cluster import Cluster, eventually
from tests.serve.raw_websocket import (
    BINARY,
    CLOSE,
    CONTINUED,
    PING,
    PONG,
    RESERVED,
    TEXT,
    RawWebSocket,
)

pytestmark = pytest.mark.serve

REPLY = "The capital of France is Paris. It lies on the river Seine."
UPDATE = json.dumps(
    {"type": "session.update", "session": {"type": "realtime", "instructions": "Be brief. é"}},
    ensure_ascii=False,
).encode()
LARGEST = 16 * 1024 * 1024
NOTICED_S = 45 + 5  # Ray's own delay in telling
_ALIKE = 3


class Bystander:
    """A client that does all right; it must not notice the others."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    def ask(self, within_s: float = 10) -> float:
        """Have a written question answered; the seconds that it took."""
        content = [{"type": "input_text", "text": "What is the capital of France?"}]
        item = {"type": "message", "role": "user", "content": content}
        self._send({"type": "conversation.item.create", "item": item})
        self._send({"type": "response.create", "response": {"output_modalities": ["text"]}})
        start, said = time.perf_counter(), ""
        while True:
            event = json.loads(self._socket.recv(within_s))
            assert event["type"] != "error", event
            if event["type"] == "response.output_text.delta":
                said += event["delta"]
            elif event["type"] == "response.done":
                assert said.strip() == REPLY
                assert event["response"]["status"] == "completed"
                return time.perf_counter() - start

    def _send(self, event: object) -> None:
        self._socket.send(json.dumps(event))


@pytest.fixture(scope="module")
def session(cluster: Cluster) -> Iterator[Bystander]:
    """One session that stays open through all of these tests."""
    url = f"ws://127.0.0.1:{cluster.port}/v1/realtime?model=gpt-realtime"
    with connect(url, proxy=None) as socket:
        yield Bystander(socket)


@pytest.fixture
def bystander(session: Bystander) -> Iterator[Bystander]:
    """The other client; it is served as ever when the test is over."""
    session.ask()
    yield session
    session.ask()


@pytest.fixture
def raw(cluster: Cluster, bystander: Bystander) -> Iterator[RawWebSocket]:
    with RawWebSocket(cluster) as socket:
        socket.event("session.created")
        yield socket


def ended(cluster: Cluster) -> float:
    """How many sessions have ended; Ray tells it a moment later."""
    return cluster.metrics().total("app_live_sessions_total", application="speech")


def ended_so_far(cluster: Cluster) -> float:
    """The same, once nothing is left to be told."""
    readings = [-1.0]
    while len(readings) < _ALIKE or len(set(readings[-_ALIKE:])) > 1:
        readings.append(ended(cluster))
        time.sleep(1)
    return readings[-1]


# ---- what is allowed ----


def test_a_message_may_come_in_many_frames_with_pings_between(raw: RawWebSocket) -> None:
    pieces = [UPDATE[i : i + 7] for i in range(0, len(UPDATE), 7)]
    for number, piece in enumerate(pieces):
        raw.send(CONTINUED if number else TEXT, piece, fin=number == len(pieces) - 1)
        raw.send(PING, bytes([number]))
    pongs: list[bytes] = []
    while True:
        opcode, payload = raw.receive()
        if opcode == PONG:
            pongs.append(payload)
        elif opcode == TEXT:
            event = json.loads(payload)
            break
    assert event["type"] == "session.updated"
    assert event["session"]["instructions"] == "Be brief. é"
    while len(pongs) < len(pieces):
        opcode, payload = raw.receive()
        if opcode == PONG:
            pongs.append(payload)
    assert pongs == [bytes([number]) for number in range(len(pieces))]


def test_an_empty_frame_amid_a_message_is_none(raw: RawWebSocket) -> None:
    raw.send(TEXT, UPDATE[:10], fin=False)
    raw.send(CONTINUED, b"", fin=False)
    raw.send(CONTINUED, UPDATE[10:])
    assert raw.event("session.updated")


def test_the_session_ends_where_the_client_closes(raw: RawWebSocket) -> None:
    raw.send(CLOSE, struct.pack("!H", 1000) + b"bye")
    assert raw.close_code() == 1000


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"{",
        b'{"type": "session.update"',
        b"[]",
        b"7",
        b'"session.update"',
        b"{}",
        b'{"type": 7}',
        b'{"type": "no.such.event"}',
        b'{"type": "session.update", "session": []}',
        b'{"type": "input_audio_buffer.append", "audio": 7}',
        b'{"type": "input_audio_buffer.append", "audio": "\\u0000"}',
        b'{"type": "conversation.item.create", "item": {"type": "\xc3\xa9"}}',
        b'{"type": "response.create", "response": {"max_output_tokens": NaN}}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda message: message[:40].decode(),
)
def test_what_is_no_event_is_told_and_the_session_goes_on(
    raw: RawWebSocket, message: bytes
) -> None:
    raw.send(TEXT, message)
    error = raw.event("error")["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    raw.send(TEXT, UPDATE)
    assert raw.event("session.updated")


def test_bytes_are_no_event_and_the_session_goes_on(raw: RawWebSocket) -> None:
    raw.send(BINARY, b"\0" * 960)
    assert raw.event("error")["error"]["type"] == "invalid_request_error"
    raw.send(TEXT, UPDATE)
    assert raw.event("session.updated")


# ---- what is not ----


def test_a_message_of_more_than_16_mib_is_too_big(raw: RawWebSocket) -> None:
    with suppress(ConnectionError):  # the server may close before it has read all of it
        raw.send(TEXT, b" " * (LARGEST + 1))
    assert raw.close_code() == 1009


def test_a_message_of_many_frames_is_too_big_when_all_of_it_is(raw: RawWebSocket) -> None:
    with suppress(ConnectionError):
        raw.send(TEXT, b" " * (LARGEST // 2), fin=False)
        raw.send(CONTINUED, b" " * (LARGEST // 2), fin=False)
        raw.send(CONTINUED, b" ")
    assert raw.close_code() == 1009


@pytest.mark.parametrize("text", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
def test_text_that_is_not_utf_8_ends_the_session(raw: RawWebSocket, text: bytes) -> None:
    raw.send(TEXT, b'{"type": "' + text + b'"}')
    assert raw.close_code() == 1007


def test_a_character_may_be_cut_by_a_frame_but_not_by_the_end(raw: RawWebSocket) -> None:
    cut = UPDATE.index("é".encode()) + 1
    raw.send(TEXT, UPDATE[:cut], fin=False)
    raw.send(CONTINUED, UPDATE[cut:])
    assert raw.event("session.updated")
    raw.send(TEXT, b'"\xc3', fin=False)
    raw.send(CONTINUED, b"")
    assert raw.close_code() == 1007


@pytest.mark.parametrize(
    ("opcode", "payload", "bits"),
    [
        (RESERVED, b"", {}),
        (0x7, b"x", {}),
        (0xB, b"", {}),
        (0xF, b"", {}),
        (TEXT, b"{}", {"rsv": 0b010}),
        (TEXT, b"{}", {"rsv": 0b001}),
        (TEXT, b"{}", {"mask": False}),
        (CONTINUED, b"{}", {}),
        (PING, b"x", {"fin": False}),
        (PING, b"x" * 126, {}),
        (CLOSE, b"x", {}),
        (CLOSE, struct.pack("!H", 1005), {}),
        (CLOSE, struct.pack("!H", 999), {}),
    ],
)
def test_a_frame_that_the_protocol_forbids_ends_the_session(
    raw: RawWebSocket, opcode: int, payload: bytes, bits: dict[str, int]
) -> None:
    raw.send(opcode, payload, **bits)
    assert raw.close_code() == 1002


def test_a_message_amid_another_ends_the_session(raw: RawWebSocket) -> None:
    raw.send(TEXT, b"{", fin=False)
    raw.send(TEXT, b"}")
    assert raw.close_code() == 1002


# ---- too much, and nothing at all ----


def test_a_flood_of_audio_waits_and_nobody_else_does(
    cluster: Cluster, raw: RawWebSocket, bystander: Bystander
) -> None:
    audio = base64.b64encode(b"\0" * 960).decode()
    stop = threading.Event()

    def flood() -> None:
        with suppress(OSError):
            while not stop.is_set():
                raw.tell(type="input_audio_buffer.append", audio=audio)

    quiet_s = bystander.ask()
    threading.Thread(target=flood, daemon=True).start()
    time.sleep(1)
    try:
        busy_s = max(bystander.ask() for _ in range(5))
    finally:
        stop.set()
    assert busy_s < max(1.0, 4 * quiet_s)


def test_a_flood_of_nonsense_that_takes_no_answers_is_ended(
    cluster: Cluster, bystander: Bystander
) -> None:
    before = ended_so_far(cluster)
    nonsense = json.dumps({"type": "no.such.event", "event_id": "x" * 400}).encode()
    with RawWebSocket(cluster) as raw:
        raw.event("session.created")

        def flood() -> None:
            with suppress(OSError):
                while True:
                    raw.send(TEXT, nonsense)

        threading.Thread(target=flood, daemon=True).start()
        eventually(lambda: ended(cluster) > before, NOTICED_S, "its session is over", every_s=1)
        assert bystander.ask() < 5


def test_a_client_that_stands_still_is_noticed(cluster: Cluster, bystander: Bystander) -> None:
    program = (
        "import sys, websockets.sync.client as client\n"
        "with client.connect(sys.argv[1], proxy=None) as socket:\n"
        "    print(len(socket.recv()), flush=True)\n"
        "    for message in socket: pass\n"
    )
    url = f"ws://127.0.0.1:{cluster.port}/v1/realtime?model=gpt-realtime"
    before = ended_so_far(cluster)
    with subprocess.Popen(
        [sys.executable, "-c", program, url], stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        try:
            assert int(client.stdout.readline()) > 0
            os.kill(client.pid, signal.SIGSTOP)
            eventually(lambda: ended(cluster) > before, NOTICED_S, "it is noticed", every_s=1)
        finally:
            client.kill()


def test_a_client_that_is_gone_is_noticed_at_once(cluster: Cluster, bystander: Bystander) -> None:
    before = ended_so_far(cluster)
    with RawWebSocket(cluster) as raw:
        raw.event("session.created")
    eventually(lambda: ended(cluster) > before, 30, "it is noticed")
