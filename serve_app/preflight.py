"""Whether this machine can run a configuration: told before anything is started."""

from pathlib import Path

import ctranslate2
import llama_cpp

from configs.settings import AppSettings, LlamaCppSettings, PiperSettings, WhisperSettings
from deployments.errors import InvalidSetting
from deployments.weights import Kind, resolve_weights


def check_machine(settings: AppSettings) -> None:
    """Look for weights and devices; what is on a hub is left to the first start.

    Raises:
        WeightsNotFound: a checkpoint is not there.
        InvalidSetting: a device is not there.
    """
    if isinstance(settings.stt, WhisperSettings):
        _check_cuda("stt.device", settings.stt.device)
        _check_weights("stt.model", settings.stt.model, "whisper")
    if isinstance(settings.llm, LlamaCppSettings):
        if settings.llm.gpu_layers and not llama_cpp.llama_supports_gpu_offload():
            raise InvalidSetting(
                "llm.gpu_layers", "this llama-cpp-python is built without GPU support"
            )
        _check_weights("llm.model", settings.llm.model, "gguf")
    if isinstance(settings.tts, PiperSettings):
        for name, reference in settings.tts.voices.items():
            _check_weights(f"tts.voices.{name}", reference, "piper")


def _check_weights(key: str, reference: str, kind: Kind) -> None:
    local = reference.startswith(("embedded/", "/", ".", "~")) or Path(reference).exists()
    if local:
        resolve_weights(key, reference, kind)


def _check_cuda(key: str, device: str) -> None:
    name, _, index = device.partition(":")
    if name != "cuda":
        return
    count = ctranslate2.get_cuda_device_count()
    if int(index or 0) >= count:
        raise InvalidSetting(key, f"'{device}' is not here: this machine has {count} CUDA devices")
