"""fish-speech's own API server: fish_server.py --listen HOST:PORT --llama-checkpoint-path FOLDER …

The packages that it imports for training are stood in for. What it asks of torchaudio is done by the
libraries that we have, since torchaudio reads no file without a system's FFmpeg; and the codec's sizes
are taken from the folder's own `codec.yaml`, since the small checkpoint is not of S1-mini's size.
"""

import importlib.abc
import importlib.machinery
import io
import runpy
import sys
import types
from typing import Any

import numpy as np
import soxr
import torch
import transformers  # noqa: F401 - before the stand-ins: it looks for librosa
from av import open as av_open

from deployments.tts.openaudio import stand_ins

_FOR_TRAINING = {
    "lightning", "lightning_utilities", "pytorch_lightning", "loralib", "natsort", "pyrootutils", "torchaudio",
}  # fmt: skip


class _Nothing(types.ModuleType):
    """A module with every name in it; what is called gives back what it was given."""

    __path__ = ()  # a package

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (torch.nn.Module,), {"__new__": _unchanged, "__init__": _begun})


def _unchanged(kind: type, *given: Any, **_: Any) -> Any:
    """As a decorator, the function itself; as a base, a plain module."""
    if len(given) == 1 and callable(given[0]) and not isinstance(given[0], type):
        return given[0]
    return object.__new__(kind)


def _begun(self: Any, *_: Any, **__: Any) -> None:
    torch.nn.Module.__init__(self)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name.partition(".")[0] in _FOR_TRAINING:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        return _Nothing(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        return None


class _Resample:
    def __init__(self, orig_freq: int, new_freq: int) -> None:
        self._rates = orig_freq, new_freq

    def __call__(self, wave: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(soxr.resample(wave.numpy().T, *self._rates).T)


def _load(file: Any, backend: str = "") -> tuple[torch.Tensor, int]:
    with av_open(file) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    return torch.from_numpy(np.concatenate(frames, axis=-1).astype(np.float32) / 32_768), rate


def _write_wav(file: Any, samples: Any, rate: int, format: str = "wav") -> None:
    import wave

    assert format == "wav"
    data = io.BytesIO()
    with wave.open(data, "wb") as writer:
        writer.setparams((1, 2, rate, 0, "NONE", "NONE"))
        writer.writeframes((np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes())
    file.write(data.getvalue())


def _load_codec(config_name: str, checkpoint_path: str, device: str) -> Any:
    from pathlib import Path

    from deployments.tts.openaudio.checkpoint import Checkpoint
    from deployments.tts.openaudio.codec import Codec

    model = Codec(Checkpoint("decoder", Path(checkpoint_path).parent), torch.device("cpu")).model
    model.device = torch.device("cpu")
    return model


def main() -> None:
    """Serve until killed."""
    sys.meta_path.insert(0, _Finder())
    sys.modules.update({module.__name__: module for module in stand_ins._stand_ins()})
    import natsort
    import torchaudio

    natsort.natsorted = sorted
    torchaudio.list_audio_backends = lambda: ["soundfile"]
    torchaudio.load = _load
    torchaudio.transforms = types.SimpleNamespace(Resample=_Resample)
    sys.modules["soundfile"].write = _write_wav  # type: ignore[attr-defined]
    import fish_speech.models.dac.inference as codec

    codec.load_model = _load_codec
    runpy.run_module("tools.api_server", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
