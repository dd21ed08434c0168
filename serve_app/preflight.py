"""Whether this machine can run a configuration: told, and fetched, before anything is started."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import ctranslate2

from configs.settings import (
    AppSettings,
    FallbackSttSettings,
    FallbackTtsSettings,
    LlamaCppSettings,
    OpenAudioSettings,
    PiperSettings,
    SttMember,
    SttSettings,
    TtsMember,
    TtsSettings,
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
    engines = [*_engines("stt", settings.stt), *_engines("tts", settings.tts)]
    if isinstance(settings.llm, LlamaCppSettings):
        check_device(settings.llm)
    for place, engine in engines:
        _check_device(place, engine)
    if isinstance(settings.llm, LlamaCppSettings):
        resolve_weights("llm.model", settings.llm.model, "gguf")
    for place, engine in engines:
        _find_weights(place, engine)


def _engines(
    stage: str, settings: SttSettings | TtsSettings
) -> Iterator[tuple[str, SttMember | TtsMember]]:
    """Every engine of a stage, by its place in the settings."""
    if isinstance(settings, FallbackSttSettings | FallbackTtsSettings):
        for number, member in enumerate(settings.order):
            yield f"{stage}.order.{number}", member
    else:
        yield stage, settings


def _check_device(place: str, engine: SttMember | TtsMember) -> None:
    if isinstance(engine, WhisperSettings):
        _check_cuda(f"{place}.device", engine.device)
    if isinstance(engine, OpenAudioSettings):
        _check_openaudio(place, engine)


def _find_weights(place: str, engine: SttMember | TtsMember) -> None:
    if isinstance(engine, WhisperSettings):
        resolve_weights(f"{place}.model", engine.model, "whisper")
    if isinstance(engine, PiperSettings):
        for name, reference in engine.voices.items():
            resolve_weights(f"{place}.voices.{name}", reference, "piper")
    if isinstance(engine, OpenAudioSettings):
        resolve_weights(f"{place}.model", engine.model, "openaudio")


def _check_openaudio(place: str, settings: OpenAudioSettings) -> None:
    if find_spec("fish_speech") is None or find_spec("torch") is None:
        raise InvalidSetting(
            f"{place}.engine",
            "the OpenAudio engine is not installed; run: scripts/setup.sh openaudio",
        )
    _check_cuda(f"{place}.device", settings.device)
    for name, path in settings.voices.items():
        if not Path(path).expanduser().exists():
            raise InvalidSetting(f"{place}.voices.{name}", f"there is no recording at '{path}'")


def _check_cuda(key: str, device: str) -> None:
    name, _, index = device.partition(":")
    if name != "cuda":
        return
    count = ctranslate2.get_cuda_device_count()
    if int(index or 0) >= count:
        raise InvalidSetting(key, f"'{device}' is not here: this machine has {count} CUDA devices")
