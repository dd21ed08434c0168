"""fish-speech's own engine: its generation, one text after the other, and one decode of each text.

As its TTSInferenceEngine does it; that class itself needs packages for training.
"""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deployments.tts.openaudio.checkpoint import Checkpoint
from deployments.tts.openaudio.codec import Codec
from tests.openaudio_upstream import Upstream


@dataclass(frozen=True, slots=True)
class Spoken:
    """One text: seconds to the first sound and to the end, and how many frames it has."""

    first_s: float
    whole_s: float
    frames: int


class UpstreamEngine:
    """One caller at a time; the sound comes when all of it is there."""

    def __init__(
        self, folder: Path, dtype: torch.dtype, device: str, *, compiled: bool = False
    ) -> None:
        self._model = Upstream(folder, dtype, device, compiled=compiled)
        self._codec = Codec(Checkpoint("tts.model", folder), torch.device(device))
        self._turn = threading.Lock()

    def speak(self, text: str, seed: int, frames: int) -> Spoken:
        """Its queue is a lock here."""
        started = time.perf_counter()
        with self._turn:
            codes: Tensor = self._model.codes(text, seed, frames)
            with torch.inference_mode():
                length = torch.tensor([codes.shape[1]], device=self._codec.device)
                sound = self._codec.model.decode(codes[None].to(self._codec.device), length)[0]
                sound.cpu()
        elapsed = time.perf_counter() - started
        return Spoken(elapsed, elapsed, codes.shape[1])
