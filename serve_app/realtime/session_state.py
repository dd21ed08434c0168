"""The session as its client sees it: how it begins, how it changes, and what it means for a live session."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deployments.errors import InvalidParameter, ModelNotFound, SpeechError, VoiceNotFound
from deployments.languages import language_code
from serve_app.hearing.endpointing import Endpointing
from serve_app.live.config import LiveConfig, TurnTaking
from serve_app.protocol.realtime_audio import (
    PcmFormat,
    RealtimeSemanticVad,
    RealtimeServerVad,
    SessionInput,
    SessionOutput,
    Transcription,
    TurnDetection,
)
from serve_app.protocol.realtime_response import ResponseParams
from serve_app.protocol.realtime_session import (
    LONGEST_REPLY,
    RealtimeSession,
    RealtimeSessionUpdate,
    SessionAudio,
    TranscriptionSessionUpdate,
)
from serve_app.protocol.realtime_tools import NamedFunction, choice_of, tools_of
from serve_app.realtime.refusal import Refused, refusal_of
from serve_app.services import AskedVoice, Services

# Null switches these off; elsewhere it says as little as a field that is left out.
_NULLABLE = frozenset(
    "turn_detection transcription idle_timeout_ms language languages prompt keywords".split()
)
# Of these only such values are accepted as change nothing.
_WITHOUT_EFFECT = {"type", "truncation", "tracing", "include", "reasoning"}
# By which the server's own waits are scaled: where a turn looks finished, and where it does not.
_PATIENCE = {"low": (1.3, 2.5), "medium": (1.0, 1.25), "auto": (1.0, 1.25), "high": (0.6, 0.75)}
_DEFAULT_VOICE = "default"

Changes = RealtimeSessionUpdate | TranscriptionSessionUpdate


class SessionDefaults:
    """How a session begins, from the server's own configuration of live sessions.

    `owner` is whose voices the session may name.
    """

    def __init__(self, config: LiveConfig, services: Services, owner: str) -> None:
        if config.turn_taking is None:
            raise ValueError("sessions begin with turn taking")
        self.config, self.taking = config, config.turn_taking
        self.services, self._owner = services, owner
        # By the names that sessions have of them.
        self._voices = {_DEFAULT_VOICE: AskedVoice(name=None)}

    def session(self, session_id: str, expires_at: int) -> RealtimeSession:
        """A session that nobody has changed yet; its voice is not resolved."""
        config = self.config
        speed = config.voice.speed if config.voice else 1.0
        return RealtimeSession(
            id=session_id,
            model=self.services.models.of_stage("llm").id,
            output_modalities=["audio"],
            instructions=config.instructions,
            max_output_tokens=config.sampling.max_tokens,
            temperature=config.sampling.temperature,
            expires_at=expires_at,
            audio=SessionAudio(
                input=SessionInput(
                    format=PcmFormat(),
                    transcription=self.transcription(),
                    turn_detection=self.server_vad(),
                ),
                output=SessionOutput(format=PcmFormat(), voice=_DEFAULT_VOICE, speed=speed),
            ),
        )

    def transcription(self) -> Transcription:
        """How words are heard where nothing else is asked for."""
        return Transcription(model=self.services.models.of_stage("stt").id)

    def server_vad(self) -> RealtimeServerVad:
        """How the end of a turn is found where nothing else is asked for."""
        return RealtimeServerVad(
            threshold=self.taking.endpointing.threshold,
            prefix_padding_ms=self.taking.endpointing.prefix_padding_ms,
            silence_duration_ms=self.taking.endpointing.silence_ms,
        )

    def changed(self, session: RealtimeSession, changes: Changes) -> RealtimeSession:
        """The session with what the changes name, and nothing else, changed."""
        asked = changes.model_dump(exclude_unset=True, exclude=_WITHOUT_EFFECT)
        known = {**session.model_dump(), "temperature": session.temperature}
        bases = {
            "server_vad": self.server_vad().model_dump(),
            "semantic_vad": RealtimeSemanticVad().model_dump(),
            "transcription": self.transcription().model_dump(),
        }
        return RealtimeSession.model_validate(_merged(known, asked, bases))

    def for_response(self, session: RealtimeSession, params: ResponseParams) -> RealtimeSession:
        """The session as one response sees it."""
        asked = params.model_dump(exclude_unset=True, exclude={"conversation", "input", "metadata"})
        known = {**session.model_dump(), "temperature": session.temperature}
        return RealtimeSession.model_validate(_merged(known, asked, {}))

    async def resolved(self, session: RealtimeSession, root: str) -> RealtimeSession:
        """The session with the names of what is served; `root` begins the names of its fields.

        Raises:
            Refused: a model, a voice, or what a tool is like does not exist here.
            SpeechError: the voice library does not answer.
        """
        audio = session.audio
        models = self.services.models
        try:
            model = models.resolve("llm", session.model).id
        except ModelNotFound as error:
            raise _named(error, f"{root}.model") from None
        transcription = audio.input.transcription
        if transcription is not None:
            try:
                heard_by = models.resolve("stt", transcription.model).id
            except ModelNotFound as error:
                raise _named(error, f"{root}.audio.input.transcription.model") from None
            transcription = transcription.model_copy(update={"model": heard_by})
        try:
            voice = await self._voice(audio.output.voice)
        except VoiceNotFound as error:
            raise _named(error, f"{root}.audio.output.voice") from None
        heard = audio.input.model_copy(update={"transcription": transcription})
        spoken = audio.output.model_copy(update={"voice": voice})
        return session.model_copy(
            update={"model": model, "audio": SessionAudio(input=heard, output=spoken)}
        )

    def live(self, session: RealtimeSession, root: str, *, replies: bool = True) -> LiveConfig:
        """What a resolved session means.

        Raises:
            Refused: the tools cannot be held to.
        """
        config, heard, spoken = self.config, session.audio.input, session.audio.output
        transcription = heard.transcription
        try:
            tools = tools_of(session.tools)
            choice = choice_of(session.tool_choice, tools)
        except InvalidParameter as error:
            raise _named(error, f"{root}.{error.param}") from None
        named = isinstance(session.tool_choice, NamedFunction)
        tokens = session.max_output_tokens
        config = replace(
            config,
            instructions=session.instructions,
            sampling=replace(
                config.sampling,
                max_tokens=LONGEST_REPLY if tokens == "inf" else tokens,
                temperature=session.temperature,
            ),
            voice=None,
            turn_taking=self._turn_taking(heard.turn_detection),
            tools=tools,
            tool_choice=choice,
            parallel_calls=session.parallel_tool_calls and not named,
            partials=transcription is not None,
            replies=replies,
        )
        if self.config.voice is not None and session.is_spoken:
            voice = self._voices.get(spoken.voice) or AskedVoice(name=spoken.voice)
            speech = voice.speak(replace(self.config.voice, speed=spoken.speed))
            config = replace(config, voice=speech)
        if transcription is None:
            return config
        return replace(
            config,
            language=language_code(transcription.language),
            languages=tuple(filter(None, map(language_code, transcription.languages or ()))),
            hints=transcription.prompt or None,
            keywords=tuple(transcription.keywords or ()),
        )

    async def _voice(self, asked: str) -> str:
        voice = await self.services.voice_to_come(asked, self._owner)
        name = voice.name or _DEFAULT_VOICE
        self._voices[name] = voice
        return name

    def _turn_taking(self, detection: TurnDetection | None) -> TurnTaking | None:
        if detection is None:
            return None
        own = self.taking.endpointing
        match detection:
            case RealtimeServerVad():
                endpointing = _patient(
                    own, detection.silence_duration_ms, own.unfinished_ms, own.unheard_ms
                )
                endpointing = replace(
                    endpointing,
                    threshold=detection.threshold,
                    prefix_padding_ms=detection.prefix_padding_ms,
                )
                idle_ms = detection.idle_timeout_ms
            case RealtimeSemanticVad(eagerness=eagerness):
                finished, unfinished = _PATIENCE[eagerness]
                endpointing = _patient(
                    own,
                    round(own.silence_ms * finished),
                    round(own.unfinished_ms * unfinished),
                    own.unheard_ms,
                )
                idle_ms = None
        return replace(
            self.taking,
            endpointing=endpointing,
            creates_reply=detection.create_response,
            interrupts=detection.interrupt_response,
            idle_ms=idle_ms,
        )


def _patient(own: Endpointing, silence_ms: int, unfinished_ms: int, unheard_ms: int) -> Endpointing:
    return replace(
        own,
        silence_ms=silence_ms,
        unfinished_ms=max(unfinished_ms, silence_ms),
        unheard_ms=max(unheard_ms, silence_ms),
    )


def _merged(
    known: dict[str, Any], asked: Mapping[str, Any], bases: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """`known` with what `asked` says; what is of another kind than before begins from its base."""
    merged = dict(known)
    for name, value in asked.items():
        before = known.get(name)
        if value is None:
            if name in _NULLABLE:
                merged[name] = None
        elif not isinstance(value, dict) or name == "tool_choice":
            merged[name] = value
        else:
            same = isinstance(before, dict) and value.get("type") == before.get("type")
            begins = before if same else bases.get(value.get("type", name), {})
            merged[name] = _merged(begins or {}, value, bases)
    return merged


def _named(error: SpeechError, param: str) -> Refused:
    refused = refusal_of(error)
    return Refused(refused.code, refused.message, param)
