"""A spoken turn as a script would do it: hear all, then write all, then speak; in one process."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from benchmarks.bare_models import bare_llama, bare_piper, bare_whisper
from benchmarks.paced_speech import Samples, first_voiced
from configs.settings import AppSettings, LlamaCppSettings, PiperSettings, WhisperSettings

_SENTENCE_ENDS = (".", "!", "?")


@dataclass(frozen=True, slots=True)
class SerialTurn:
    """Seconds of each stage. `sentence_s` is the part of `reply_s` up to the first sentence's end.

    `voice_s` runs until the first voiced sample can be heard: the first sentence is synthesised, and
    what is silent at its beginning has passed.
    """

    transcript: str
    reply: str
    transcript_s: float
    reply_s: float
    sentence_s: float
    voice_s: float

    @property
    def whole_s(self) -> float:
        """One stage after the other."""
        return self.transcript_s + self.reply_s + self.voice_s

    @property
    def streamed_s(self) -> float:
        """The same by a better script, which speaks as soon as the first sentence is written."""
        return self.transcript_s + self.sentence_s + self.voice_s


class BareStages:
    """faster-whisper, llama-cpp-python and Piper, with the models and options that are served."""

    def __init__(self, settings: AppSettings) -> None:
        assert isinstance(settings.stt, WhisperSettings)
        assert isinstance(settings.llm, LlamaCppSettings)
        assert isinstance(settings.tts, PiperSettings)
        self._settings = settings
        self._stt = bare_whisper(settings.stt)
        self._llm = bare_llama(settings.llm)
        self._tts = bare_piper(settings.tts)

    def turn(self, utterance: Samples, instructions: str) -> SerialTurn:
        """Answer an utterance, which is 16 kHz."""
        start = time.perf_counter()
        transcript = self._hear(utterance)
        heard = time.perf_counter()
        reply, sentence_at = self._write(transcript, instructions)
        written = time.perf_counter()
        lead_s = self._speak(reply)
        spoken = time.perf_counter()
        return SerialTurn(
            transcript,
            reply,
            heard - start,
            written - heard,
            sentence_at - heard,
            spoken - written + lead_s,
        )

    def _hear(self, utterance: Samples) -> str:
        options = self._settings.stt
        assert isinstance(options, WhisperSettings)
        segments, _ = self._stt.transcribe(
            utterance.astype(np.float32) / 32_768,
            beam_size=options.beam_size,
            vad_filter=options.vad_filter,
            language=options.language,
        )
        return "".join(segment.text for segment in segments).strip()

    def _write(self, transcript: str, instructions: str) -> tuple[str, float]:
        """The reply, and when its first sentence was there."""
        sampling, prompts = self._settings.spoken_sampling, self._settings.prompts
        asked = prompts.spoken_template.replace("{transcript}", transcript)
        reply, sentence_at = "", None
        chunks = self._llm.create_chat_completion(
            [{"role": "system", "content": instructions}, {"role": "user", "content": asked}],
            stream=True,
            **sampling.model_dump(),
        )
        for chunk in cast("Iterator[Any]", chunks):
            reply += chunk["choices"][0]["delta"].get("content") or ""
            if sentence_at is None and reply.rstrip().endswith(_SENTENCE_ENDS):
                sentence_at = time.perf_counter()
        return reply, sentence_at or time.perf_counter()

    def _speak(self, reply: str) -> float:
        """Synthesise the first sentence; how many seconds of it pass before it is voiced."""
        for chunk in self._tts.synthesize(reply):
            samples = np.frombuffer(chunk.audio_int16_bytes, np.int16)
            return (first_voiced(samples, chunk.sample_rate) or 0) / chunk.sample_rate
        return 0.0
