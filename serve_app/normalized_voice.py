"""A voice that is given words alone to read."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from configs.settings import AudioSettings
from deployments.audio import Pcm
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
        if len(request.text) > _AT_ONCE_CHARS:
            text = await asyncio.to_thread(spoken_text, request.text, request.language)
        else:
            text = spoken_text(request.text, request.language)
        if not text:
            return
        async with aclosing(self._tts.synthesize(replace(request, text=text))) as pieces:
            async for piece in pieces:
                yield piece


def reading(tts: Tts, settings: AudioSettings) -> Tts:
    """The voice stage as the settings want it."""
    return NormalizedVoice(tts) if settings.spoken_text else tts
