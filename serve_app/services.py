"""What a route may call."""

from dataclasses import dataclass
from typing import Annotated, Protocol, cast

from fastapi import Depends, Request

from configs.settings import AppSettings
from deployments.errors import VoiceNotFound
from deployments.messages import VoiceCatalog, VoiceInfo
from deployments.metrics import HttpMetrics, TurnMetrics
from serve_app.dialogue.ports import LanguageModel, SpeechToText, TextToSpeech
from serve_app.media.decode import AudioDecoder


class Stage(Protocol):
    """A stage that can be asked whether it is there."""

    async def ping(self, timeout_s: float) -> None:
        """Return when a replica answers. Raises `SpeechError`."""
        ...


class Stt(Stage, SpeechToText, Protocol):
    """Speech to text."""


class Llm(Stage, LanguageModel, Protocol):
    """Language model."""


class Tts(Stage, TextToSpeech, Protocol):
    """Text to speech."""

    async def voices(self) -> VoiceCatalog:
        """The voices that a request may name."""
        ...


@dataclass(slots=True)
class Services:
    """The stages, the decoder and the settings; one of each in an ingress replica."""

    settings: AppSettings
    stt: Stt
    llm: Llm
    tts: Tts
    decoder: AudioDecoder
    http_metrics: HttpMetrics
    turn_metrics: TurnMetrics
    catalog: VoiceCatalog | None = None

    async def voice(self, name: str | None) -> VoiceInfo:
        """The voice with this name, or the default one.

        Raises:
            VoiceNotFound: there is no such voice.
            SpeechError: the voice stage does not answer.
        """
        if self.catalog is None:
            # Voices belong to the configuration: a change of them restarts the graph.
            self.catalog = await self.tts.voices()
        wanted = self.catalog.default if name in (None, "", "default") else name
        for voice in self.catalog.voices:
            if voice.name == wanted:
                return voice
        raise VoiceNotFound(wanted)


def _services(request: Request) -> Services:
    return cast("Services", request.app.state.services)


ServicesDep = Annotated[Services, Depends(_services)]
