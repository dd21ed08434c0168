"""Holds a conversation over a WebSocket, at the pace of speech."""

import base64
import json
import time

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from loadtests.conversation import Conversation, Step
from loadtests.speech import FRAME_S, RATE

_PCM = {"type": "audio/pcm", "rate": RATE}
_SESSION = {
    "type": "realtime",
    "audio": {
        "input": {"format": _PCM, "transcription": {"model": "whisper-1"}},
        "output": {"format": _PCM},
    },
}
_OPENING_S = 10.0
_LARGEST = 16 * 2**20  # bytes of a message


def hold(base_url: str, headers: dict[str, str], conversation: Conversation, due_at: float) -> None:
    """Speak until the conversation is over; its visit says how that went.

    `due_at`: `perf_counter` of the arrival.
    """
    visit = conversation.visit
    url = f"{base_url.replace('http', 'ws', 1).rstrip('/')}/v1/realtime?model=gpt-realtime"
    try:
        with connect(
            url,
            additional_headers=headers,
            proxy=None,
            compression=None,
            open_timeout=_OPENING_S,
            max_size=_LARGEST,
        ) as socket:
            visit.note("connected", time.perf_counter() - due_at)
            socket.send(json.dumps({"type": "session.update", "session": _SESSION}))
            _talk(socket, conversation)
    except InvalidStatus as refusal:
        status, answer = refusal.response.status_code, refusal.response.headers
        after_s = time.perf_counter() - due_at
        visit.turn_away(status, retry_after=answer.get("Retry-After"), after_s=after_s)
    except ConnectionClosed as closed:
        visit.fail(f"closed {closed.rcvd.code if closed.rcvd else 'without a word'}")
    except (InvalidHandshake, OSError):
        visit.fail("no connection")


def _talk(socket: ClientConnection, conversation: Conversation) -> None:
    start, sent = time.perf_counter(), 0
    while conversation.step is not Step.OVER:
        sent += 1
        due_at = start + sent * FRAME_S
        _take_until(socket, conversation, due_at)
        now = time.perf_counter()
        conversation.visit.late_s = max(conversation.visit.late_s, now - due_at)
        frame = base64.b64encode(conversation.microphone(now)).decode()
        socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": frame}))


def _take_until(socket: ClientConnection, conversation: Conversation, due_at: float) -> None:
    """Take what has come, and what comes until the next frame is due."""
    while True:
        try:
            message = socket.recv(timeout=max(0.0, due_at - time.perf_counter()))
        except TimeoutError:
            return
        conversation.take(json.loads(message), time.perf_counter())
