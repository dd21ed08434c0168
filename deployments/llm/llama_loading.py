"""Loads a GGUF file, and says in the settings' words why it cannot be."""

import collections
import contextlib
import ctypes
import logging
from pathlib import Path

import jinja2
import llama_cpp

from configs.settings import LlamaCppSettings
from deployments.errors import InvalidSetting
from deployments.weights import resolve_weights

logger = logging.getLogger(__name__)

_MODEL_KEY = "llm.model"
# `Llama` comes with a context of its own, which is not used.
_SMALLEST_CONTEXT = 32
_GGML_LOG_ERROR = 4
_GGML_DEVICE_GPU = 1
_errors: collections.deque[str] = collections.deque(maxlen=3)


def load_llama(settings: LlamaCppSettings) -> llama_cpp.Llama:
    """The model and its vocabulary.

    Raises:
        WeightsNotFound: the model is not there.
        InvalidSetting: it cannot be loaded, or not on the device asked for.
    """
    check_device(settings)
    path = resolve_weights(_MODEL_KEY, settings.model, "gguf")
    llama_cpp.llama_log_set(_keep_errors, ctypes.c_void_p())
    _errors.clear()
    try:
        llama = llama_cpp.Llama(
            str(path),
            n_ctx=_SMALLEST_CONTEXT,
            n_batch=_SMALLEST_CONTEXT,
            n_gpu_layers=settings.gpu_layers,
            main_gpu=settings.main_gpu,
            split_mode=_split_mode(settings),
            verbose=False,
        )
    except (
        ValueError,
        RuntimeError,
        MemoryError,
        UnicodeDecodeError,
        jinja2.TemplateError,
    ) as error:
        reason = "; ".join([str(error), *_errors])
        raise InvalidSetting(_MODEL_KEY, f"llama.cpp cannot load it: {reason}") from error
    trained = llama_cpp.llama_model_n_ctx_train(llama.model)
    if settings.context_tokens > trained:
        logger.warning(
            "llm.context_tokens is more than the model was trained with",
            extra={"context_tokens": settings.context_tokens, "trained_tokens": trained},
        )
    return llama


def check_device(settings: LlamaCppSettings) -> None:
    """Whether llama.cpp can use the GPU that is asked for.

    Raises:
        InvalidSetting: it cannot.
    """
    if settings.gpu_layers == 0:
        return
    if not llama_cpp.llama_supports_gpu_offload():
        raise InvalidSetting(
            "llm.gpu_layers",
            "this build of llama-cpp-python has no GPU support; build it for the GPU "
            "(LLAMA_CMAKE_ARGS=-DGGML_CUDA=on make serve) or set 0",
        )
    count = gpu_count()
    if count is not None and settings.main_gpu >= count:
        raise InvalidSetting("llm.main_gpu", f"llama.cpp sees {count} GPUs, counted from 0")


def gpu_count() -> int | None:
    """How many GPUs llama.cpp sees; None where its libraries do not tell."""
    folder = Path(llama_cpp.__file__).parent / "lib"
    with contextlib.suppress(OSError, AttributeError):
        devices = ctypes.CDLL(str(folder / "libggml.so"))
        types = ctypes.CDLL(str(folder / "libggml-base.so"))
        devices.ggml_backend_dev_count.restype = ctypes.c_size_t
        devices.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
        devices.ggml_backend_dev_get.restype = ctypes.c_void_p
        types.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
        return sum(
            types.ggml_backend_dev_type(devices.ggml_backend_dev_get(index)) == _GGML_DEVICE_GPU
            for index in range(devices.ggml_backend_dev_count())
        )
    return None


def _split_mode(settings: LlamaCppSettings) -> int:
    """All on the GPU that was named; on all GPUs where none was."""
    if settings.main_gpu > 0:
        return llama_cpp.LLAMA_SPLIT_MODE_NONE
    return llama_cpp.LLAMA_SPLIT_MODE_LAYER


@llama_cpp.llama_log_callback
def _keep_errors(level: int, text: bytes, _data: object) -> None:
    if level == _GGML_LOG_ERROR:
        _errors.append(text.decode("utf-8", "replace").strip())
