"""What happens in a conversation -> GemmaVoice's messages."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict

from deployments.errors import SpeechError
from serve_app.gemmavoice_live.manners import conversation_error
from serve_app.gemmavoice_live.reply_audio import ReplyPieces
from serve_app.gemmavoice_live.terms import Terms
from serve_app.live.events import (
    LiveEvent,
    LiveTimings,
    PartialTranscript,
    ReplyAudio,
    ReplyEnded,
    ReplyStarted,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    Transcribed,
    TranscriptionFailed,
    Trouble,
)
from serve_app.problems import problem_of

_FINISHED = {"incomplete": "length", "cancelled": "interrupted"}
FORGETS = {
    "type": "warning",
    "code": "memory_unavailable",
    "message": "The session's memory does not answer: what is said may not be remembered.",
}
TRANSCRIBING = {"type": "processing", "message": "Transcribing..."}


class Told:
    """Writes each event; `text` is the whole reply, once, as GemmaVoice's clients expect it."""

    def __init__(self, send: Callable[[Mapping[str, object]], None], terms: Terms) -> None:
        self._send, self._terms = send, terms
        self._pieces = ReplyPieces(terms.output)
        self._text_told = False
        self._shown = ""
        self._turn_at: float | None = None
        self._transcript_s: float | None = None
        self._waited_s = 0.0

    @property
    def spoken_s(self) -> float:
        """Seconds of audio in the last reply."""
        return self._pieces.spoken_s

    def begin_turn(self) -> None:
        """The user has finished, as the client says; timings count from here."""
        self._turn_at, self._transcript_s = time.perf_counter(), None

    def note(self, event: LiveEvent) -> None:
        """Write one event."""
        match event:
            case SpeechStarted():
                self._shown = ""
                self._send({"type": "speech_started"})
            case SpeechStopped():
                self._send({"type": "speech_stopped"})
                self._send(TRANSCRIBING)
            case PartialTranscript(delta=delta, tail=tail) if self._terms.listens:
                self._shown += delta
                said = f"{self._shown} {tail}".strip()
                self._send({"type": "partial_transcript", "role": "user", "content": said})
            case Transcribed(transcript=transcript):
                self._shown = ""
                self._transcript_s = self._since_turn()
                said = {"role": "user", "content": transcript.text}
                self._send({"type": "transcript", **said, "language": transcript.language})
            case TranscriptionFailed(error=error) | Trouble(error=error):
                self.fail(error)
            case _:
                self._note_reply(event)

    def ready(self, message: str, **more: object) -> None:
        """Say that the user has the floor."""
        self._send({"type": "ready", "message": message, **more})

    def fail(self, error: SpeechError) -> None:
        """Say what went wrong."""
        self._send(conversation_error(problem_of(error)))

    def _note_reply(self, event: LiveEvent) -> None:
        match event:
            case ReplyStarted():
                self._pieces, self._text_told = ReplyPieces(self._terms.output), False
                self._waited_s = self._since_turn() or 0.0
            case ReplyText(delta=delta):
                self._send({"type": "text_delta", "role": "assistant", "content": delta})
            case ReplyAudio(message=message, audio=audio):
                if message.written:
                    self._tell_text(message.said)
                if (piece := self._pieces.add(audio)) is not None:
                    self._send(piece)
            case ReplyEnded():
                self._end(event)
            case _:
                pass

    def _tell_text(self, text: str) -> None:
        if not self._text_told and text.strip():
            self._text_told = True
            self._send({"type": "text", "role": "assistant", "content": text.strip()})

    def _end(self, event: ReplyEnded) -> None:
        self._tell_text(event.said)
        if event.status == "cancelled":
            heard = event.message.text if event.message else ""
            self._send({"type": "interrupted", "heard": heard})
        elif (piece := self._pieces.rest()) is not None:
            self._send(piece)
        if event.error is not None and event.status == "failed":
            self.fail(event.error)
            return
        if event.error is not None:
            problem = problem_of(event.error)
            self._send({"type": "warning", "code": problem.code, "message": problem.message})
        timings = self._timings(event.timings) if event.timings else {}
        finish = _FINISHED.get(event.status, "stop")
        self.ready("Ready for next turn", timings=timings, finish_reason=finish)

    def _since_turn(self) -> float | None:
        return None if self._turn_at is None else round(time.perf_counter() - self._turn_at, 4)

    def _timings(self, timings: LiveTimings) -> dict[str, float]:
        """Seconds since the user had finished."""
        phases = {
            name: round(seconds + self._waited_s, 4)
            for name, seconds in asdict(timings).items()
            if seconds is not None
        }
        if self._transcript_s is not None:
            phases["transcript_s"] = self._transcript_s
        self._turn_at = self._transcript_s = None
        return phases
