"""What the OpenAudio engine refuses to start with, and what it leaves alone in its process."""

import json
import shutil
import subprocess
import sys
import threading
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from configs.settings import OpenAudioSettings
from deployments.audio import Pcm
from deployments.errors import (
    AudioTooLong,
    InvalidAudio,
    InvalidParameter,
    InvalidSetting,
    StartupError,
    TextTooLong,
    WeightsNotFound,
)
from deployments.messages import SpeechRequest, VoiceReference
from deployments.tts.openaudio.engine import OpenAudioEngine

pytestmark = pytest.mark.model


def start(folder: Path, **settings: Any) -> OpenAudioEngine:
    wanted = {"device": "cpu", "dtype": "float32", "workers": 1, "max_seq_len": 512} | settings
    return OpenAudioEngine(OpenAudioSettings(model=str(folder), **wanted))


# ---- checkpoints ------------------------------------------------------------------------------


def changed_weights(file: str, change: Callable[[dict[str, torch.Tensor]], None]) -> Any:
    def change_file(folder: Path) -> None:
        weights = torch.load(folder / file, weights_only=True)
        change(weights)
        torch.save(weights, folder / file)

    return change_file


def changed_json(file: str, change: Callable[[dict[str, Any]], None]) -> Any:
    def change_file(folder: Path) -> None:
        data = json.loads((folder / file).read_text())
        change(data)
        (folder / file).write_text(json.dumps(data))

    return change_file


NORM = "layers.1.attention.q_norm.weight"
BIAS = "quantizer.downsample.0.0.conv.bias"
WRONG = {
    "no config": (lambda f: (f / "config.json").unlink(), "no 'config.json'"),
    "no weights": (lambda f: (f / "model.pth").unlink(), "no 'model.pth'"),
    "no codec": (lambda f: (f / "codec.pth").unlink(), "no 'codec.pth'"),
    "no tokenizer": (lambda f: (f / "tokenizer.tiktoken").unlink(), "no 'tokenizer.tiktoken'"),
    "no special tokens": (lambda f: (f / "special_tokens.json").unlink(), "'special_tokens.json'"),
    "a page in the place of weights": (
        lambda f: (f / "model.pth").write_text("<html>"),
        "'model.pth' is no PyTorch checkpoint",
    ),
    "a list in the place of weights": (
        lambda f: torch.save([1, 2], f / "model.pth"),
        "'model.pth' does not hold named weights",
    ),
    "a weight is missing": (changed_weights("model.pth", lambda w: w.pop(NORM)), f"lacks {NORM}"),
    "a weight is too many": (
        changed_weights("model.pth", lambda w: w.update({"lora.A": torch.zeros(1)})),
        "holds what the model has not: lora.A",
    ),
    "a weight of another shape": (
        changed_weights("model.pth", lambda w: w.update({NORM: torch.ones(8)})),
        f"'{NORM}' has the shape (8,), not (16,)",
    ),
    "the codec lacks a weight": (changed_weights("codec.pth", lambda w: w.pop(BIAS)), BIAS),
    "an empty codec": (changed_weights("codec.pth", lambda w: w.clear()), "'codec.pth' lacks"),
    "another kind of model": (
        changed_json("config.json", lambda c: c.update(model_type="naive")),
        "'model_type'",
    ),
    "no number of layers": (changed_json("config.json", lambda c: c.pop("n_layer")), "'n_layer'"),
    "no layers": (changed_json("config.json", lambda c: c.update(n_layer=0)), "'n_layer'"),
    "broken JSON": (lambda f: (f / "config.json").write_text("{"), "config.json"),
    "a token of sound is missing": (
        changed_json("special_tokens.json", lambda t: t.pop("<|semantic:77|>")),
        "<|semantic:…|>",
    ),
    "no end of speech": (
        changed_json("special_tokens.json", lambda t: t.pop("<|im_end|>")),
        "lacks '<|im_end|>'",
    ),
    "a broken tokenizer": (
        lambda f: (f / "tokenizer.tiktoken").write_text("no ranks here"),
        "no tokenizer",
    ),
    "a codec that would run code": (
        lambda f: (f / "codec.yaml").write_text("_target_: os.system"),
        "no size '_target_'",
    ),
    "a size that the codec has not": (
        lambda f: (f / "codec.yaml").write_text("width: 3"),
        "no size 'width'",
    ),
}


@pytest.mark.parametrize(("change", "reason"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_checkpoint_fails_at_start_and_says_why(
    openaudio_checkpoint: Path, tmp_path: Path, change: Callable[[Path], object], reason: str
) -> None:
    folder = Path(shutil.copytree(openaudio_checkpoint, tmp_path / "s1"))
    change(folder)
    with pytest.raises(WeightsNotFound) as caught:
        start(folder)
    assert caught.value.key == "tts.model"
    assert reason in caught.value.reason


def test_weights_may_have_the_names_of_training(openaudio_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(openaudio_checkpoint, tmp_path / "s1"))
    weights = torch.load(folder / "model.pth", weights_only=True)
    named = {f"model.{name}": weight for name, weight in weights.items()}
    torch.save({"state_dict": named | {"optimizer": torch.zeros(1)}}, folder / "model.pth")
    start(folder).close()


def test_a_device_that_is_not_here_is_named(openaudio_checkpoint: Path) -> None:
    with pytest.raises(InvalidSetting) as caught:
        start(openaudio_checkpoint, device="cuda:7")
    assert caught.value.key == "tts.device"


# ---- voices of the configuration --------------------------------------------------------------


def write_recording(path: Path, seconds: float = 1.0, words: str | None = "Selamat pagi.") -> Path:
    path.parent.mkdir(exist_ok=True)
    noise = np.random.default_rng(len(path.name)).normal(0, 3000, int(seconds * 16_000))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(noise.astype("<i2").tobytes())
    if words is not None:
        path.with_suffix(".lab").write_text(words)
    return path


def test_voices_of_the_configuration_speak(openaudio_checkpoint: Path, tmp_path: Path) -> None:
    file = write_recording(tmp_path / "budi.wav")
    write_recording(tmp_path / "siti" / "one.wav")
    write_recording(tmp_path / "siti" / "two.wav", words="Apa kabar?")
    engine = start(
        openaudio_checkpoint,
        voices={"budi": str(file), "siti": str(tmp_path / "siti")},
        default_voice="siti",
        max_new_tokens=16,
        max_seq_len=1024,
    )
    catalog = engine.voices()
    assert catalog.default == "siti"
    assert [voice.name for voice in catalog.voices] == ["default", "budi", "siti"]
    assert [len(engine._voices[name]) for name in ("default", "budi", "siti")] == [0, 1, 2]
    assert engine._voices["budi"][0].text == "Selamat pagi."
    for name in ("default", "budi", "siti"):
        assert list(engine.synthesize(SpeechRequest("Ya.", name), threading.Event()))
    engine.close()


def not_audio(folder: Path) -> Path:
    (folder / "noise.wav").write_text("this is no recording")
    (folder / "noise.lab").write_text("words")
    return folder / "noise.wav"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: folder / "nothing.wav", "no recording"),
        (lambda folder: folder, "no recording"),
        (lambda folder: write_recording(folder / "mute.wav", words=None), "'mute.lab'"),
        (lambda folder: write_recording(folder / "long.wav", 40), "longer than 30"),
        (lambda folder: write_recording(folder / "short.wav", 0.1), "at least 0.5"),
        (lambda folder: write_recording(folder / "a.wav", words="x" * 2000), "2000"),
        (not_audio, "cannot be read"),
    ],
)
def test_a_voice_that_cannot_be_used_fails_at_start(
    openaudio_checkpoint: Path, tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    with pytest.raises(InvalidSetting) as caught:
        start(openaudio_checkpoint, voices={"budi": str(make(tmp_path))})
    assert caught.value.key == "tts.voices.budi"
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    "settings", [{"default_voice": "nobody"}, {"voices": {"default": "/tmp"}}], ids=str
)
def test_names_of_voices_must_fit(openaudio_checkpoint: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(StartupError):
        start(openaudio_checkpoint, **settings)


# ---- references of a request ------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine(openaudio_checkpoint: Path) -> Any:
    made = start(openaudio_checkpoint, max_references=2, max_reference_s=3.0)
    yield made
    made.close()


def silence(seconds: float) -> Pcm:
    return Pcm(bytes(2 * int(24_000 * seconds)), 24_000)


def test_recordings_are_bounded(engine: OpenAudioEngine) -> None:
    with pytest.raises(AudioTooLong):
        engine.encode_voice(silence(3.1), "Words.")
    with pytest.raises(InvalidAudio):
        engine.encode_voice(silence(0.2), "Words.")
    with pytest.raises(TextTooLong):
        engine.encode_voice(silence(1.0), "x" * 1001)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda r: [VoiceReference("a", r.codes, "other")], "another model"),
        (lambda r: [VoiceReference("a", r.codes[:-1], r.encoder)], "not whole"),
        (lambda r: [VoiceReference("a", b"", r.encoder)], "not whole"),
        (lambda r: [VoiceReference("a", b"\xff" * 40, r.encoder)], "no such codes"),
        (lambda r: [VoiceReference("x" * 1001, r.codes, r.encoder)], "longer than 1000"),
        (lambda r: [r] * 3, "at most 2"),
        (lambda r: [VoiceReference("a", r.codes * 5, r.encoder)], "longer than 3 seconds"),
    ],
)
def test_references_that_cannot_be_used_are_refused(
    engine: OpenAudioEngine, make: Callable[[VoiceReference], list[VoiceReference]], reason: str
) -> None:
    reference = engine.encode_voice(silence(1.0), "Words.")
    with pytest.raises(InvalidParameter) as caught:
        request = SpeechRequest("Hello.", references=tuple(make(reference)))
        list(engine.synthesize(request, threading.Event()))
    assert caught.value.name == "references"
    assert reason in caught.value.reason


# ---- side effects -----------------------------------------------------------------------------

PROGRAM = """
import logging, os, random, sys, threading
import numpy as np, torch
import torch._inductor.config as inductor

logging.basicConfig(level=logging.DEBUG)

def state():
    return (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(),
            dict(os.environ), inductor.save_config(), torch.get_num_threads(),
            torch.get_default_dtype(), torch.is_grad_enabled(),
            torch.backends.cudnn.deterministic, torch.are_deterministic_algorithms_enabled())

before = state()
from configs.settings import OpenAudioSettings
from deployments.messages import SpeechRequest
from deployments.tts.openaudio.engine import OpenAudioEngine
engine = OpenAudioEngine(OpenAudioSettings(
    model=sys.argv[1], device="cpu", dtype="float32", workers=2, max_new_tokens=16))
engine.warm_up()
assert list(engine.synthesize(SpeechRequest("canary-4711 speaks.", seed=5), threading.Event()))
engine.close()
after = state()
assert before == after, [i for i, (a, b) in enumerate(zip(before, after)) if a != b]
left = [n for n in sys.modules if n.split(".")[0] in ("audiotools", "librosa", "soundfile", "dac")]
assert not left, left
assert "transformers" not in sys.modules
"""


def test_nothing_else_in_the_process_is_changed(openaudio_checkpoint: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(openaudio_checkpoint)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "canary" not in ran.stdout + ran.stderr
    assert "non-commercial" in ran.stderr
