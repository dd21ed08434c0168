"""The events of a turn as an HTTP answer: whole, or line by line."""

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from starlette.responses import JSONResponse, Response

from deployments.audio import Pcm
from deployments.messages import FinishReason, Transcript
from serve_app.audio_answer import json_answer
from serve_app.dialogue.events import (
    ClauseBegan,
    Heard,
    ReplyDelta,
    ReplyWritten,
    Spoken,
    TurnEvent,
    TurnFinished,
    TurnTimings,
    VoiceFailed,
)
from serve_app.dialogue.memory import Memory
from serve_app.media.encode import AudioEncoder
from serve_app.protocol.gemmavoice import DialogueOut, TimingsOut, TranscriptionOut, WarningOut
from serve_app.speech_output import SpeechOutput
from serve_app.sse import ndjson
from serve_app.streaming import Push

_NOTHING_TO_SAY = WarningOut(
    code="nothing_to_say", message="The reply holds nothing that can be spoken."
)
_NO_SPEECH = WarningOut(code="no_speech", message="Nobody spoke in the audio.")
_MEMORY_HEADER = "x-session-memory"
_NO_MEMORY = WarningOut(
    code="memory_unavailable",
    message="The session's memory does not answer: this turn may not know of the turns before it, "
    "and may not be remembered.",
)


@dataclass(slots=True)
class WholeTurn:
    """Collects a turn and answers once."""

    output: SpeechOutput
    memory: Memory
    transcript: Transcript | None = None
    reply: str = ""
    finish_reason: FinishReason | None = None
    timings: TurnTimings | None = None
    warning: WarningOut | None = None  # why there is no audio, or not all of it
    pieces: list[Pcm] = field(default_factory=list[Pcm])

    async def note(self, event: TurnEvent) -> None:
        """Take one event."""
        match event:
            case Heard(transcript=transcript):
                self.transcript = transcript
                self.warning = None if transcript.text else _NO_SPEECH
            case ReplyWritten(text=text, finish_reason=reason):
                self.reply, self.finish_reason = text, reason
            case Spoken(audio=audio):
                self.pieces.append(audio)
            case VoiceFailed(code=code, message=message):
                self.warning = WarningOut(code=code, message=message)
            case TurnFinished(timings=timings):
                self.timings = timings
                if timings.first_audio_s is None and self.warning is None:
                    self.warning = _NOTHING_TO_SAY
            case ReplyDelta() | ClauseBegan():
                pass

    def answer(self) -> Response:
        """The whole turn; call it after the last event."""
        headers = memory_headers(self.memory)
        if not self.pieces:
            return JSONResponse(self._body(None).model_dump(exclude_none=True), headers=headers)
        voice_rate = self.pieces[0].sample_rate
        body = self._body(self.output.sample_rate(voice_rate))
        slices = self.output.slices(self.pieces, voice_rate)
        return json_answer(body, "audio_base64", slices, headers)

    def _body(self, sample_rate: int | None) -> DialogueOut:
        """All but the audio."""
        assert self.transcript is not None and self.timings is not None  # noqa: PT018, S101
        warnings = [self.warning] if self.warning else []
        if self.memory.failed:
            warnings.append(_NO_MEMORY)
        return DialogueOut(
            transcript=TranscriptionOut.of(self.transcript),
            response_text=self.reply,
            audio_base64="",
            response_format=self.output.format,
            media_type=self.output.media_type,
            sample_rate=sample_rate,
            reference_id=self.output.reference_id,
            session_id=self.memory.session_id,
            finish_reason=self.finish_reason,
            timings=timings_out(self.timings),
            warning=warnings[0] if warnings else None,
            warnings=warnings or None,
        )


class StreamedTurn:
    """Writes each event as a line, audio as it is made.

    `metadata`, `transcript`, then `assistant_text_delta` and `audio_chunk` as they come, with the
    whole `assistant_text` once it is written, perhaps a `warning` or two, and `done` with the timings.
    """

    def __init__(
        self, output: SpeechOutput, voice_rate: int | None, memory: Memory, push: Push
    ) -> None:
        self._output, self._memory, self._push = output, memory, push
        self._warned = False
        self._encoder = None if voice_rate is None else output.encoder(voice_rate)

    async def begin(self) -> None:
        """Say what the audio will be; the rate is null while the voice does not answer."""
        metadata = {
            "response_format": self._output.format,
            "media_type": self._output.media_type,
            "sample_rate": self._encoder.sample_rate if self._encoder else None,
            "reference_id": self._output.reference_id,
        }
        if self._memory.session_id:
            metadata["session_id"] = self._memory.session_id
        await self._line("metadata", metadata)

    async def note(self, event: TurnEvent) -> None:
        """Write one event."""
        match event:
            case Heard(transcript=transcript):
                heard = TranscriptionOut.of(transcript).model_dump(exclude_none=True)
                await self._line("transcript", heard)
                if not transcript.text:
                    await self._warn(_NO_SPEECH)
            case ReplyDelta(text=text):
                await self._line("assistant_text_delta", {"text": text})
            case ClauseBegan():
                pass
            case ReplyWritten():
                written = {"text": event.text, "finish_reason": event.finish_reason}
                await self._line("assistant_text", written)
            case Spoken(audio=audio):
                self._encoder = self._encoder or self._output.encoder(audio.sample_rate)
                await self._audio(await self._output.encode(self._encoder, audio))
            case VoiceFailed(code=code, message=message):
                await self._warn(WarningOut(code=code, message=message))
            case TurnFinished(timings=timings):
                await self._finish(self._encoder, timings)

    async def _finish(self, encoder: AudioEncoder | None, timings: TurnTimings) -> None:
        if encoder is not None and timings.first_audio_s is not None:
            await self._audio(await self._output.end(encoder))
        if timings.first_audio_s is None and not self._warned:
            await self._warn(_NOTHING_TO_SAY)
        if self._memory.failed:
            await self._warn(_NO_MEMORY)
        await self._line("done", {"timings": timings_out(timings).model_dump(exclude_none=True)})

    async def _warn(self, warning: WarningOut) -> None:
        self._warned = True
        await self._line("warning", warning.model_dump())

    async def _audio(self, data: bytes) -> None:
        if data:
            await self._line("audio_chunk", {"audio_base64": base64.b64encode(data).decode()})

    async def _line(self, event: str, data: Mapping[str, object]) -> None:
        await self._push(ndjson(event, data))


def memory_headers(memory: Memory) -> dict[str, str]:
    """Whether the memory has failed so far."""
    return {_MEMORY_HEADER: "unavailable"} if memory.failed else {}


def timings_out(timings: TurnTimings) -> TimingsOut:
    """The wire form of a turn's timings."""
    phases = asdict(timings)
    del phases["start"]
    return TimingsOut(**phases)
