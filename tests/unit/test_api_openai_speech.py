"""OpenAI's speech, mostly through the official client; what comes is decoded."""

import base64
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from configs.settings import FakeTtsSettings
from deployments.errors import StageFailed, StageOverloaded
from tests.unit.counted_caller import counting
from tests.unit.fake_services import RATE, SECONDS_PER_CHAR, Served, quick_settings, serving
from tests.unit.http_answers import decoded, problem
from tests.unit.leaving_client import converse, data_events, leave_after
from tests.unit.openai_client import openai_client

TEXT = "Hello there, my good old friend. How are you?"
TEXT_S = (len(TEXT) - 1) * SECONDS_PER_CHAR  # the space between the sentences is not spoken
PATH = "/v1/audio/speech"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


@pytest.fixture(scope="module")
def client(served: Served) -> OpenAI:
    return openai_client(served)


def speak(client: OpenAI, **fields: Any) -> Any:
    body: dict[str, Any] = {"input": TEXT, "model": "gpt-4o-mini-tts", "voice": "alloy", **fields}
    return client.audio.speech.create(**body)


def send(served: Served, **body: Any) -> Any:
    return served.client.post(PATH, json={"input": TEXT, **body})


FORMATS = {
    # name: (media type, rate that is reported for the voice's 22,050 Hz, rate a decoder puts out)
    "mp3": ("audio/mpeg", RATE, RATE),
    "opus": ("audio/ogg", 24_000, 48_000),
    "aac": ("audio/aac", RATE, RATE),
    "flac": ("audio/flac", RATE, RATE),
    "wav": ("audio/wav", RATE, RATE),
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_audio_is_what_the_headers_say(client: OpenAI, name: str) -> None:
    media_type, reported, heard_rate = FORMATS[name]
    answer = speak(client, response_format=name)
    headers = answer.response.headers
    assert headers["content-type"] == media_type
    assert (headers["x-audio-format"], headers["x-sample-rate"]) == (name, str(reported))
    rate, duration_s = decoded(answer.content)
    assert rate == heard_rate
    assert duration_s == pytest.approx(TEXT_S, abs=0.12)


def test_speech_is_mp3_where_no_format_is_asked_for(client: OpenAI) -> None:
    assert speak(client).response.headers["content-type"] == "audio/mpeg"


def test_bare_samples_come_at_24_khz(client: OpenAI) -> None:
    answer = speak(client, response_format="pcm")
    assert answer.response.headers["x-sample-rate"] == "24000"
    assert len(answer.content) / 2 / 24_000 == pytest.approx(TEXT_S, abs=0.01)


@pytest.mark.parametrize("name", ["pcm", "wav"])
def test_another_rate_may_be_asked_for(client: OpenAI, name: str) -> None:
    answer = speak(client, response_format=name, extra_body={"sample_rate": 8_000})
    assert answer.response.headers["x-sample-rate"] == "8000"
    assert len(answer.content) / 2 / 8_000 == pytest.approx(TEXT_S, abs=0.01)


@pytest.mark.parametrize(
    ("voice", "name"),
    [("alloy", "tone"), ("high", "high"), ({"id": "high"}, "high"), ({"id": "nova"}, "tone")],
    ids=str,
)
def test_a_voice_is_a_name_an_id_or_one_of_openais(
    served: Served, client: OpenAI, voice: Any, name: str
) -> None:
    speak(client, voice=voice)
    assert served.tts.requests[-1].voice == name


def test_a_request_needs_no_more_than_a_text(served: Served) -> None:
    assert send(served).status_code == 200
    assert served.tts.requests[-1].voice == "tone"


def test_the_pace_is_the_one_asked_for(served: Served, client: OpenAI) -> None:
    answer = speak(client, speed=2.0, response_format="wav")
    assert served.tts.requests[-1].speed == 2.0
    assert decoded(answer.content)[1] == pytest.approx(TEXT_S / 2, abs=0.01)


def test_a_seed_is_an_addition(served: Served, client: OpenAI) -> None:
    speak(client, extra_body={"seed": 7})
    assert served.tts.requests[-1].seed == 7


def test_the_first_clause_is_spoken_early(served: Served, client: OpenAI) -> None:
    speak(client)
    assert served.tts.requests[-1].early


def test_instructions_that_no_voice_can_follow_are_told_of(client: OpenAI) -> None:
    told, plain = speak(client, instructions="Whisper."), speak(client)
    assert told.response.headers["x-ignored-parameters"] == "instructions"
    assert "x-ignored-parameters" not in plain.response.headers
    assert told.content == plain.content


# ---- events -------------------------------------------------------------------------------------


def test_events_join_to_the_audio_and_end_with_the_usage(client: OpenAI) -> None:
    answer = speak(client, response_format="wav", stream_format="sse")
    assert answer.response.headers["content-type"].startswith("text/event-stream")
    *deltas, done = data_events(answer.text)
    assert len(deltas) > 1
    assert {tuple(delta) for delta in deltas} == {("type", "audio")}
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    audio = b"".join(base64.b64decode(delta["audio"]) for delta in deltas)
    assert decoded(audio) == (RATE, pytest.approx(TEXT_S, abs=0.01))
    words, spoken = len(TEXT.split()), done["usage"]["output_tokens"]
    assert done == {
        "type": "speech.audio.done",
        "usage": {"input_tokens": words, "output_tokens": spoken, "total_tokens": words + spoken},
    }
    assert spoken == pytest.approx(20 * TEXT_S, abs=1)


def test_a_failure_later_ends_the_events_with_the_error(served: Served) -> None:
    with served.broken("tts", StageFailed("tts"), after=1):
        delta, error = data_events(send(served, stream_format="sse", response_format="wav").text)
    assert delta["type"] == "speech.audio.delta"
    assert (error["error"]["code"], error["error"]["type"]) == ("stage_failed", "server_error")
    assert error["error"]["request_id"]


async def test_a_failure_later_breaks_the_audio_off(served: Served) -> None:
    answers: list[Any] = []
    body = {"input": TEXT, "response_format": "wav"}
    with served.broken("tts", StageFailed("tts"), after=1), pytest.raises(RuntimeError):
        await converse(served, 99, answers, PATH, json=body)
    assert (answers[0]["status"], len(answers)) == (200, 2)
    assert answers[1]["more_body"]  # no end: it cannot pass for whole


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
def test_a_failure_at_once_has_its_own_status(served: Served, stream_format: str) -> None:
    with served.broken("tts", StageOverloaded("tts")):
        served.services.catalog = served.tts.engine.voices()
        response = send(served, stream_format=stream_format)
    assert problem(response) == (503, "stage_overloaded", None)


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
def test_what_is_spoken_is_counted_once(served: Served, stream_format: str) -> None:
    with counting(served) as caller:
        send(served, stream_format=stream_format)
    assert caller.spoken_s == [pytest.approx(TEXT_S, abs=0.01)]
    assert caller.heard_s == []


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
async def test_a_client_that_goes_away_ends_the_speech(stream_format: str) -> None:
    slow = FakeTtsSettings(first_audio_s=0, real_time_factor=0.02, sample_rate=RATE)
    body = {"input": "Go on. " * 500, "response_format": "wav", "stream_format": stream_format}
    with serving(quick_settings(tts=slow)) as served, counting(served) as caller:
        answers = await leave_after(served, 3, PATH, json=body)
        assert served.tts.closed.is_set()
    assert len(answers) < 10  # the audio came while it was made, and no more of it
    assert len(caller.spoken_s) == 1
    assert 0 < caller.spoken_s[0] < 10


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"input": ""}, 400, "invalid_parameter", "input"),
        ({"input": "x" * 4097}, 400, "text_too_long", "input"),
        ({"input": "😀 ... ___"}, 400, "invalid_parameter", "input"),
        ({"input": ["a"]}, 400, "invalid_parameter", "input"),
        ({"model": "nobody"}, 404, "model_not_found", "model"),
        ({"model": "fake-stt"}, 404, "model_not_found", "model"),
        ({"model": "x" * 129}, 400, "invalid_parameter", "model"),
        ({"voice": "nobody"}, 404, "voice_not_found", "voice"),
        ({"voice": "../etc"}, 404, "voice_not_found", "voice"),
        ({"voice": {"id": "nobody"}}, 404, "voice_not_found", "voice"),
        ({"voice": {"id": 5}}, 400, "invalid_parameter", "voice"),
        ({"voice": {"name": "high"}}, 400, "invalid_parameter", "voice"),
        ({"voice": {"id": "high", "pitch": 1}}, 400, "invalid_parameter", "voice"),
        ({"voice": "x" * 65}, 400, "invalid_parameter", "voice"),
        ({"instructions": "x" * 4097}, 400, "invalid_parameter", "instructions"),
        ({"response_format": "midi"}, 400, "invalid_parameter", "response_format"),
        ({"stream_format": "ndjson"}, 400, "invalid_parameter", "stream_format"),
        ({"speed": 0.2}, 400, "invalid_parameter", "speed"),
        ({"speed": 4.1}, 400, "invalid_parameter", "speed"),
        ({"sample_rate": 4_000}, 400, "invalid_parameter", "sample_rate"),
        (
            {"response_format": "opus", "sample_rate": 22_050},
            400,
            "invalid_parameter",
            "sample_rate",
        ),
        ({"stream": True}, 400, "unknown_parameter", "stream"),
    ],
)
def test_what_cannot_be_spoken_is_refused(
    served: Served, body: dict[str, Any], status: int, code: str, param: str
) -> None:
    asked = len(served.tts.requests)
    assert problem(send(served, **body)) == (status, code, param)
    assert len(served.tts.requests) == asked


def test_the_client_raises_what_it_raises_for_openai(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        speak(client, voice="nobody")
    assert (raised.value.code, raised.value.param) == ("voice_not_found", "voice")


# ---- voices and models --------------------------------------------------------------------------


def test_the_voices_are_listed_for_both_kinds_of_reader(served: Served) -> None:
    body = served.client.get("/v1/audio/voices").json()
    assert body["object"] == "list"
    assert body["voices"] == body["data"]
    assert [(voice["id"], voice["name"]) for voice in body["voices"]] == [
        ("tone", "tone"),
        ("high", "high"),
    ]
    assert [voice["id"] for voice in body["data"] if voice["default"]] == ["tone"]


def test_every_voice_that_is_listed_can_speak(served: Served, client: OpenAI) -> None:
    for voice in served.client.get("/v1/audio/voices").json()["voices"]:
        answer = speak(client, voice=voice["id"], response_format="wav")
        assert decoded(answer.content)[0] == voice["sample_rate"]


def test_the_models_that_are_listed_can_speak(served: Served, client: OpenAI) -> None:
    models = served.client.get("/v1/audio/models").json()["models"]
    assert [model["id"] for model in models] == ["fake-tts"]
    assert speak(client, model=models[0]["id"]).content
