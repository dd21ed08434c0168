"""Callers who go on calling while something breaks, and what became of every call."""

import json
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import httpx2
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from tests.serve.calls import noise_wav, upload

# whole: answered to the end. refused, ended: by an error of the one form, before or after its first
# byte; a turn that goes on as text says so, and is ended too. cut: without a word. hung: nothing came
# for too long.
Result = Literal["whole", "refused", "ended", "cut", "hung"]

PATIENCE_S = 60.0
RESTART = 1012
_WAV = noise_wav(0.5)
_CODES_OF_OURS = {"stage_unavailable", "stage_overloaded", "stage_timeout"}

SHORT_CALLS: dict[str, dict[str, Any]] = {
    "/v1/speech-to-text": {"files": upload(_WAV)},
    "/v1/generate": {"json": {"prompt": "Say it."}},
    "/v1/text-to-speech": {"json": {"text": "Hello there."}},
    "/v1/dialogue": {"files": upload(_WAV)},
}
_CONTENT = [{"type": "input_text", "text": "Is the sea calm?"}]
_SAID = {
    "type": "conversation.item.create",
    "item": {"type": "message", "role": "user", "content": _CONTENT},
}
_TEXT_ONLY = {"type": "response.create", "response": {"output_modalities": ["text"]}}
STREAMS: dict[str, dict[str, Any]] = {
    "/v1/generate_stream": {"json": {"prompt": "Say it."}},
    "/v1/dialogue": {"files": upload(_WAV), "data": {"stream_audio": "true"}},
}


@dataclass(frozen=True, slots=True)
class Call:
    """One call, and how it ended."""

    kind: str
    result: Result
    started_at: float
    took_s: float
    why: str = ""


@dataclass
class Talks:
    """What became of live sessions."""

    turns: int = 0
    told: list[str] = field(default_factory=list[str])  # closed with 1012, and why
    cut: list[str] = field(default_factory=list[str])
    resumed: int = 0
    forgotten: list[str] = field(default_factory=list[str])


@dataclass
class Load:
    """All calls so far; safe to read while it runs."""

    calls: list[Call] = field(default_factory=list[Call])
    talks: Talks = field(default_factory=Talks)
    stop: threading.Event = field(default_factory=threading.Event)

    def short(self) -> list[Call]:
        """The calls that are answered in one piece."""
        return [each for each in self.calls if each.kind.startswith("short")]

    def streams(self) -> list[Call]:
        """The calls that are answered piece by piece."""
        return [each for each in self.calls if each.kind.startswith("stream")]


def failures(calls: list[Call]) -> list[Call]:
    """Those that were not answered to their end."""
    return [each for each in calls if each.result != "whole"]


@contextmanager
def calling(
    base_url: str,
    callers: int,
    streamers: int = 0,
    talkers: int = 0,
    writers: int = 0,
    pause_s: float = 0.1,
) -> Generator[Load]:
    """Let callers call until the block ends, and wait for what is under way.

    Callers want one answer, streamers one piece by piece; writers do so of the language model alone;
    talkers hold live sessions.
    """
    load = Load()
    jobs = [
        *(partial(_call_on, base_url, load, n, pause_s, _short) for n in range(callers)),
        *(partial(_call_on, base_url, load, n, pause_s, _stream) for n in range(streamers)),
        *(partial(_call_on, base_url, load, 0, pause_s, _written) for _ in range(writers)),
        *(partial(_talk_on, base_url, load) for _ in range(talkers)),
    ]
    threads = [threading.Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop.set()
        for thread in threads:
            thread.join(PATIENCE_S + 10)
        assert not any(thread.is_alive() for thread in threads), "a caller hangs"


_Ask = Callable[[httpx2.Client, int], tuple[str, Result, str]]


def _call_on(base_url: str, load: Load, number: int, pause_s: float, ask: _Ask) -> None:
    with httpx2.Client(base_url=base_url, timeout=PATIENCE_S, trust_env=False) as client:
        turn = number
        while not load.stop.is_set():
            start = time.monotonic()
            kind, result, why = ask(client, turn)
            load.calls.append(Call(kind, result, start, time.monotonic() - start, why))
            turn += 1
            load.stop.wait(pause_s)


def _short(client: httpx2.Client, turn: int) -> tuple[str, Result, str]:
    path = list(SHORT_CALLS)[turn % len(SHORT_CALLS)]
    kind = f"short {path}"
    try:
        response = client.post(path, **SHORT_CALLS[path])
    except httpx2.TimeoutException as error:
        return kind, "hung", repr(error)
    except httpx2.HTTPError as error:
        return kind, "cut", repr(error)
    if response.status_code == 200:
        warning = response.json().get("warning") if "json" in _type(response) else None
        return kind, "ended" if warning else "whole", str(warning or "")
    return kind, _refusal(response), f"{response.status_code} {response.text[:200]}"


def _written(client: httpx2.Client, _: int) -> tuple[str, Result, str]:
    return _stream(client, 0)


def _refusal(response: httpx2.Response) -> Result:
    try:
        return "refused" if response.json()["error"]["code"] in _CODES_OF_OURS else "cut"
    except (json.JSONDecodeError, KeyError, TypeError):
        return "cut"


def _type(response: httpx2.Response) -> str:
    return response.headers.get("content-type", "")


def _stream(client: httpx2.Client, turn: int) -> tuple[str, Result, str]:
    path = list(STREAMS)[turn % len(STREAMS)]
    kind = f"stream {path}"
    names: list[str] = []
    try:
        with client.stream("POST", path, **STREAMS[path]) as response:
            if response.status_code != 200:
                response.read()
                return kind, _refusal(response), f"{response.status_code} {response.text[:200]}"
            for line in response.iter_lines():
                if line.startswith("event: "):
                    names.append(line.removeprefix("event: "))
                elif line.startswith("{"):
                    names.append(json.loads(line)["event"])
    except httpx2.TimeoutException as error:
        return kind, "hung", repr(error)
    except (httpx2.HTTPError, json.JSONDecodeError) as error:
        return kind, "cut", f"{error!r} after {names[-1:]}"
    last = names[-1] if names else ""
    ends: dict[str, Result] = {"done": "whole", "error": "ended"}
    result = ends.get(last, "cut")
    if result == "whole" and "warning" in names:
        result = "ended"  # a turn that went on as text says so
    return kind, result, last


@dataclass
class _Person:
    """One who talks, comes again when the socket is closed, and expects to be known."""

    client: httpx2.Client
    load: Load
    session: str = ""
    turns: int = 0

    def visit(self, address: str) -> None:
        """One socket, until it is closed or nobody calls any more."""
        query = f"?session_id={self.session}" if self.session else ""
        with connect(address + query, proxy=None, open_timeout=PATIENCE_S) as socket:
            created = _until(socket, "session.created")
            if self.session:
                self.load.talks.resumed += 1
                self._check_memory()
            self.session = created["session"]["id"]
            while not self.load.stop.is_set():
                for event in (_SAID, _TEXT_ONLY):
                    socket.send(json.dumps(event))
                _until(socket, "response.done")
                self.turns += 1
                self.load.talks.turns += 1
                with suppress(TimeoutError):  # one that is told to go is closed now
                    socket.recv(0.5)

    def _check_memory(self) -> None:
        talks, expected = self.load.talks, min(2 * self.turns, 4)
        try:
            answer = self.client.get(f"/v1/sessions/{self.session}").raise_for_status()
            kept = len(answer.json()["messages"])
        except httpx2.HTTPError as error:
            talks.forgotten.append(repr(error))
            return
        if kept < expected:
            talks.forgotten.append(f"{kept} messages after {self.turns} turns")


def _talk_on(base_url: str, load: Load) -> None:
    address = base_url.replace("http", "ws", 1) + "/v1/realtime"
    with httpx2.Client(base_url=base_url, timeout=PATIENCE_S, trust_env=False) as client:
        person = _Person(client, load)
        while not load.stop.is_set():
            try:
                person.visit(address)
            except ConnectionClosed as closed:
                if closed.rcvd is not None and closed.rcvd.code == RESTART:
                    load.talks.told.append(closed.rcvd.reason)
                else:
                    load.talks.cut.append(repr(closed))
            except (InvalidStatus, OSError, TimeoutError, WebSocketException) as error:
                load.talks.cut.append(repr(error))
                load.stop.wait(0.5)


def _until(socket: ClientConnection, kind: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        event = json.loads(socket.recv(deadline - time.monotonic()))
        if event["type"] == kind:
            return event
