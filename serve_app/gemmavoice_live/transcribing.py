"""A recording and a wish how to hear it -> a transcript as GemmaVoice's JSON."""

from dataclasses import dataclass

from deployments.audio import Pcm
from deployments.languages import language_code
from deployments.messages import Transcript, TranscriptionRequest
from serve_app.caller import Caller
from serve_app.gemmavoice_live.inbox import Recording, decoded
from serve_app.protocol.gemmavoice import TranscriptionOut
from serve_app.protocol.gemmavoice_sockets import HearingFields, TranscriptForm
from serve_app.services import Services
from serve_app.subtitles import to_srt, to_vtt


@dataclass(frozen=True, slots=True)
class Ears:
    """Hears recordings for one caller."""

    services: Services
    caller: Caller

    async def decode(self, recording: Recording) -> Pcm:
        """The samples of a recording. Raises `InvalidRequest`."""
        limit_s = self.services.settings.audio.max_duration_s
        return await decoded(self.services.decoder, recording, limit_s)

    async def hear(self, audio: Pcm, how: HearingFields, *, words: bool) -> Transcript:
        """What is said. Raises `SpeechError`."""
        return await self.services.stt.transcribe(
            TranscriptionRequest(
                audio,
                language=language_code(how.language),
                prompt=how.prompt,
                temperature=how.temperature,
                word_timestamps=words,
            )
        )


def transcript_fields(transcript: Transcript, form: TranscriptForm) -> dict[str, object]:
    """The transcript; its `text` has the form that was asked for."""
    fields: dict[str, object] = {"language": None}
    fields |= TranscriptionOut.of(transcript).model_dump(exclude_none=True)
    match form:
        case "srt":
            fields["text"] = to_srt(transcript)
        case "vtt":
            fields["text"] = to_vtt(transcript)
        case "json" | "verbose_json" | "text":
            pass
    return fields
