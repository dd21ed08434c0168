"""Text to speech with Piper (VITS voices in ONNX, on the CPU)."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import Fail
from piper import PiperVoice, SynthesisConfig
from piper.config import PiperConfig

from configs.settings import PiperSettings
from deployments.audio import Pcm
from deployments.errors import (
    CloningUnsupported,
    InvalidParameter,
    InvalidSetting,
    VoiceNotFound,
    WeightsNotFound,
)
from deployments.messages import SpeechRequest, VoiceCatalog, VoiceInfo, VoiceReference
from deployments.sentences import split_sentences
from deployments.tts.engine import refuse_top_p
from deployments.weights import resolve_weights

_MAX_SENTENCE_CHARS = 240
_PIECE_S = 1.0
_OWN_TEMPERATURE = 0.7  # what a temperature is measured by: the voice as it was trained
_HIGHEST_TIMING_TEMPERATURE = 1.0  # above it single sounds last for seconds
_STOP_POLL_S = 0.02
_SILENCE_LEVEL = 0.005  # of full scale
_KEPT_SILENCE_S = 0.08  # the burst of a first "p" is quieter than that: 0.02 turned words


class _Stoppable:
    """A session whose runs end soon after `stop` is set, in the middle of a sentence too."""

    def __init__(self, session: Any, stop: threading.Event) -> None:
        self._session, self._stop = session, stop

    def run(self, outputs: list[str] | None, inputs: dict[str, Any]) -> list[Any]:
        """Run the model once.

        Raises:
            Fail: it was stopped.
        """
        options = onnxruntime.RunOptions()
        done = threading.Event()
        watcher = threading.Thread(
            target=self._watch, args=(options, done), name="tts-stop", daemon=True
        )
        watcher.start()
        try:
            return self._session.run(outputs, inputs, options)
        finally:
            done.set()

    def _watch(self, options: Any, done: threading.Event) -> None:
        while not done.is_set():
            if self._stop.wait(_STOP_POLL_S):
                options.terminate = True
                return


class PiperEngine:
    """All configured voices, loaded; one sentence is synthesised at a time."""

    def __init__(self, settings: PiperSettings) -> None:
        if settings.default_voice not in settings.voices:
            raise InvalidSetting(
                "tts.default_voice", f"'{settings.default_voice}' is not one of tts.voices"
            )
        threads = settings.threads or max(1, len(os.sched_getaffinity(0)) // 2)
        self._default = settings.default_voice
        self._voices = {
            name: _load_voice(f"tts.voices.{name}", reference, threads)
            for name, reference in settings.voices.items()
        }
        self._phonemizing = threading.Lock()  # espeak-ng keeps its state in the process

    def warm_up(self) -> None:
        """Speak one word with every voice."""
        for name in self._voices:
            for _ in self.synthesize(SpeechRequest("Hello.", name), threading.Event()):
                pass

    def voices(self) -> VoiceCatalog:
        """The configured voices."""
        return VoiceCatalog(
            default=self._default,
            voices=tuple(
                VoiceInfo(name, voice.config.sample_rate, voice.config.espeak_voice)
                for name, voice in self._voices.items()
            ),
        )

    def encode_voice(self, audio: Pcm, text: str) -> VoiceReference:  # noqa: ARG002
        """Piper's voices are trained, not cloned."""
        raise CloningUnsupported

    def synthesize(self, request: SpeechRequest, stop: threading.Event) -> Iterator[Pcm]:
        """Speak sentence by sentence, in pieces of at most one second."""
        voice = self._voices.get(request.voice or self._default)
        if voice is None:
            raise VoiceNotFound(request.voice or self._default)
        refuse_top_p(request)
        _refuse_seed(request)
        if request.references:
            raise CloningUnsupported
        return self._speak(voice, request, _synthesis_config(voice.config, request), stop)

    def _speak(
        self,
        voice: PiperVoice,
        request: SpeechRequest,
        config: SynthesisConfig,
        stop: threading.Event,
    ) -> Iterator[Pcm]:
        trim = True
        speaker = PiperVoice(cast("Any", _Stoppable(voice.session, stop)), voice.config)
        max_chars = request.chunk_chars or _MAX_SENTENCE_CHARS
        for sentence in split_sentences(request.text, max_chars, early=request.early):
            with self._phonemizing:
                phrases = voice.phonemize(sentence.replace("\0", " "))
            for phonemes in filter(None, phrases):
                if stop.is_set():
                    return
                try:
                    audio = _samples(speaker, voice.phonemes_to_ids(phonemes), config)
                except Fail:
                    if stop.is_set():
                        return
                    raise
                if trim:
                    audio = _without_leading_silence(audio, voice.config.sample_rate)
                trim = False
                for piece in _pieces(audio, voice.config.sample_rate):
                    if stop.is_set():
                        return
                    yield piece


def _load_voice(key: str, reference: str, threads: int) -> PiperVoice:
    path = resolve_weights(key, reference, "piper")
    config_path = Path(f"{path}.json")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads of the voice must not take the cores from the model that writes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        config = PiperConfig.from_dict(json.loads(config_path.read_text(encoding="utf-8")))
        session = onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except FileNotFoundError as error:
        raise WeightsNotFound(key, reference, f"{config_path.name} is not beside it") from error
    except Exception as error:
        raise WeightsNotFound(key, reference, "it is not a Piper voice") from error
    return PiperVoice(session=session, config=config)


def _refuse_seed(request: SpeechRequest) -> None:
    """The noise is drawn inside of the model, which takes no seed for a run."""
    if request.seed is not None and request.temperature != 0:
        raise InvalidParameter(
            "seed", "this voice repeats itself at temperature 0 alone; leave it out"
        )


def _synthesis_config(voice: PiperConfig, request: SpeechRequest) -> SynthesisConfig:
    temperature = _OWN_TEMPERATURE if request.temperature is None else request.temperature
    return SynthesisConfig(
        length_scale=voice.length_scale / request.speed,
        noise_scale=voice.noise_scale * temperature / _OWN_TEMPERATURE,
        noise_w_scale=voice.noise_w_scale
        * min(temperature, _HIGHEST_TIMING_TEMPERATURE)
        / _OWN_TEMPERATURE,
        normalize_audio=request.normalize,
    )


def _samples(voice: PiperVoice, phoneme_ids: list[int], config: SynthesisConfig) -> np.ndarray:
    """Float samples in [-1, 1], at the loudness that `PiperVoice.synthesize` gives them."""
    audio = voice.phoneme_ids_to_audio(phoneme_ids, config)
    assert isinstance(audio, np.ndarray)  # noqa: S101 - a tuple only with alignments
    peak = float(np.max(np.abs(audio), initial=0.0))
    loud = audio / peak if config.normalize_audio and peak > 1e-8 else audio
    return np.clip(loud, -1.0, 1.0)


def _without_leading_silence(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    loud = np.flatnonzero(np.abs(audio) > _SILENCE_LEVEL)
    start = int(loud[0]) if loud.size else 0
    return audio[max(0, start - int(_KEPT_SILENCE_S * sample_rate)) :]


def _pieces(audio: np.ndarray, sample_rate: int) -> Iterator[Pcm]:
    samples = (audio * 32_767.0).astype("<i2")
    step = int(_PIECE_S * sample_rate)
    for start in range(0, len(samples), step):
        yield Pcm(samples[start : start + step].tobytes(), sample_rate)
