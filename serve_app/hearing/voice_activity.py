"""Whether somebody speaks: Silero VAD, window by window."""

from functools import cache
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray

from serve_app.hearing.packaged import load_model
from serve_app.hearing.window import WINDOW_SAMPLES

_CONTEXT_SAMPLES = 64  # the model sees the end of the window before
_STATE_SHAPE = (1, 1, 128)
_FULL_SCALE = 32_768.0


class SileroModel:
    """The network, shared by all streams and safe for threads; `load` gives one per process.

    Raises:
        WeightsNotFound: faster-whisper, which carries it, is not whole.
    """

    def __init__(self) -> None:
        self.session = load_model("faster_whisper", "assets/silero_vad_v6.onnx")

    @classmethod
    @cache
    def load(cls) -> Self:
        """The one of this process. Raises `WeightsNotFound`."""
        return cls()


class VoiceActivity:
    """The probability of voice in one stream of 16 kHz audio."""

    def __init__(self, model: SileroModel) -> None:
        self._session = model.session
        self._heard = np.zeros((1, _CONTEXT_SAMPLES + WINDOW_SAMPLES), np.float32)
        self.reset()

    def probability(self, window: bytes | bytearray | NDArray[np.int16]) -> float:
        """That there is voice in the stream's next window of 512 samples."""
        samples = window if isinstance(window, np.ndarray) else np.frombuffer(window, np.int16)
        heard = self._heard
        heard[0, :_CONTEXT_SAMPLES] = heard[0, -_CONTEXT_SAMPLES:]
        np.multiply(samples, 1 / _FULL_SCALE, out=heard[0, _CONTEXT_SAMPLES:])
        outputs = self._session.run(None, {"input": heard, "h": self._hidden, "c": self._cell})
        probabilities, self._hidden, self._cell = cast(list[NDArray[np.float32]], outputs)
        return float(probabilities[0])

    def reset(self) -> None:
        """Forget the stream so far."""
        self._heard.fill(0)
        self._hidden = np.zeros(_STATE_SHAPE, np.float32)
        self._cell = np.zeros(_STATE_SHAPE, np.float32)
