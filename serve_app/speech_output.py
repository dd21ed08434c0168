"""Samples of a voice -> the bytes that a client asked for."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import numpy as np

from deployments.audio import Pcm
from deployments.messages import SpeechRequest
from serve_app.media.encode import AudioEncoder, EncodedAudio, encode_slices, encode_whole
from serve_app.media.formats import normalize_format, output_rate
from serve_app.protocol.gemmavoice import AudioOut, SynthesisFields
from serve_app.services import AskedVoice, Services

_AT_ONCE_BYTES = 64 * 1024  # below, handing bare samples to a thread costs more than the work


class SpeechOutput:
    """AskedVoice, format, rate and gain of one answer, checked before any work starts."""

    def __init__(self, fields: SynthesisFields, services: Services) -> None:
        audio = services.settings.audio
        self._format = normalize_format(fields.format or audio.default_format)
        self.format = (fields.format or audio.default_format).lower()
        self.reference_id = fields.reference_id
        self._engine = services.settings.tts.engine
        self._rate = fields.sample_rate
        if self._rate is None and audio.default_sample_rate is not None:
            # The operator's choice bends to what the format can hold; a client's is refused.
            self._rate = output_rate(self._format, audio.default_sample_rate, None)
        self._gain = 10 ** (fields.volume / 20)
        normalize = fields.normalize
        self._speech = SpeechRequest(
            text="",
            speed=fields.speed,
            normalize=audio.default_normalize if normalize is None else normalize,
            chunk_chars=fields.chunk_length,
            early=fields.latency in ("balanced", "low"),
            temperature=fields.temperature,
            top_p=fields.top_p,
            seed=fields.seed,
        )

    def engine(self, piece: Pcm) -> str:
        """Which engine made a piece."""
        return piece.engine or self._engine

    @property
    def media_type(self) -> str:
        """What the audio is served as."""
        return self._format.media_type

    def speech(self, voice: AskedVoice | None, text: str = "") -> SpeechRequest:
        """What to ask of a voice; None is the engine's default."""
        speech = replace(self._speech, text=text)
        return voice.speak(speech) if voice else speech

    def sample_rate(self, voice_rate: int) -> int:
        """The rate of the answer for a voice's rate.

        Raises:
            InvalidParameter: the format cannot have the rate that was asked for.
        """
        return output_rate(self._format, voice_rate, self._rate)

    def encoder(self, voice_rate: int) -> AudioEncoder:
        """A streaming encoder for a voice's rate.

        Raises:
            InvalidParameter: the format cannot have the rate that was asked for.
        """
        return AudioEncoder(self.format, voice_rate, self._rate)

    async def encode(self, encoder: AudioEncoder, piece: Pcm) -> bytes:
        """The next bytes of the stream; may be none yet."""
        if encoder.compresses or len(piece.samples) > _AT_ONCE_BYTES:
            return await asyncio.to_thread(lambda: encoder.encode(self.louder(piece.samples)))
        return encoder.encode(self.louder(piece.samples))

    async def end(self, encoder: AudioEncoder) -> bytes:
        """The last bytes of the stream; may be none."""
        return await asyncio.to_thread(encoder.flush) if encoder.compresses else encoder.flush()

    async def slices(self, pieces: Sequence[Pcm], voice_rate: int) -> AsyncGenerator[bytes, None]:
        """All pieces as one file whose header is true, slice by slice."""
        encoded = encode_slices(
            (self.louder(piece.samples) for piece in pieces),
            sum(len(piece.samples) for piece in pieces),
            self.format,
            pieces[0].sample_rate if pieces else voice_rate,
            self._rate,
        )
        while (data := await asyncio.to_thread(next, encoded, None)) is not None:
            yield data

    async def whole(self, pieces: list[Pcm], voice_rate: int) -> EncodedAudio:
        """All pieces as one file whose header is true."""
        samples = b"".join(self.louder(piece.samples) for piece in pieces)
        pcm = Pcm(samples, pieces[0].sample_rate if pieces else voice_rate)
        return await asyncio.to_thread(encode_whole, pcm, self.format, self._rate)

    def described(self, sample_rate: int) -> AudioOut:
        """The answer as GemmaAskedVoice's JSON, but for the audio."""
        return AudioOut(
            audio_base64="",
            response_format=self.format,
            media_type=self.media_type,
            sample_rate=sample_rate,
            reference_id=self.reference_id,
        )

    def answer(self, audio: EncodedAudio) -> AudioOut:
        """Whole audio as GemmaAskedVoice's JSON."""
        encoded = base64.b64encode(audio.data).decode()
        return self.described(audio.sample_rate).model_copy(update={"audio_base64": encoded})

    def louder(self, samples: bytes) -> bytes:
        """Samples with the gain that was asked for."""
        if self._gain == 1.0:
            return samples
        scaled = np.frombuffer(samples, "<i2").astype(np.float32) * self._gain
        return np.clip(scaled, -32_768, 32_767).astype("<i2").tobytes()
