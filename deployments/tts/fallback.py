"""Several voices as one: the next speaks where one fails before it was heard."""

import threading
from collections.abc import Iterator
from dataclasses import replace

from configs.settings import FallbackTtsSettings
from deployments.audio import Pcm
from deployments.errors import InvalidSetting, VoiceNotFound
from deployments.fallback import Chain, Unwatched, Watch
from deployments.messages import SpeechRequest, VoiceCatalog, VoiceReference
from deployments.remote import Reachable
from deployments.resample import Resampler
from deployments.tts.engine import SelfChecking, TtsEngine

_ANY = "*"


class FallbackTtsEngine:
    """The voices, their rates and their encoder are the first engine's; others stand in for them."""

    def __init__(
        self,
        settings: FallbackTtsSettings,
        engines: list[TtsEngine],
        watch: Watch | None = None,
    ) -> None:
        named = [
            (each.engine, engine, each.workers)
            for each, engine in zip(settings.order, engines, strict=True)
        ]
        self._chain = Chain("tts", named, settings.circuit, watch or Unwatched())
        self._stand_ins = settings.stand_ins
        self._first = engines[0]
        known = {voice.name for engine in engines[1:] for voice in engine.voices().voices}
        for voice, stand_in in settings.stand_ins.items():
            if stand_in not in known:
                raise InvalidSetting(
                    f"tts.stand_ins.{voice}", f"no later engine has a voice '{stand_in}'"
                )

    def warm_up(self) -> None:
        """Warm every engine."""
        for member in self._chain.members:
            member.engine.warm_up()

    def is_up(self) -> bool:
        """Whether any engine can be asked."""
        return any(
            not isinstance(member.engine, Reachable) or member.engine.is_up()
            for member in self._chain.members
        )

    def check_health(self) -> None:
        """Pass on what an engine says that cannot work again by itself."""
        for member in self._chain.members:
            if isinstance(member.engine, SelfChecking):
                member.engine.check_health()

    def voices(self) -> VoiceCatalog:
        """The first engine's."""
        return self._first.voices()

    def encode_voice(self, audio: Pcm, text: str) -> VoiceReference:
        """As the first engine does; a cloned voice has no stand-in."""
        return self._first.encode_voice(audio, text)

    def synthesize(self, request: SpeechRequest, stop: threading.Event) -> Iterator[Pcm]:
        """Speak with the first engine that can, at the sample rate of the first one's voice."""
        catalog = self.voices()
        name = request.voice or catalog.default
        rates = {voice.name: voice.sample_rate for voice in catalog.voices}
        if name not in rates and not request.references:
            raise VoiceNotFound(name)
        asked = replace(request, voice=name)
        return self._speak(asked, rates.get(name, rates[catalog.default]), stop)

    def _speak(
        self, request: SpeechRequest, sample_rate: int, stop: threading.Event
    ) -> Iterator[Pcm]:
        engine, resampler = "", None
        answers = self._chain.answers(lambda each: self._call(each, request, stop), stop)
        for engine, piece in answers:
            resampler = resampler or Resampler(piece.sample_rate, sample_rate)
            if samples := resampler.resample(piece.samples):
                yield Pcm(samples, sample_rate, engine)
        if resampler is not None and not stop.is_set() and (samples := resampler.flush()):
            yield Pcm(samples, sample_rate, engine)

    def _call(
        self, engine: TtsEngine, request: SpeechRequest, stop: threading.Event
    ) -> Iterator[Pcm] | None:
        """The engine at work; None where it has neither the voice nor one that stands in for it."""
        if engine is self._first:
            return engine.synthesize(request, stop)
        catalog = engine.voices()
        if request.references:
            encoders = {reference.encoder for reference in request.references}
            return engine.synthesize(request, stop) if encoders == {catalog.encoder} else None
        stand_in = self._stand_ins.get(request.voice or "", self._stand_ins.get(_ANY))
        names = {voice.name for voice in catalog.voices}
        for name in (request.voice, stand_in):
            if name in names:
                return engine.synthesize(replace(request, voice=name), stop)
        return None
