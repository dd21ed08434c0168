"""`/v1/speech-to-text/stream`: audio in, the words so far while it comes, all of them at its end."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial

from deployments.errors import SpeechError
from serve_app.caller import Caller
from serve_app.gemmavoice_live.inbox import Inbox, Recording, pcm_rate
from serve_app.gemmavoice_live.manners import read_object, speech_manners
from serve_app.gemmavoice_live.transcribing import Ears, transcript_fields
from serve_app.hearing.agreement import StableWords
from serve_app.problems import problem_of
from serve_app.protocol.gemmavoice_sockets import (
    STREAM,
    ClearMessage,
    StopMessage,
    StreamConfigMessage,
)
from serve_app.services import Services
from serve_app.socket import Socket
from serve_app.socket_messages import read_form
from serve_app.socket_talk import Jobs

MANNERS = speech_manners("speech_to_text_stream")

_INTERVAL_S = 3.0  # GemmaVoice's clients know no faster server
_FIRST_S = 1.0


class Streaming:
    """Hears one recording while it grows."""

    def __init__(self, ears: Ears, socket: Socket, jobs: Jobs, group: asyncio.TaskGroup) -> None:
        self._ears, self._socket, self._jobs, self._group = ears, socket, jobs, group
        self._live = ears.services.settings.live
        self._inbox = Inbox(ears.services.settings.audio.max_upload_bytes)
        self._how, self._rate = StreamConfigMessage(), pcm_rate(None, None)
        self._showing: asyncio.Task[None] | None = None
        self._grown, self._empty = asyncio.Event(), asyncio.Event()
        self._empty.set()
        self._charged_s = 0.0
        socket.send({"event": "ready", "message": "Send audio chunks to begin transcription"})

    def take(self, message: str | bytes) -> None:
        """A piece of audio, or what to do with all of it."""
        if isinstance(message, bytes):
            self._grow(message)
            return
        match read_form(STREAM, read_object(message)):
            case StreamConfigMessage() as how:
                self._configure(how)
            case ClearMessage():
                self._begin_anew()
                self._inbox.clear()
                self._empty.set()
                self._charged_s = 0.0
                self._socket.send({"event": "cleared"})
            case StopMessage():
                self._begin_anew()
                recording = self._inbox.take(self._rate)
                self._empty.set()
                self._jobs.add(partial(self._finish, recording, self._how))

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being worked on."""
        return self._jobs.is_idle

    async def settled(self) -> None:
        """Return when the recording is heard to its end."""
        await self._empty.wait()
        await self._jobs.settled()

    def end(self) -> None:
        """Show no more."""
        self._begin_anew()

    def _configure(self, how: StreamConfigMessage) -> None:
        self._rate = pcm_rate(how.format, how.sample_rate)
        self._how = how
        self._begin_anew()
        config = how.model_dump(exclude={"event"}, exclude_none=True)
        shown = {"language": how.language, "temperature": how.temperature} | config
        self._socket.send({"event": "configured", "config": shown})

    def _grow(self, piece: bytes) -> None:
        self._inbox.add(piece)
        self._grown.set()
        self._empty.clear()
        if self._showing is None and self._how.interim_results:
            self._showing = self._group.create_task(self._show(), name="interim")

    def _begin_anew(self) -> None:
        """Nothing of what is shown now counts any more."""
        if self._showing is not None:
            self._showing.cancel()
            self._showing = None

    async def _show(self) -> None:
        """Tell the words so far; this takes a bounded share of one worker's time."""
        words, shown = StableWords(), ""
        interval_s = max(self._how.interim_interval_s or _INTERVAL_S, self._live.partial_interval_s)
        pause_s = min(interval_s, max(_FIRST_S, self._live.partial_interval_s))
        while True:
            await self._grown.wait()
            await asyncio.sleep(pause_s)
            self._grown.clear()
            started = time.perf_counter()
            with suppress(SpeechError):  # the end will tell
                audio = await self._ears.decode(self._inbox.look(self._rate))
                await self._charge(audio.duration_s)
                transcript = await self._ears.hear(audio, self._how, words=False)
                shown = f"{shown} {words.update(transcript.text.split())}".strip()
                if text := f"{shown} {words.tail}".strip():
                    said = {"text": text, "language": transcript.language, "is_final": False}
                    self._socket.send({"event": "interim", "data": said})
            took_s = time.perf_counter() - started
            pause_s = max(interval_s, took_s / self._live.partial_share - took_s)

    async def _finish(self, recording: Recording, how: StreamConfigMessage) -> None:
        said: dict[str, object] = {"text": "", "language": None, "segments": []}
        try:
            if recording.size:
                said = await self._heard(recording, how)
        finally:
            self._inbox.done(recording)
            self._charged_s = 0.0
        self._socket.send({"event": "final", "data": {**said, "is_final": True}})
        self._socket.close()

    async def _heard(self, recording: Recording, how: StreamConfigMessage) -> dict[str, object]:
        audio = await self._ears.decode(recording)
        await self._charge(audio.duration_s)
        explicit = "response_format" in how.model_fields_set
        words = explicit and how.response_format == "verbose_json"
        return transcript_fields(
            await self._ears.hear(audio, how, words=words), how.response_format
        )

    async def _charge(self, duration_s: float) -> None:
        if (more_s := duration_s - self._charged_s) > 0:
            await self._ears.caller.spend_audio(more_s)
            self._charged_s = duration_s


@asynccontextmanager
async def streaming(
    services: Services, caller: Caller, socket: Socket
) -> AsyncGenerator[Streaming, None]:
    """Hear while the socket is open."""

    def failed(error: Exception) -> None:
        socket.send(MANNERS.error(problem_of(error)))

    async with asyncio.TaskGroup() as group, Jobs(failed) as jobs:
        talk = Streaming(Ears(services, caller), socket, jobs, group)
        yield talk
        talk.end()
