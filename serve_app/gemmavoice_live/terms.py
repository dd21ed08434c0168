"""How one conversation is held, as its client has said so far."""

from dataclasses import replace

from deployments.errors import InvalidParameter, TextTooLong
from deployments.languages import language_code
from serve_app.caller import Caller
from serve_app.gemmavoice_live.inbox import pcm_rate
from serve_app.live.config import LiveConfig
from serve_app.live_desk import default_config
from serve_app.protocol.gemmavoice import SamplingFields, SynthesisFields
from serve_app.protocol.gemmavoice_sockets import AudioMessage, ConversationConfig
from serve_app.sampling import sampling_of
from serve_app.services import Services
from serve_app.speech_output import SpeechOutput
from serve_app.wanted_voice import wanted_voice

_FORMATS = ("wav", "pcm")


class Terms:
    """Begins with turns that the client ends, and the configuration's voice and words."""

    def __init__(self, services: Services, caller: Caller) -> None:
        self._services, self._caller = services, caller
        self._default = default_config(services.settings)
        self._format: str | None = None
        self._sample_rate: int | None = None
        self._sampling, self._synthesis = (
            SamplingFields.model_validate({}),
            SynthesisFields.model_validate({}),
        )
        self.output = self._output(self._synthesis)
        self.listens = False  # for the end of the user's turn
        self.config = replace(
            self._default, turn_taking=None, partials=False, voice=self.output.speech(None)
        )

    def audio_rate(self, message: AudioMessage | None = None) -> int | None:
        """The rate of bare samples; None where the audio tells by itself what it is.

        Raises:
            InvalidParameter: what the message says of itself cannot be.
        """
        if message is not None and message.format is not None:
            same = message.format == self._format
            rate = message.sample_rate or (self._sample_rate if same else None)
            return pcm_rate(message.format, rate)
        sample_rate = message.sample_rate if message else None
        return pcm_rate(self._format, sample_rate or self._sample_rate)

    def check(self, asked: ConversationConfig) -> SpeechOutput:
        """What the changes would make of the output.

        Raises:
            InvalidParameter: a field cannot be honoured.
            TextTooLong: the instructions are.
        """
        limit = self._services.settings.limits.max_prompt_chars
        if asked.instructions is not None and len(asked.instructions) > limit:
            raise TextTooLong("instructions", len(asked.instructions), limit)
        pcm_rate(asked.format or self._format, asked.sample_rate)
        return self._output(asked.synthesis_config or self._synthesis)

    def change_audio(self, asked: ConversationConfig) -> None:
        """What is sent from now on, and who ends turns."""
        if asked.format is not None:
            self._format, self._sample_rate = asked.format, asked.sample_rate
        elif asked.sample_rate is not None:
            self._sample_rate = asked.sample_rate
        if "turn_detection" in asked.model_fields_set:
            self.listens = asked.turn_detection is not None

    async def change(self, asked: ConversationConfig, output: SpeechOutput) -> LiveConfig:
        """How to hear, think and speak from now on.

        Raises:
            VoiceNotFound: there is no such voice.
            SpeechError: the voice stage does not answer.
        """
        self._sampling = asked.generation_config or self._sampling
        synthesis = asked.synthesis_config or self._synthesis
        voice = None
        if synthesis.reference_id is not None or synthesis.references:
            place = "synthesis_config."
            voice = await wanted_voice(self._services, self._caller, synthesis, place)
        self._synthesis, self.output = synthesis, output
        settings, before = self._services.settings, self.config
        instructions = before.instructions if asked.instructions is None else asked.instructions
        self.config = replace(
            before,
            instructions=instructions,
            language=language_code(asked.language) or before.language,
            sampling=sampling_of(self._sampling, settings.spoken_sampling),
            voice=output.speech(voice),
            turn_taking=self._default.turn_taking if self.listens else None,
            partials=self.listens,
        )
        return self.config

    def _output(self, synthesis: SynthesisFields) -> SpeechOutput:
        wanted = synthesis.format or "wav"
        if wanted.lower() not in _FORMATS:
            raise InvalidParameter("synthesis_config.format", "each piece is 'wav' or 'pcm' here.")
        return SpeechOutput(synthesis.model_copy(update={"format": wanted}), self._services)
