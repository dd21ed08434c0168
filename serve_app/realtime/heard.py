"""The words of audio that a client adds as an item."""

from deployments.audio import WHISPER_SAMPLE_RATE, Pcm
from deployments.messages import TranscriptionRequest
from serve_app.live.config import LiveConfig
from serve_app.protocol.realtime_audio import AudioFormat
from serve_app.protocol.realtime_items import InputAudioPart, NewItem, UserMessage
from serve_app.realtime.meter import Meter
from serve_app.realtime.refusal import Refused
from serve_app.realtime.sound import AudioIn
from serve_app.services import Services


class ItemEar:
    """Hears the audio of items, in the session's format and with its choices."""

    def __init__(self, services: Services, meter: Meter) -> None:
        self._services, self._meter = services, meter

    async def words(
        self, item: NewItem, place: str, audio_format: AudioFormat, config: LiveConfig
    ) -> dict[int, str]:
        """What is said in each part that has no transcript; `place` names the item in an error.

        Raises:
            Refused: a part is neither audio nor text.
            SpeechError: it cannot be heard.
        """
        words: dict[int, str] = {}
        if not isinstance(item, UserMessage):
            return words
        for index, part in enumerate(item.content):
            if isinstance(part, InputAudioPart) and part.transcript is None:
                name = f"{place}.content.{index}.audio"
                audio = self._audio(part, name, audio_format)
                self._meter.note(audio)
                words[index] = await self._transcript(audio, config)
        return words

    def _audio(self, part: InputAudioPart, name: str, audio_format: AudioFormat) -> Pcm:
        if not part.audio:
            message = f"Missing required parameter: '{name}'."
            raise Refused("missing_required_parameter", message, name)
        ear = AudioIn(audio_format)
        audio = Pcm(ear.samples(part.audio, name) + ear.flush(), WHISPER_SAMPLE_RATE)
        longest_s = self._services.settings.live.max_utterance_s
        if audio.duration_s > longest_s:
            message = f"Invalid value for '{name}': it is longer than {longest_s:g} s"
            raise Refused("invalid_value", message, name)
        return audio

    async def _transcript(self, audio: Pcm, config: LiveConfig) -> str:
        request = TranscriptionRequest(
            audio,
            language=config.language,
            languages=config.languages,
            prompt=config.hints,
            keywords=config.keywords,
        )
        return (await self._services.stt.transcribe(request)).text
