"""One context of a socket: its text, its voice, and one stream of audio."""

import base64
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from deployments.errors import SpeechError, TextTooLong
from deployments.messages import SpeechRequest
from serve_app.caller import Caller
from serve_app.counted_speech import counted_speech
from serve_app.elevenlabs.alignment import spread_evenly
from serve_app.elevenlabs.output import Output
from serve_app.elevenlabs.pending_text import PendingText
from serve_app.elevenlabs.speech import speech_with
from serve_app.problems import problem_of
from serve_app.protocol.elevenlabs import AlignmentOut, TextIn
from serve_app.services import Services, Voice
from serve_app.socket import Socket
from serve_app.socket_talk import Jobs

_MOST_CLAUSES = 4_096  # that wait; their characters are bounded, too


@dataclass(frozen=True, slots=True)
class Setting:
    """What all contexts of a socket have in common."""

    services: Services
    caller: Caller
    socket: Socket
    voice: Voice
    output: Output
    speech: SpeechRequest
    sync_alignment: bool


class Context:
    """Speaks clause by clause; `over` is called when all of it is spoken and told."""

    def __init__(self, setting: Setting, context_id: str | None, over: Callable[[], None]) -> None:
        self._setting, self._over = setting, over
        self._named = {} if context_id is None else {"contextId": context_id}
        self._speech = setting.speech
        self._text = PendingText()
        self._waiting_chars = 0
        self._encoder = setting.output.encoder(setting.voice.sample_rate)
        self._spoken_s = 0.0
        self.closing = False
        self.jobs = Jobs(self.fail, most=_MOST_CLAUSES)

    def take(self, message: TextIn) -> None:
        """Text, settings, or the wish to speak what there is.

        Raises:
            TextTooLong: more text waits than may.
        """
        text = message.text or ""
        limit = self._setting.services.settings.limits.max_prompt_chars
        waiting = self._waiting_chars + self._text.chars + len(text)
        if waiting > limit:
            raise TextTooLong("text", waiting, limit)
        self._speech = speech_with(self._speech, message.voice_settings)
        if message.generation_config and (
            schedule := message.generation_config.chunk_length_schedule
        ):
            self._text.schedule(schedule)
        self._speak(self._text.feed(text))
        if message.flush or message.try_trigger_generation:
            self._speak(self._text.flush())

    def close(self) -> None:
        """No more text comes: speak what there is."""
        if not self.closing:
            self.closing = True
            self._speak(self._text.flush())
            self.jobs.add(self._finish)

    def fail(self, error: SpeechError) -> None:
        """Tell what went wrong with it."""
        problem = problem_of(error)
        told = {"error": problem.message, "code": problem.code, **self._named}
        self._setting.socket.send(told)

    def _speak(self, clauses: list[str]) -> None:
        for clause in clauses:
            self._waiting_chars += len(clause)
            self.jobs.add(partial(self._say, replace(self._speech, text=clause)))

    async def _say(self, speech: SpeechRequest) -> None:
        self._waiting_chars -= len(speech.text)
        setting, before_s = self._setting, self._spoken_s
        pieces = counted_speech(setting.services, setting.caller, speech)
        async with aclosing(pieces):
            async for piece in pieces:
                self._spoken_s += piece.duration_s
                self._send(await self._encoder.encode(piece.samples))
                await setting.socket.room()
        start_s = before_s if setting.sync_alignment else 0.0
        self._send(b"", spread_evenly(speech.text, start_s, self._spoken_s - before_s))

    async def _finish(self) -> None:
        self._send(self._encoder.flush())
        self._setting.socket.send({"audio": None, "isFinal": True, **self._named})
        self._over()

    def _send(self, data: bytes, alignment: AlignmentOut | None = None) -> None:
        if not data and alignment is None:
            return
        times = None if alignment is None else alignment.model_dump()
        self._setting.socket.send(
            {
                "audio": base64.b64encode(data).decode(),
                "isFinal": None,
                "alignment": times,
                "normalizedAlignment": times,
                **self._named,
            }
        )
