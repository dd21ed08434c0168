"""Speech to text over HTTP."""

from collections.abc import Iterator
from typing import Any

import pytest

from deployments.errors import (
    RateLimited,
    StageFailed,
    StageOverloaded,
    StageTimeout,
    StageUnavailable,
)
from tests.unit.counted_caller import counting
from tests.unit.fake_services import HEARD, Served, serving
from tests.unit.http_answers import problem
from tests.unit.media_files import example, wav_bytes

SPEECH = wav_bytes(16_000, 1.0)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


def hear(served: Served, data: bytes = SPEECH, **form: str) -> Any:
    return served.client.post("/v1/speech-to-text", files={"file": data}, data=form)


def test_a_transcript_comes_as_json(served: Served) -> None:
    response = hear(served)
    assert response.status_code == 200
    body = response.json()
    assert (body["text"], body["language"], body["duration"]) == (HEARD, "en", 1.0)
    (segment,) = body["segments"]
    assert (segment["start"], segment["end"], segment["text"]) == (0.0, 1.0, f" {HEARD}")
    assert "words" not in segment


@pytest.mark.parametrize("name", ["mp3", "flac", "webm_opus", "m4a_aac"])
def test_uploads_of_several_kinds_are_heard(served: Served, name: str) -> None:
    body = hear(served, example(name)).json()
    assert body["text"] == HEARD
    assert body["duration"] == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize("form", [{"response_format": "verbose_json"}, {"word_timestamps": "true"}])
def test_words_come_with_their_times(served: Served, form: dict[str, str]) -> None:
    words = hear(served, **form).json()["segments"][0]["words"]
    assert [word["word"] for word in words] == HEARD.split()
    assert all(0 <= word["start"] < word["end"] <= 1.0 for word in words)


def test_a_transcript_comes_as_text(served: Served) -> None:
    response = hear(served, response_format="text")
    assert response.text == HEARD + "\n"
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


def test_a_transcript_comes_as_subtitles(served: Served) -> None:
    srt, vtt = (hear(served, response_format=name) for name in ("srt", "vtt"))
    assert srt.text == f"1\n00:00:00,000 --> 00:00:01,000\n{HEARD}\n"
    assert vtt.text == f"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{HEARD}\n"
    assert srt.headers["content-type"].startswith("application/x-subrip")
    assert vtt.headers["content-type"].startswith("text/vtt")


@pytest.mark.parametrize("response_format", ["json", "verbose_json", "text", "srt", "vtt"])
def test_silence_is_an_empty_transcript_in_every_format(
    served: Served, response_format: str
) -> None:
    silence = SPEECH[:44] + bytes(len(SPEECH) - 44)
    response = hear(served, silence, response_format=response_format)
    assert response.status_code == 200
    assert HEARD not in response.text


def test_every_field_reaches_the_engine(served: Served) -> None:
    hear(served, language="ES-mx", prompt="Paris", temperature="0.5", task="translate")
    request = served.stt.requests[-1]
    assert (request.language, request.prompt) == ("es", "Paris")
    assert (request.temperature, request.task) == (0.5, "translate")
    assert (request.audio.sample_rate, len(request.audio.samples)) == (16_000, 32_000)


def test_what_is_heard_is_counted_before_it_is_heard(served: Served) -> None:
    with counting(served) as caller:
        hear(served)
    assert (caller.heard_s, caller.spoken_s) == ([1.0], [])


def test_a_caller_without_a_share_left_is_not_heard(served: Served) -> None:
    asked = len(served.stt.requests)
    with counting(served, RateLimited("audio", 2.5)):
        response = hear(served)
    assert problem(response) == (429, "rate_limit_exceeded", None)
    assert response.headers["retry-after"] == "3"
    assert len(served.stt.requests) == asked


@pytest.mark.parametrize(
    ("form", "code", "param"),
    [
        ({"language": "xx"}, "unsupported_language", "language"),
        ({"language": "x" * 17}, "invalid_parameter", "language"),
        ({"response_format": "xml"}, "invalid_parameter", "response_format"),
        ({"temperature": "1.5"}, "invalid_parameter", "temperature"),
        ({"temperature": "warm"}, "invalid_parameter", "temperature"),
        ({"task": "sing"}, "invalid_parameter", "task"),
        ({"prompt": "x" * 4097}, "invalid_parameter", "prompt"),
    ],
)
def test_a_field_that_cannot_be_honoured_is_refused(
    served: Served, form: dict[str, str], code: str, param: str
) -> None:
    assert problem(hear(served, **form)) == (400, code, param)


@pytest.mark.parametrize("data", [b"not audio at all", b"RIFF\x00\x00\x00\x00WAVE", b"\x00" * 64])
def test_an_upload_that_is_no_audio_is_refused(served: Served, data: bytes) -> None:
    status, code, param = problem(hear(served, data))
    assert (status, param) == (400, "file")
    assert code in ("invalid_audio", "unsupported_format")


def test_a_request_without_a_file_is_refused(served: Served) -> None:
    response = served.client.post("/v1/speech-to-text", data={"language": "en"})
    assert problem(response) == (400, "missing_parameter", "file")


@pytest.mark.parametrize(
    ("error", "status", "code", "retry"),
    [
        (StageFailed("stt"), 500, "stage_failed", None),
        (StageUnavailable("stt"), 503, "stage_unavailable", "1"),
        (StageOverloaded("stt"), 503, "stage_overloaded", "1"),
        (StageTimeout("stt"), 504, "stage_timeout", "1"),
    ],
)
def test_a_stage_that_fails_is_told(
    served: Served, error: Any, status: int, code: str, retry: str | None
) -> None:
    with served.broken("stt", error):
        response = hear(served)
    assert problem(response) == (status, code, None)
    assert response.headers.get("retry-after") == retry
    assert hear(served).status_code == 200
