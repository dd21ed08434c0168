"""What a route may call."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Annotated, Protocol, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from configs.settings import AppSettings
from deployments.audio import Pcm
from deployments.errors import (
    StageFailed,
    StageOverloaded,
    StageTimeout,
    StageUnavailable,
    VoiceNotFound,
)
from deployments.messages import (
    Allowance,
    ChatMessage,
    KeyLimits,
    Segment,
    Session,
    SpeechRequest,
    Ticket,
    Transcript,
    TranscriptionRequest,
    VoiceCatalog,
    VoiceReference,
)
from deployments.metrics import HttpMetrics, LiveMetrics, TurnMetrics
from serve_app.admission import Admission
from serve_app.cloned_voices import ClonedVoices
from serve_app.dialogue.ports import LanguageModel, SpeechToText, TextToSpeech
from serve_app.ears import Ears
from serve_app.media.decode import AudioDecoder
from serve_app.model_catalog import ModelCatalog

ENGINE_HEADER = "x-engine"  # which engine answered

_AWAY = (StageFailed, StageUnavailable, StageOverloaded, StageTimeout)


class Stage(Protocol):
    """A stage that can be asked whether it is there."""

    async def ping(self, timeout_s: float) -> None:
        """Return when a replica answers. Raises `SpeechError`."""
        ...


class Stt(Stage, SpeechToText, Protocol):
    """Speech to text."""

    def transcribe_stream(
        self, request: TranscriptionRequest
    ) -> AsyncGenerator[Segment | Transcript, None]:
        """Each segment as it is heard, then the whole transcript. Raises `SpeechError`."""
        ...


class Llm(Stage, LanguageModel, Protocol):
    """Language model."""


class Tts(Stage, TextToSpeech, Protocol):
    """Text to speech."""

    async def voices(self) -> VoiceCatalog:
        """The voices that a request may name."""
        ...

    async def encode_voice(self, audio: Pcm, text: str) -> VoiceReference:
        """A recording of a voice that says `text`, encoded to speak with it. Raises `SpeechError`."""
        ...


class StateStore(Protocol):
    """What the replicas of the ingress share. Every method raises `SpeechError`."""

    async def admit(self, caller: str, limits: KeyLimits, lease: str) -> Allowance:
        """Count one request, or say which limit refuses it; the lease is held until `release`."""
        ...

    async def release(self, caller: str, lease: str) -> None:
        """The request of this lease is over."""
        ...

    async def renew(self, leases: tuple[tuple[str, str], ...]) -> None:
        """The requests of these (caller, lease) are still in progress."""
        ...

    async def charge(
        self, caller: str, limits: KeyLimits, audio_s: float, *, afterwards: bool
    ) -> Allowance:
        """Count seconds of audio; `afterwards` never refuses."""
        ...

    async def issue_ticket(self, digest: bytes, ticket: Ticket) -> None:
        """Let the short-lived key of this hash in."""
        ...

    async def find_ticket(self, digest: bytes) -> Ticket | None:
        """What the short-lived key of this hash opens; None where it opens nothing."""
        ...


class SessionMemory(Protocol):
    """Remembered dialogues, each by its owner and an id. Every method raises `SpeechError`."""

    async def read_session(self, owner: str, session_id: str) -> Session | None:
        """A remembered dialogue; None where there is none."""
        ...

    async def append_session(
        self, owner: str, session_id: str, turn: tuple[ChatMessage, ...], drop_oldest: int = 0
    ) -> None:
        """Drop so many of the oldest messages, then add a turn."""
        ...

    async def write_session(
        self, owner: str, session_id: str, messages: tuple[ChatMessage, ...]
    ) -> None:
        """Remember a dialogue as it is now."""
        ...

    async def delete_session(self, owner: str, session_id: str) -> bool:
        """Forget a dialogue; whether there was one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedVoice:
    """A voice to speak with: the engine's of this name (None: its default), or one of `references`.

    `language` is None where it is not known.
    """

    name: str | None
    language: str | None = None
    references: tuple[VoiceReference, ...] = ()

    def speak(self, speech: SpeechRequest) -> SpeechRequest:
        """The request, to be spoken with this voice."""
        name = None if self.references else self.name
        return replace(speech, voice=name, references=self.references, language=self.language)


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice(AskedVoice):
    """A voice that is there; `sample_rate` in Hz is its own."""

    name: str
    sample_rate: int


@dataclass(slots=True)
class Services:
    """The stages, the models of the ingress itself, and the settings; one of each in a replica."""

    settings: AppSettings
    stt: Stt
    llm: Llm
    tts: Tts
    state: StateStore
    sessions: SessionMemory
    decoder: AudioDecoder
    http_metrics: HttpMetrics
    turn_metrics: TurnMetrics
    live_metrics: LiveMetrics
    admission: Admission
    models: ModelCatalog
    ears: Ears
    cloned: ClonedVoices
    catalog: VoiceCatalog | None = None

    async def voices(self) -> VoiceCatalog:
        """All voices of the engine.

        Raises:
            SpeechError: the voice stage does not answer.
        """
        if self.catalog is None:
            # Voices belong to the configuration: a change of them restarts the graph.
            self.catalog = await self.tts.voices()
        return self.catalog

    async def voice(self, name: str | None, owner: str) -> Voice:
        """The voice with this name: the engine's, else the owner's of this id or name.

        Raises:
            VoiceNotFound: there is no such voice.
            SpeechError: the voice stage or the voice library does not answer.
        """
        catalog = await self.voices()
        wanted = self._own_name(name) or catalog.default
        for voice in catalog.voices:
            if voice.name == wanted:
                return Voice(
                    name=voice.name, language=voice.language or None, sample_rate=voice.sample_rate
                )
        if catalog.encoder is not None:
            cloned = await self.cloned.find(owner, wanted, catalog.encoder)
            if cloned is not None:
                return Voice(
                    name=cloned.id,
                    language=cloned.language or None,
                    references=(cloned.reference,),
                    sample_rate=cloned_rate(catalog),
                )
        raise VoiceNotFound(wanted)

    async def voice_to_come(self, name: str | None, owner: str) -> AskedVoice:
        """The same; while the voice stage does not answer, what may be there by the time it speaks.

        Raises:
            VoiceNotFound: there is no such voice.
            SpeechError: the voice library does not answer.
        """
        try:
            return await self.voice(name, owner)
        except _AWAY as error:
            if error.stage != "tts":
                raise
            return await self._voice_unseen(self._own_name(name), owner)

    async def _voice_unseen(self, wanted: str | None, owner: str) -> AskedVoice:
        """The owner's voice, whatever encoded it; else one that the engine may have."""
        cloned = None if wanted is None else await self.cloned.store.find_voice(owner, wanted)
        if cloned is None:
            return AskedVoice(name=wanted)
        return AskedVoice(
            name=cloned.id, language=cloned.language or None, references=(cloned.reference,)
        )

    def _own_name(self, name: str | None) -> str | None:
        """What a voice is called here; None for the default one."""
        name = self.settings.names.voices.get(name or "", name)
        return None if name in (None, "", "default") else name


def cloned_rate(catalog: VoiceCatalog) -> int:
    """The rate in Hz of cloned voices: that of the engine's default voice."""
    rates = {voice.name: voice.sample_rate for voice in catalog.voices}
    return rates[catalog.default]


async def _services(connection: HTTPConnection) -> Services:  # else FastAPI starts a thread
    return cast("Services", connection.app.state.services)


ServicesDep = Annotated[Services, Depends(_services)]
