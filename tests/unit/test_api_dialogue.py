"""A whole spoken turn over HTTP."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from configs.settings import SPOKEN_PROMPT, LimitSettings
from deployments.errors import RateLimited, StageFailed, StageUnavailable
from deployments.messages import ChatMessage, Sampling, SpeechRequest
from tests.unit.counted_caller import counting
from tests.unit.fake_services import (
    HEARD,
    RATE,
    REPLY,
    SECONDS_PER_CHAR,
    Served,
    quick_settings,
    serving,
)
from tests.unit.http_answers import decoded, ndjson_events, problem
from tests.unit.media_files import wav_bytes

SPEECH = wav_bytes(16_000, 1.0)
SILENCE = SPEECH[:44] + bytes(len(SPEECH) - 44)
REPLY_S = (len(REPLY) - 1) * SECONDS_PER_CHAR
PHASES = ["decode", "transcript", "first_token", "first_clause", "first_audio", "reply", "total"]
OTHER_VOICE = {"voice": "high", "format": "mp3", "sample_rate": 24_000, "speed": 2.0}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(quick_settings(limits=LimitSettings(max_prompt_chars=100))) as served:
        yield served


def talk(served: Served, data: bytes = SPEECH, path: str = "/v1/dialogue", **form: str) -> Any:
    return served.client.post(path, files={"file": ("a.wav", data)}, data=form)


def stream(served: Served, data: bytes = SPEECH, **form: str) -> list[tuple[str, Any]]:
    response = talk(served, data, stream_audio="true", **form)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("application/x-ndjson")
    return ndjson_events(response.text)


def audio_of(events: list[tuple[str, Any]]) -> bytes:
    chunks = [data["audio_base64"] for name, data in events if name == "audio_chunk"]
    return b"".join(base64.b64decode(chunk) for chunk in chunks)


@pytest.mark.parametrize("path", ["/v1/dialogue", "/v1/conversation/dialogue"])
def test_a_turn_comes_as_json(served: Served, path: str) -> None:
    body = talk(served, path=path).json()
    assert body["transcript"]["text"] == HEARD
    assert (body["response_text"], body["finish_reason"]) == (REPLY, "stop")
    assert (body["response_format"], body["media_type"]) == ("wav", "audio/wav")
    rate, duration_s = decoded(base64.b64decode(body["audio_base64"]))
    assert rate == body["sample_rate"] == RATE
    assert duration_s == pytest.approx(REPLY_S, abs=0.01)
    assert "warning" not in body
    times = [body["timings"][f"{phase}_s"] for phase in PHASES]
    assert 0 < times[0] <= times[1] <= times[-1]
    assert max(times) == times[-1]


def test_a_streamed_turn_comes_in_order(served: Served) -> None:
    events = stream(served)
    names = [name for name, _ in events]
    assert names[:3] == ["metadata", "transcript", "assistant_text_delta"]
    assert names[-1] == "done"
    assert names.count("assistant_text") == names.count("done") == 1
    last_delta = max(i for i, name in enumerate(names) if name == "assistant_text_delta")
    assert names.index("assistant_text") > last_delta
    deltas = [data["text"] for name, data in events if name == "assistant_text_delta"]
    data_of = dict(events)
    assert "".join(deltas) == data_of["assistant_text"]["text"] == REPLY
    assert data_of["metadata"]["sample_rate"] == RATE
    assert set(data_of["done"]["timings"]) == {f"{phase}_s" for phase in PHASES}
    assert decoded(audio_of(events)) == (RATE, pytest.approx(REPLY_S, abs=0.01))


@pytest.mark.parametrize("name", ["mp3", "opus", "flac", "aac"])
def test_the_streamed_audio_is_one_file_in_every_format(served: Served, name: str) -> None:
    events = stream(served, synthesis_config=json.dumps({"format": name}))
    metadata = dict(events)["metadata"]
    rate, duration_s = decoded(audio_of(events))
    assert rate == (48_000 if name == "opus" else metadata["sample_rate"])
    # Without loss there is no padding either, so every sample must be there.
    assert duration_s == pytest.approx(REPLY_S, abs=0.001 if name == "flac" else 0.12)


def test_the_voice_of_a_turn_is_the_one_asked_for(served: Served) -> None:
    body = talk(served, synthesis_config=json.dumps(OTHER_VOICE)).json()
    assert (body["reference_id"], body["response_format"]) == ("high", "mp3")
    rate, duration_s = decoded(base64.b64decode(body["audio_base64"]))
    assert rate == body["sample_rate"] == 24_000
    assert duration_s == pytest.approx(REPLY_S / 2, abs=0.12)
    assert served.tts.requests[-1] == SpeechRequest(
        "It lies on the river Seine.", "high", 2.0, language="en"
    )


def test_every_wish_for_the_voice_reaches_it(served: Served) -> None:
    config = {
        "normalize": False,
        "chunk_length": 120,
        "latency": "low",
        "temperature": 0.3,
        "top_p": 1.0,
        "seed": 0,
    }
    talk(served, synthesis_config=json.dumps(config))
    assert served.tts.requests[-1] == SpeechRequest(
        "It lies on the river Seine.",
        "tone",
        normalize=False,
        chunk_chars=120,
        early=True,
        temperature=0.3,
        top_p=1.0,
        seed=0,
        language="en",
    )


def test_a_choice_that_the_voice_does_not_have_is_refused(served: Served) -> None:
    config = json.dumps({"top_p": 0.8})
    assert problem(talk(served, synthesis_config=config)) == (400, "invalid_parameter", "top_p")
    name, data = stream(served, synthesis_config=config)[-1]
    assert (name, data["error"]["param"]) == ("error", "top_p")


def test_the_generation_of_a_turn_is_the_one_asked_for(served: Served) -> None:
    config = {
        "max_tokens": 2,
        "temperature": 0.1,
        "stop": ["x"],
        "seed": 3,
        "system_prompt": "Sing.",
    }
    body = talk(served, generation_config=json.dumps(config)).json()
    assert (body["response_text"], body["finish_reason"]) == ("The capital", "length")
    request = served.llm.requests[-1]
    assert request.messages == (ChatMessage("system", "Sing."), ChatMessage("user", HEARD))
    assert request.sampling == Sampling(max_tokens=2, temperature=0.1, seed=3, stop=("x",))


def test_without_wishes_the_settings_decide(served: Served) -> None:
    talk(served, language="en-GB")
    request = served.llm.requests[-1]
    assert request.messages[0] == ChatMessage("system", SPOKEN_PROMPT)
    assert request.sampling == Sampling(max_tokens=200)
    assert served.stt.requests[-1].language == "en"


def test_instructions_go_before_the_system_prompt_of_the_config(served: Served) -> None:
    talk(served, instructions="Hum.", generation_config='{"system_prompt": "Sing."}')
    assert served.llm.requests[-1].messages[0] == ChatMessage("system", "Hum.")


def test_silence_is_answered_with_a_warning_alone(served: Served) -> None:
    before = len(served.llm.requests)
    body = talk(served, SILENCE).json()
    assert (body["transcript"]["text"], body["response_text"], body["audio_base64"]) == ("", "", "")
    assert body["warning"]["code"] == "no_speech"
    assert [name for name, _ in stream(served, SILENCE)] == [
        "metadata",
        "transcript",
        "warning",
        "done",
    ]
    assert len(served.llm.requests) == before


@pytest.mark.parametrize("after", [0, 1], ids=["at once", "after the first piece"])
def test_a_voice_that_fails_leaves_a_turn_with_a_warning(served: Served, after: int) -> None:
    with served.broken("tts", StageFailed("tts"), after):
        response, events = talk(served), stream(served)
    body = response.json()
    assert response.status_code == 200
    assert body["response_text"] == REPLY
    assert body["warning"] == {"code": "stage_failed", "message": "The tts stage failed."}
    names = [name for name, _ in events]
    assert names.count("warning") == 1
    assert dict(events)["assistant_text"]["text"] == REPLY
    assert names[-1] == "done"
    if after:
        assert decoded(base64.b64decode(body["audio_base64"])) == (RATE, 1.0)
        assert decoded(audio_of(events)) == (RATE, 1.0)
    else:
        assert body["audio_base64"] == ""
        assert "sample_rate" not in body
        assert "audio_chunk" not in names
        assert dict(events)["metadata"]["sample_rate"] is None


@pytest.mark.parametrize("stream_audio", ["false", "true"])
def test_hearing_that_fails_fails_the_turn(served: Served, stream_audio: str) -> None:
    with served.broken("stt", StageUnavailable("stt")):
        response = talk(served, stream_audio=stream_audio)
    if stream_audio == "false":
        assert problem(response) == (503, "stage_unavailable", None)
    else:
        events = ndjson_events(response.text)
        assert [name for name, _ in events] == ["metadata", "error"]
        assert events[-1][1]["error"]["code"] == "stage_unavailable"


def test_a_model_that_fails_later_is_told_in_the_stream(served: Served) -> None:
    with served.broken("llm", StageFailed("llm"), after=2):
        whole, events = talk(served), stream(served)
    assert problem(whole) == (500, "stage_failed", None)
    names = [name for name, _ in events]
    assert names.count("assistant_text_delta") == 2
    assert names[-1] == "error"
    assert "done" not in names


@pytest.mark.parametrize(
    ("form", "status", "code", "param"),
    [
        ({"generation_config": "{"}, 400, "invalid_parameter", "generation_config"),
        ({"generation_config": "[]"}, 400, "invalid_parameter", "generation_config"),
        ({"generation_config": '{"x": 1}'}, 400, "invalid_parameter", "generation_config.x"),
        (
            {"generation_config": '{"top_p": 2}'},
            400,
            "invalid_parameter",
            "generation_config.top_p",
        ),
        ({"synthesis_config": '{"speed": 9}'}, 400, "invalid_parameter", "synthesis_config.speed"),
        ({"synthesis_config": '{"voice": "nobody"}'}, 404, "voice_not_found", "voice"),
        ({"synthesis_config": '{"format": "midi"}'}, 400, "invalid_parameter", "response_format"),
        (
            {"synthesis_config": '{"format": "mp3", "sample_rate": 9000}'},
            400,
            "invalid_parameter",
            "sample_rate",
        ),
        ({"instructions": "x" * 101}, 400, "text_too_long", "instructions"),
        ({"instructions": "x" * 1_000_001}, 400, "invalid_parameter", "instructions"),
        (
            {"generation_config": json.dumps({"system_prompt": "x" * 101})},
            400,
            "text_too_long",
            "generation_config.system_prompt",
        ),
        ({"generation_config": " " * 65_537}, 400, "invalid_parameter", "generation_config"),
        ({"temperature": "0"}, 400, "unknown_parameter", "temperature"),
        ({"language": "xx"}, 400, "unsupported_language", "language"),
        ({"stream_audio": "perhaps"}, 400, "invalid_parameter", "stream_audio"),
    ],
)
def test_a_turn_that_cannot_be_honoured_is_refused(
    served: Served, form: dict[str, Any], status: int, code: str, param: str
) -> None:
    assert problem(talk(served, **form)) == (status, code, param)


@pytest.mark.parametrize("stream_audio", ["false", "true"])
def test_a_caller_is_charged_for_what_is_heard_and_spoken(
    served: Served, stream_audio: str
) -> None:
    with counting(served) as caller:
        talk(served, stream_audio=stream_audio)
        assert (caller.heard_s, caller.spoken_s) == ([1.0], [pytest.approx(REPLY_S, abs=0.01)])
        talk(served, SILENCE, stream_audio=stream_audio)
        assert (caller.heard_s, len(caller.spoken_s)) == ([1.0, 1.0], 1)


def test_what_was_spoken_of_a_broken_turn_is_charged(served: Served) -> None:
    with counting(served) as caller, served.broken("tts", StageFailed("tts"), after=1):
        talk(served)
    assert caller.spoken_s == [1.0]


def test_a_caller_without_audio_left_is_refused_before_anything_is_heard(served: Served) -> None:
    before = len(served.stt.requests)
    with counting(served, RateLimited("audio", 7.0)):
        response = talk(served)
    assert problem(response) == (429, "rate_limit_exceeded", None)
    assert len(served.stt.requests) == before


@pytest.mark.parametrize("stream_audio", ["false", "true"])
def test_an_upload_that_is_no_audio_is_refused(served: Served, stream_audio: str) -> None:
    status, _, param = problem(talk(served, b"no audio", stream_audio=stream_audio))
    assert (status, param) == (400, "file")


def test_a_turn_without_a_file_is_refused(served: Served) -> None:
    response = served.client.post("/v1/dialogue", data={"language": "en"})
    assert problem(response) == (400, "missing_parameter", "file")


def test_a_turn_is_recorded_with_its_phases(served: Served) -> None:
    served.records.phases.clear()
    served.records.turns.clear()
    talk(served)
    with served.broken("tts", StageFailed("tts")):
        talk(served, SILENCE)
        talk(served)
    with served.broken("llm", StageUnavailable("llm")):
        talk(served)
    assert served.records.phases[: len(PHASES)] == PHASES
    assert [outcome for _, outcome in served.records.turns] == [
        "finished",
        "finished",
        "stage_failed",
        "finished",
        "stage_unavailable",
    ]
