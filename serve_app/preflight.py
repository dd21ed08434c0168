"""Whether this machine can run a configuration: told before anything is started."""

import ctranslate2

from configs.settings import (
    AppSettings,
    LlamaCppSettings,
    OpenAudioSettings,
    PiperSettings,
    WhisperSettings,
)
from deployments.errors import InvalidSetting
from deployments.llm.llama_loading import check_device
from deployments.tts.server import OPENAUDIO_MISSING
from deployments.weights import Kind, is_fetched, resolve_weights


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
        check_device(settings.llm)
        _check_weights("llm.model", settings.llm.model, "gguf")
    if isinstance(settings.tts, OpenAudioSettings):
        raise InvalidSetting("tts.engine", OPENAUDIO_MISSING)
    if isinstance(settings.tts, PiperSettings):
        for name, reference in settings.tts.voices.items():
            _check_weights(f"tts.voices.{name}", reference, "piper")


def _check_weights(key: str, reference: str, kind: Kind) -> None:
    if not is_fetched(reference, kind):
        resolve_weights(key, reference, kind)


def _check_cuda(key: str, device: str) -> None:
    name, _, index = device.partition(":")
    if name != "cuda":
        return
    count = ctranslate2.get_cuda_device_count()
    if int(index or 0) >= count:
        raise InvalidSetting(key, f"'{device}' is not here: this machine has {count} CUDA devices")
