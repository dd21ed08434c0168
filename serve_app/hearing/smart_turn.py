"""Whether a speaker sounds finished: Smart Turn, by the melody of the last eight seconds."""

from typing import Self, cast

import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

from deployments.audio import WHISPER_SAMPLE_RATE
from serve_app.hearing.packaged import load_model

_HEARD_S = 8
_HEARD_SAMPLES = _HEARD_S * WHISPER_SAMPLE_RATE
_FULL_SCALE = 32_768.0
_LEAST_VARIANCE = 1e-7


class SmartTurn:
    """The network; it may be asked from several threads, and blocks each for about 50 ms."""

    def __init__(self) -> None:
        self._session = load_model("pipecat", "audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx")
        self._features = FeatureExtractor(feature_size=80, chunk_length=_HEARD_S)

    @classmethod
    def load(cls) -> Self:
        """Load it from the installed package pipecat-ai.

        Raises:
            WeightsNotFound: the package is not installed or not whole.
        """
        return cls()

    def probability(self, samples: bytes | bytearray | NDArray[np.int16]) -> float:
        """That the speaker of these samples (16 kHz, up to the pause) has finished."""
        inputs = {"input_features": self.log_mel(samples)[np.newaxis]}
        (outputs,) = cast(list[NDArray[np.float32]], self._session.run(None, inputs))
        return float(outputs.reshape(-1)[0])

    def log_mel(self, samples: bytes | bytearray | NDArray[np.int16]) -> NDArray[np.float32]:
        """The last eight seconds, brought to one loudness, as Whisper's 80 log-mel bands."""
        heard = samples if isinstance(samples, np.ndarray) else np.frombuffer(samples, np.int16)
        heard = heard[-_HEARD_SAMPLES:].astype(np.float32) / _FULL_SCALE
        heard = np.pad(heard, (_HEARD_SAMPLES - len(heard), 0))
        heard = (heard - heard.mean()) / np.sqrt(heard.var() + _LEAST_VARIANCE)
        bands = cast(NDArray[np.float64], self._features(heard, padding=0))
        return bands.astype(np.float32)
