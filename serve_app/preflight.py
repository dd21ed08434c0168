"""Whether this machine can run a configuration: told, and fetched, before anything is started."""

from importlib.util import find_spec
from pathlib import Path

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
from deployments.weights import resolve_weights
from serve_app.key_file import known_keys


def check_machine(settings: AppSettings) -> None:
    """Look for keys and devices first, then for weights; those on a hub are fetched with visible progress.

    Raises:
        WeightsNotFound: a checkpoint is not there.
        InvalidSetting: a device is not there, or the file of the API keys cannot be used.
    """
    known_keys(settings.access)
    stt, llm, tts = settings.stt, settings.llm, settings.tts
    if isinstance(stt, WhisperSettings):
        _check_cuda("stt.device", stt.device)
    if isinstance(llm, LlamaCppSettings):
        check_device(llm)
    if isinstance(tts, OpenAudioSettings):
        _check_openaudio(tts)
    if isinstance(stt, WhisperSettings):
        resolve_weights("stt.model", stt.model, "whisper")
    if isinstance(llm, LlamaCppSettings):
        resolve_weights("llm.model", llm.model, "gguf")
    if isinstance(tts, PiperSettings):
        for name, reference in tts.voices.items():
            resolve_weights(f"tts.voices.{name}", reference, "piper")
    if isinstance(tts, OpenAudioSettings):
        resolve_weights("tts.model", tts.model, "openaudio")


def _check_openaudio(settings: OpenAudioSettings) -> None:
    if find_spec("fish_speech") is None or find_spec("torch") is None:
        raise InvalidSetting(
            "tts.engine", "the OpenAudio engine is not installed; run: scripts/setup.sh openaudio"
        )
    _check_cuda("tts.device", settings.device)
    for name, path in settings.voices.items():
        if not Path(path).expanduser().exists():
            raise InvalidSetting(f"tts.voices.{name}", f"there is no recording at '{path}'")


def _check_cuda(key: str, device: str) -> None:
    name, _, index = device.partition(":")
    if name != "cuda":
        return
    count = ctranslate2.get_cuda_device_count()
    if int(index or 0) >= count:
        raise InvalidSetting(key, f"'{device}' is not here: this machine has {count} CUDA devices")
