"""The libraries on their own, with the model, threads and options that the settings name."""

import json
import os
from pathlib import Path

import onnxruntime
from faster_whisper import WhisperModel
from llama_cpp import Llama
from piper import PiperVoice
from piper.config import PiperConfig

from configs.settings import LlamaCppSettings, PiperSettings, WhisperSettings
from deployments.weights import resolve_weights


def _half_the_cpus() -> int:
    return max(1, len(os.sched_getaffinity(0)) // 2)


def bare_whisper(settings: WhisperSettings) -> WhisperModel:
    """faster-whisper."""
    return WhisperModel(
        str(resolve_weights("stt.model", settings.model, "whisper")),
        device="cpu",
        compute_type=settings.compute_type,
        cpu_threads=settings.threads or min(4, len(os.sched_getaffinity(0))),
    )


def bare_llama(settings: LlamaCppSettings) -> Llama:
    """llama-cpp-python."""
    threads = settings.threads or _half_the_cpus()
    return Llama(
        str(resolve_weights("llm.model", settings.model, "gguf")),
        n_ctx=settings.context_tokens,
        n_threads=threads,
        n_threads_batch=threads,
        verbose=False,
    )


def bare_piper(settings: PiperSettings) -> PiperVoice:
    """The default voice of Piper."""
    path = resolve_weights("tts.voices", settings.voices[settings.default_voice], "piper")
    session = onnxruntime.SessionOptions()
    session.intra_op_num_threads = settings.threads or _half_the_cpus()
    session.inter_op_num_threads = 1
    return PiperVoice(
        session=onnxruntime.InferenceSession(
            str(path), sess_options=session, providers=["CPUExecutionProvider"]
        ),
        config=PiperConfig.from_dict(json.loads(Path(f"{path}.json").read_text("utf-8"))),
    )
