"""Text to speech over HTTP; what comes is decoded and compared with what was promised."""

import base64
import io
import re
import wave
from collections.abc import Iterator
from typing import Any

import av
import pytest

from configs.settings import AudioSettings
from deployments.errors import StageFailed, StageOverloaded
from deployments.messages import SpeechRequest
from tests.unit.counted_caller import counting
from tests.unit.fake_services import RATE, SECONDS_PER_CHAR, Served, quick_settings, serving
from tests.unit.http_answers import decoded, problem, sse_events

TEXT = "Hello there. How are you?"
TEXT_S = (len(TEXT) - 1) * SECONDS_PER_CHAR  # the space between the sentences is not spoken


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


def speak(served: Served, accept: str = "*/*", **body: Any) -> Any:
    return served.client.post(
        "/v1/text-to-speech", json={"text": TEXT, **body}, headers={"accept": accept}
    )


FORMATS = {
    # name: (media type, rate that is reported for the voice's 22,050 Hz, rate a decoder puts out)
    "wav": ("audio/wav", RATE, RATE),
    "flac": ("audio/flac", RATE, RATE),
    "mp3": ("audio/mpeg", RATE, RATE),
    "aac": ("audio/aac", RATE, RATE),
    "opus": ("audio/ogg", 24_000, 48_000),
    "ogg": ("audio/ogg", 24_000, 48_000),
}


def test_speech_comes_as_json_by_default(served: Served) -> None:
    response = speak(served)
    body = response.json()
    assert set(body) == {"audio_base64", "response_format", "media_type", "sample_rate"}
    assert (body["response_format"], body["media_type"]) == ("wav", "audio/wav")
    rate, duration_s = decoded(base64.b64decode(body["audio_base64"]))
    assert rate == body["sample_rate"] == RATE
    assert duration_s == pytest.approx(TEXT_S, abs=0.01)
    assert served.tts.requests[-1] == SpeechRequest(TEXT, "tone", 1.0, language="en")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", FORMATS)
def test_the_audio_is_what_the_headers_say(served: Served, name: str, stream: bool) -> None:
    media_type, reported, heard_rate = FORMATS[name]
    response = speak(served, accept="audio/*", response_format=name, stream=stream)
    assert response.status_code == 200
    assert response.headers["content-type"] == media_type
    assert response.headers["x-sample-rate"] == str(reported)
    rate, duration_s = decoded(response.content)
    assert rate == heard_rate
    assert duration_s == pytest.approx(TEXT_S, abs=0.12)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_bare_samples_have_no_header(served: Served, stream: bool) -> None:
    response = speak(served, "audio/*", format="pcm", sample_rate=16_000, stream=stream)
    assert response.headers["x-sample-rate"] == "16000"
    assert len(response.content) / 2 / 16_000 == pytest.approx(TEXT_S, abs=0.01)


@pytest.mark.parametrize("name", ["wav", "mp3", "opus"])
@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
def test_the_rate_that_was_asked_for_is_the_one_inside(
    served: Served, name: str, rate: int
) -> None:
    body = speak(served, format=name, sample_rate=rate).json()
    assert body["sample_rate"] == rate
    heard_rate, duration_s = decoded(base64.b64decode(body["audio_base64"]))
    assert heard_rate == (48_000 if name == "opus" else rate)
    assert duration_s == pytest.approx(TEXT_S, abs=0.2)


def test_a_stream_of_events_joins_to_one_file(served: Served) -> None:
    response = speak(served, stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    *chunks, end = sse_events(response.text)
    assert end == ("done", {"status": "complete"})
    assert {name for name, _ in chunks} == {"audio_chunk"}
    assert len(chunks) > 1
    rate, duration_s = decoded(b"".join(base64.b64decode(data) for _, data in chunks))
    assert (rate, duration_s) == (RATE, pytest.approx(TEXT_S, abs=0.01))


def test_the_voice_and_the_pace_are_the_ones_asked_for(served: Served) -> None:
    body = speak(served, voice="high", speed=2.0).json()
    assert body["reference_id"] == "high"
    assert served.tts.requests[-1] == SpeechRequest(TEXT, "high", 2.0, language="en")
    assert decoded(base64.b64decode(body["audio_base64"]))[1] == pytest.approx(TEXT_S / 2, abs=0.01)


def test_volume_is_a_gain_in_decibels(served: Served) -> None:
    peaks = {}
    for volume in (-20.0, 0.0, 20.0):
        samples = speak(served, "audio/*", format="pcm", volume=volume).content
        peaks[volume] = max(memoryview(samples).cast("h"))
    assert peaks[-20.0] == pytest.approx(peaks[0.0] / 10, rel=0.01)
    assert peaks[20.0] == 32_767  # as loud as it can be, without turning over


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_every_wish_reaches_the_voice(served: Served, stream: bool) -> None:
    wishes = {
        "normalize": False,
        "chunk_length": 100,
        "temperature": 0.1,
        "top_p": 1.0,
        "seed": 7,
    }
    assert speak(served, stream=stream, latency="low", **wishes).status_code == 200
    assert served.tts.requests[-1] == SpeechRequest(
        TEXT,
        "tone",
        normalize=False,
        chunk_chars=100,
        early=True,
        temperature=0.1,
        top_p=1.0,
        seed=7,
        language="en",
    )


@pytest.mark.parametrize(
    ("latency", "early"), [(None, False), ("normal", False), ("balanced", True), ("low", True)]
)
def test_a_low_latency_starts_early(served: Served, latency: str | None, early: bool) -> None:
    speak(served, latency=latency)
    assert served.tts.requests[-1].early == early


@pytest.mark.parametrize("normalize", [True, False])
def test_loudness_is_the_configurations_where_nothing_is_said(normalize: bool) -> None:
    audio = AudioSettings(default_normalize=normalize)
    with serving(quick_settings(audio=audio)) as configured:
        speak(configured)
        speak(configured, normalize=not normalize)
    found = [request.normalize for request in configured.tts.requests]
    assert found == [normalize, not normalize]


def test_the_header_of_a_whole_file_tells_its_length(served: Served) -> None:
    for body in ({}, {"sample_rate": 16_000}, {"sample_rate": 48_000}):
        data = speak(served, "audio/*", format="wav", **body).content
        with wave.open(io.BytesIO(data)) as file:
            assert file.getnframes() * 2 == len(data) - 44
        flac = speak(served, "audio/*", format="flac", **body).content
        with av.open(io.BytesIO(flac)) as container:
            assert container.duration is not None


@pytest.mark.parametrize("accept", ["*/*", "audio/*"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_what_is_spoken_is_counted_once(served: Served, stream: bool, accept: str) -> None:
    with counting(served) as caller:
        speak(served, accept, stream=stream, format="mp3")
    assert caller.spoken_s == [pytest.approx(TEXT_S, abs=0.01)]
    assert caller.heard_s == []


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_what_was_spoken_before_a_failure_is_counted(served: Served, stream: bool) -> None:
    with counting(served) as caller, served.broken("tts", StageFailed("tts"), after=1):
        speak(served, stream=stream)
    assert caller.spoken_s == [pytest.approx(12 * SECONDS_PER_CHAR, abs=0.01)]


def test_a_whole_answer_that_fails_in_its_middle_has_its_own_status(served: Served) -> None:
    with served.broken("tts", StageFailed("tts"), after=1):
        assert problem(speak(served)) == (500, "stage_failed", None)


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"voice": "nobody"}, 404, "voice_not_found", "voice"),
        ({"voice": "../etc"}, 404, "voice_not_found", "voice"),
        ({"voice": "x" * 65}, 400, "invalid_parameter", "reference_id|voice"),
        ({"text": ""}, 400, "invalid_parameter", "text"),
        ({"text": "x" * 4097}, 400, "text_too_long", "text"),
        ({"format": "midi"}, 400, "invalid_parameter", "response_format"),
        ({"format": "opus", "sample_rate": 22_050}, 400, "invalid_parameter", "sample_rate"),
        ({"sample_rate": 4_000}, 400, "invalid_parameter", "sample_rate"),
        ({"speed": 5}, 400, "invalid_parameter", "speed"),
        ({"references": ["a"]}, 400, "invalid_parameter", r"references\.0"),
        ({"text": "😀 ... ___"}, 400, "invalid_parameter", "text"),
        ({"temperature": 2.1}, 400, "invalid_parameter", "temperature"),
        ({"top_p": 0.9}, 400, "invalid_parameter", "top_p"),
        ({"seed": -1}, 400, "invalid_parameter", "seed"),
        ({"seed": 2**32 - 1}, 400, "invalid_parameter", "seed"),
        ({"chunk_length": 99}, 400, "invalid_parameter", "chunk_length"),
        ({"latency": "none"}, 400, "invalid_parameter", "latency"),
        ({"pitch": 1}, 400, "unknown_parameter", "pitch"),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_what_cannot_be_spoken_is_refused(
    served: Served, stream: bool, body: dict[str, Any], status: int, code: str, param: str
) -> None:
    found = problem(speak(served, stream=stream, **body))
    assert found[:2] == (status, code)
    assert found[2] is not None
    assert re.fullmatch(param, found[2])


@pytest.mark.parametrize("accept", ["*/*", "audio/*"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_voice_that_fails_at_once_has_its_own_status(
    served: Served, stream: bool, accept: str
) -> None:
    speak(served)  # the voices are known, so that the failure is the synthesis
    with served.broken("tts", StageOverloaded("tts")):
        served.services.catalog = served.tts.engine.voices()
        response = speak(served, accept, stream=stream)
    assert problem(response) == (503, "stage_overloaded", None)


def test_a_voice_that_fails_later_ends_the_events_with_the_error(served: Served) -> None:
    with served.broken("tts", StageFailed("tts"), after=1):
        events = sse_events(speak(served, stream=True).text)
    assert [name for name, _ in events] == ["audio_chunk", "error"]
    assert events[-1][1]["error"]["code"] == "stage_failed"
    assert events[-1][1]["error"]["request_id"]


@pytest.mark.parametrize("path", ["/v1/text-to-speech", "/v1/generate"])
def test_a_text_that_is_no_unicode_is_refused(served: Served, path: str) -> None:
    name = "text" if path == "/v1/text-to-speech" else "prompt"
    content = b'{"%s": "a\\ud800b"}' % name.encode()
    headers = {"content-type": "application/json"}
    response = served.client.post(path, content=content, headers=headers)
    assert problem(response)[::2] == (400, name)
