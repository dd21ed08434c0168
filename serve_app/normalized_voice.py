"""A voice that is given words alone to read."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from configs.settings import AudioSettings
from deployments.audio import Pcm
from deployments.errors import SpeechError
from deployments.messages import SpeechRequest, VoiceCatalog, VoiceReference
from serve_app.services import Tts
from serve_app.spoken_text.normalize import spoken_text

_AT_ONCE_CHARS = 1000  # a thread costs more than reading so much


class NormalizedVoice:
    """The voice stage, for texts with markup, numbers and abbreviations; see `spoken_text`.

    Whoever asks keeps the text as it was written: only the voice sees what is read.
    """

    def __init__(self, tts: Tts) -> None:
        self._tts = tts
        self._languages: dict[str | None, str] | None = None  # by voice; None is the default one

    async def ping(self, timeout_s: float) -> None:
        """See `Tts.ping`."""
        await self._tts.ping(timeout_s)

    async def voices(self) -> VoiceCatalog:
        """See `Tts.voices`."""
        return await self._tts.voices()

    async def encode_voice(self, audio: Pcm, text: str) -> VoiceReference:
        """See `Tts.encode_voice`."""
        return await self._tts.encode_voice(audio, text)

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Pcm, None]:
        """See `Tts.synthesize`; a text of which nothing is left gives no audio."""
        language = await self.language_of(request)
        if len(request.text) > _AT_ONCE_CHARS:
            text = await asyncio.to_thread(spoken_text, request.text, language)
        else:
            text = spoken_text(request.text, language)
        if not text:
            return
        async with aclosing(self._tts.synthesize(replace(request, text=text))) as pieces:
            async for piece in pieces:
                yield piece

    async def language_of(self, request: SpeechRequest) -> str | None:
        """The voice's language: that of the engine's voice where the request does not tell it."""
        if request.language is not None or request.references:
            return request.language
        if self._languages is None:
            try:
                catalog = await self._tts.voices()
            except SpeechError:
                return None  # what is wrong is told when it is asked to speak
            known: dict[str | None, str] = {each.name: each.language for each in catalog.voices}
            known[None] = known.get(catalog.default, "")
            self._languages = known
        return self._languages.get(request.voice) or None


def reading(tts: Tts, settings: AudioSettings) -> Tts:
    """The voice stage as the settings want it."""
    return NormalizedVoice(tts) if settings.spoken_text else tts
