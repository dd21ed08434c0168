"""A recording of a voice -> what an engine speaks with; and whether it is fit for that."""

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.settings import VoiceLibrarySettings
from deployments.audio import WHISPER_SAMPLE_RATE, Pcm
from deployments.errors import (
    AudioTooLong,
    CloningUnsupported,
    InvalidAudio,
    NoSpeech,
    NoWords,
    RecordingClipped,
    RecordingTooLong,
    RecordingTooQuiet,
    RecordingTooShort,
    UnsupportedFormat,
)
from deployments.languages import language_code
from deployments.messages import TranscriptionRequest, VoiceReference
from deployments.resample import Resampler
from serve_app.caller import Caller
from serve_app.hearing.voice_activity import SileroModel, VoiceActivity
from serve_app.hearing.window import WINDOW_SAMPLES
from serve_app.media.sniff import Upload
from serve_app.services import Services

_SAMPLE_RATE = 48_000  # all that a recording holds; an engine converts it to its own rate
_FULL_SCALE = 32_768
_PEAK = 0.98  # of full scale: resampling moves cut-off peaks about
_VOICED = 0.5  # probability of voice
_GRACE_S = 0.5  # an encoder pads its files
_LEAST_CONSENT_S = 1.0

Samples = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Sample:
    """A recording of a voice, encoded; `audio` is at 48 kHz, `language` empty where not known."""

    audio: Pcm
    language: str
    reference: VoiceReference


class VoiceCloner:
    """Encodes the recordings of one caller. The name of a recording is that of its field."""

    def __init__(self, services: Services, caller: Caller) -> None:
        self._services, self._caller = services, caller
        self._settings = services.settings.voices

    async def encoder(self) -> str:
        """What encodes voices here.

        Raises:
            CloningUnsupported: nothing does.
        """
        encoder = (await self._services.voices()).encoder
        if encoder is None:
            raise CloningUnsupported
        return encoder

    async def sample(
        self, upload: Upload, name: str, text: str | None = None, language: str | None = None
    ) -> Sample:
        """A recording that says `text`, or else what our own speech to text hears in it.

        Raises:
            CloningUnsupported: no voice can be cloned here.
            UnfitRecording: this one cannot be cloned.
            InvalidRequest: the upload is not audio that is served.
            RateLimited: the caller has no share left.
            SpeechError: a stage does not answer.
        """
        await self.encoder()
        settings = self._settings
        audio = await self._decoded(upload, name, _SAMPLE_RATE, settings.max_sample_s)
        heard = await asyncio.to_thread(_check_sample, audio, name, settings)
        if not text:
            wanted = TranscriptionRequest(heard, language=language_code(language))
            transcript = await self._services.stt.transcribe(wanted)
            text, language = transcript.text, language or transcript.language
        if not text:
            raise NoWords(name)
        reference = await self._services.tts.encode_voice(audio, text)
        return Sample(audio, language or "", reference)

    async def recording(self, upload: Upload, name: str) -> None:
        """Refuse what can be no sample: it is not audio, or lasts too long.

        Raises:
            UnfitRecording: it lasts too long.
            InvalidRequest: the upload is not audio that is served.
            RateLimited: the caller has no share left.
            SpeechError: the decoder does not answer.
        """
        await self._decoded(upload, name, WHISPER_SAMPLE_RATE, self._settings.max_sample_s)

    async def consent(self, upload: Upload, name: str) -> Pcm:
        """A recording (16 kHz) in which somebody speaks.

        Raises:
            UnfitRecording: nobody does, or for too long.
            InvalidRequest: the upload is not audio that is served.
            RateLimited: the caller has no share left.
            SpeechError: the decoder does not answer.
        """
        longest_s = self._settings.max_consent_s
        audio = await self._decoded(upload, name, WHISPER_SAMPLE_RATE, longest_s)
        await asyncio.to_thread(_check_consent, audio, name)
        return audio

    async def _decoded(self, upload: Upload, name: str, rate: int, longest_s: float) -> Pcm:
        try:
            audio = await self._services.decoder.decode(
                upload, sample_rate=rate, max_duration_s=longest_s + _GRACE_S
            )
        except AudioTooLong:
            raise RecordingTooLong(name, longest_s) from None
        except (InvalidAudio, UnsupportedFormat) as error:
            raise type(error)(error.detail, name) from None
        await self._caller.spend_audio(audio.duration_s)
        return audio


def _check_sample(audio: Pcm, name: str, settings: VoiceLibrarySettings) -> Pcm:
    """The sample at 16 kHz, if a voice can be cloned from it."""
    if audio.duration_s < settings.min_sample_s:
        raise RecordingTooShort(name, audio.duration_s, settings.min_sample_s)
    samples = np.frombuffer(audio.samples, "<i2")
    if np.mean(np.abs(samples.astype(np.int32)) >= _PEAK * _FULL_SCALE) > settings.max_clipped:
        raise RecordingClipped(name)
    resampler = Resampler(audio.sample_rate, WHISPER_SAMPLE_RATE)
    heard = resampler.resample(audio.samples) + resampler.flush()
    voiced = _voiced(np.frombuffer(heard, "<i2"))
    if len(voiced) < settings.min_speech_s * WHISPER_SAMPLE_RATE:
        level_db = _level_db(samples)
        if level_db < settings.min_level_db:  # too quiet to be told from silence
            raise RecordingTooQuiet(name, level_db, settings.min_level_db)
        raise NoSpeech(name)
    if (level_db := _level_db(voiced)) < settings.min_level_db:
        raise RecordingTooQuiet(name, level_db, settings.min_level_db)
    return Pcm(heard, WHISPER_SAMPLE_RATE)


def _check_consent(audio: Pcm, name: str) -> None:
    if audio.duration_s < _LEAST_CONSENT_S:
        raise RecordingTooShort(name, audio.duration_s, _LEAST_CONSENT_S)
    voiced = _voiced(np.frombuffer(audio.samples, "<i2"))
    if len(voiced) < _LEAST_CONSENT_S / 2 * WHISPER_SAMPLE_RATE:
        raise NoSpeech(name)


def _voiced(samples: Samples) -> Samples:
    """The windows of 16 kHz audio in which somebody speaks."""
    activity = VoiceActivity(SileroModel.load())
    whole = len(samples) - len(samples) % WINDOW_SAMPLES
    windows = samples[:whole].reshape(-1, WINDOW_SAMPLES)
    voiced = [window for window in windows if activity.probability(window) >= _VOICED]
    return np.concatenate(voiced) if voiced else np.empty(0, np.int16)


def _level_db(samples: Samples) -> float:
    """Root mean square below full scale."""
    power = float(np.mean((samples / _FULL_SCALE) ** 2)) if len(samples) else 0.0
    return 10 * float(np.log10(max(power, 1e-12)))
