"""The realtime server of Hugging Face's `speech-to-speech`, with the models that are served here.

It lives in an environment of its own; `docs/performance.md` says how that is made. NLTK_DATA
and TORCH_HOME name the folders with the data that it would fetch.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx2

from benchmarks.peer_models import RATE
from benchmarks.server import free_port
from configs.settings import AppSettings, WhisperSettings
from deployments.weights import resolve_weights

_READY_S = 180.0
_END_S = 20.0
_PAUSE_MS = 64  # its own end of speech, behind which it begins to work
_SMART_TURN = "audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx"
DEFAULTS: tuple[str, ...] = ()


def equal_delay(silence_ms: int) -> tuple[str, ...]:
    """Options by which a turn ends after this silence; STT and LLM still begin at the pause."""
    return (
        "--no_smart_turn",
        *("--min_silence_ms", str(_PAUSE_MS)),
        *("--speculative_reopen_ms", str(silence_ms - _PAUSE_MS)),
    )


@dataclass(frozen=True, slots=True)
class Peer:
    """Where it is installed, and what it is to use."""

    program: Path  # its `speech-to-speech`
    settings: AppSettings
    config: Path

    @contextlib.contextmanager
    def serving(self, options: Sequence[str] = DEFAULTS) -> Generator[str, None, None]:
        """The address of its realtime socket, while it runs."""
        models, port = free_port(), free_port()
        with (
            tempfile.TemporaryDirectory() as folder,
            _running(
                [sys.executable, "-m", "benchmarks.peer_models", str(models), str(self.config)],
                f"http://127.0.0.1:{models}/v1/models",
            ),
            _running(
                self._command(port, models, options),
                f"http://127.0.0.1:{port}/docs",
                cwd=folder,
                **_OFFLINE,
            ),
        ):
            yield f"ws://127.0.0.1:{port}/v1/realtime"

    def _command(self, port: int, models: int, options: Sequence[str]) -> list[str]:
        assert isinstance(self.settings.stt, WhisperSettings)
        whisper = resolve_weights("stt.model", self.settings.stt.model, "whisper")
        base = f"http://127.0.0.1:{models}/v1"
        chosen = {
            "host": "127.0.0.1",
            "port": port,
            "device": "cpu",
            "stt": "faster-whisper",
            "faster_whisper_stt_model_name": whisper,
            "faster_whisper_stt_device": "cpu",
            "faster_whisper_stt_compute_type": self.settings.stt.compute_type,
            "llm_backend": "chat-completions",
            "model_name": "peer",
            "responses_api_base_url": base,
            "responses_api_api_key": "none",
            "tts": "openai",
            "openai_tts_base_url": base,
            "openai_tts_api_key": "none",
            "openai_tts_model": "peer",
            "openai_tts_voice": "peer",
            "openai_tts_response_format": "pcm",
            "openai_tts_sample_rate": RATE,
            "smart_turn_model_path": _smart_turn(),
        }
        named = [text for name, value in chosen.items() for text in (f"--{name}", str(value))]
        return [str(self.program), "serve", *named, *options]


_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


def _smart_turn() -> Path:
    spec = find_spec("pipecat")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / _SMART_TURN


@contextlib.contextmanager
def _running(
    command: Sequence[str], answers: str, cwd: str | None = None, **environ: str
) -> Generator[None, None, None]:
    """A program, once it answers at an address."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=os.environ | environ,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait(process, answers)
            yield
        except BaseException:
            log.seek(0)
            print(log.read()[-3000:].decode(errors="replace"), file=sys.stderr)
            raise
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and what it started."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
            return


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx2.HTTPError):
            if httpx2.get(url, trust_env=False).status_code == 200:
                return
        time.sleep(0.5)
    raise TimeoutError(f"{url} does not answer")
