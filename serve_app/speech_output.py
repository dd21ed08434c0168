"""Samples of a voice -> the bytes that a client asked for."""

import asyncio
import base64

import numpy as np

from deployments.audio import Pcm
from deployments.errors import InvalidParameter
from serve_app.media.encode import AudioEncoder, EncodedAudio, encode_whole
from serve_app.media.formats import normalize_format, output_rate
from serve_app.protocol.gemmavoice import AudioOut, SynthesisFields
from serve_app.services import Services


class SpeechOutput:
    """Format, rate and gain of one answer, checked before any work starts."""

    def __init__(self, fields: SynthesisFields, services: Services) -> None:
        audio = services.settings.audio
        self._format = normalize_format(fields.format or audio.default_format)
        self.format = (fields.format or audio.default_format).lower()
        self.reference_id = fields.reference_id
        self._rate = fields.sample_rate
        if self._rate is None and audio.default_sample_rate is not None:
            # The operator's choice bends to what the format can hold; a client's is refused.
            self._rate = output_rate(self._format, audio.default_sample_rate, None)
        self._gain = 10 ** (fields.volume / 20)
        if fields.references:
            raise InvalidParameter("references", "no voice that is served here can be cloned")

    @property
    def media_type(self) -> str:
        """What the audio is served as."""
        return self._format.media_type

    def encoder(self, voice_rate: int) -> AudioEncoder:
        """A streaming encoder for a voice's rate.

        Raises:
            InvalidParameter: the format cannot have the rate that was asked for.
        """
        return AudioEncoder(self.format, voice_rate, self._rate)

    async def encode(self, encoder: AudioEncoder, piece: Pcm) -> bytes:
        """The next bytes of the stream; may be none yet."""
        return await asyncio.to_thread(encoder.encode, self._louder(piece.samples))

    async def whole(self, pieces: list[Pcm], voice_rate: int) -> EncodedAudio:
        """All pieces as one file whose header is true."""
        samples = b"".join(self._louder(piece.samples) for piece in pieces)
        pcm = Pcm(samples, pieces[0].sample_rate if pieces else voice_rate)
        return await asyncio.to_thread(encode_whole, pcm, self.format, self._rate)

    def answer(self, audio: EncodedAudio) -> AudioOut:
        """Whole audio as GemmaVoice's JSON."""
        return AudioOut(
            audio_base64=base64.b64encode(audio.data).decode(),
            response_format=self.format,
            media_type=audio.media_type,
            sample_rate=audio.sample_rate,
            reference_id=self.reference_id,
        )

    def _louder(self, samples: bytes) -> bytes:
        if self._gain == 1.0:
            return samples
        scaled = np.frombuffer(samples, "<i2").astype(np.float32) * self._gain
        return np.clip(scaled, -32_768, 32_767).astype("<i2").tobytes()
