"""`/v1/text-to-speech/ws`, `/ws/tts` and `/v1/generate_ws`."""

import base64
import io
import wave
from collections.abc import Iterator
from typing import Any

import pytest

from configs.settings import FakeLlmSettings, FakeTtsSettings, LiveSettings
from deployments.errors import StageFailed, StageTimeout, StageUnavailable
from tests.unit.fake_services import RATE, REPLY, SECONDS_PER_CHAR, Served, quick_settings, serving
from tests.unit.sockets import close_code, names, send_text, until

SPEAK, WRITE = "/v1/text-to-speech/ws", "/v1/generate_ws"
TEXT = "Hello there. How are you?"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


def joined(messages: list[Any]) -> bytes:
    chunks = [each["data"]["audio_base64"] for each in messages if each["event"] == "audio_chunk"]
    return b"".join(map(base64.b64decode, chunks))


def seconds(text: str) -> float:
    return (
        sum(len(each.strip()) for each in text.replace("? ", "?|").replace(". ", ".|").split("|"))
        * SECONDS_PER_CHAR
    )


# ---- text to speech -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", [SPEAK, "/ws/tts"])
def test_a_text_is_streamed(served: Served, path: str) -> None:
    with served.client.websocket_connect(path) as socket:
        for field in ("text", "input"):
            send_text(socket, {field: TEXT, "format": "pcm"})
            messages = until(socket, event="done")
            assert names(messages)[0] == "metadata"
            assert set(names(messages)[1:-1]) == {"audio_chunk"}
            assert messages[0]["data"] == {
                "response_format": "pcm",
                "media_type": "audio/pcm",
                "sample_rate": RATE,
            }
            assert len(joined(messages)) / 2 / RATE == pytest.approx(seconds(TEXT), abs=0.01)


def test_a_whole_answer(served: Served) -> None:
    with served.client.websocket_connect(SPEAK) as socket:
        send_text(
            socket,
            {
                "text": TEXT,
                "stream": False,
                "sample_rate": 16_000,
                "reference_id": "high",
                "speed": None,
                "seed": 7,
            },
        )
        message = socket.receive_json()
    assert served.tts.requests[-1].seed == 7
    data = message["data"]
    assert message["event"] == "synthesis"
    assert (data["response_format"], data["sample_rate"], data["reference_id"]) == (
        "wav",
        16_000,
        "high",
    )
    with wave.open(io.BytesIO(base64.b64decode(data["audio_base64"]))) as file:
        assert file.getframerate() == 16_000
        assert file.getnframes() / 16_000 == pytest.approx(seconds(TEXT), abs=0.01)


def test_a_stream_of_wav_is_one_file(served: Served) -> None:
    with served.client.websocket_connect(SPEAK) as socket:
        send_text(socket, {"text": TEXT, "response_format": "wav"})
        data = joined(until(socket, event="done"))
    assert data.startswith(b"RIFF")
    assert data.count(b"RIFF") == 1


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("no json", "invalid_json", None),
        ("[]", "invalid_parameter", "message"),
        (b"bytes", "invalid_parameter", "message"),
        ({"stream": True}, "missing_parameter", "text"),
        ({"text": TEXT, "sped": 1}, "unknown_parameter", "sped"),
        ({"text": TEXT, "speed": 9}, "invalid_parameter", "speed"),
        ({"text": TEXT, "format": "wma"}, "invalid_parameter", "response_format"),
        ({"text": TEXT, "format": "mp3", "sample_rate": 9000}, "invalid_parameter", "sample_rate"),
        ({"text": TEXT, "references": ["AAAA"]}, "unsupported_format", "references.0"),
        ({"text": TEXT, "reference_id": "nobody"}, "voice_not_found", "voice"),
        ({"text": "?!"}, "invalid_parameter", "text"),
        ({"text": "a" * 5000}, "text_too_long", "text"),
    ],
)
def test_what_cannot_be_spoken_is_refused_and_the_socket_stays(
    served: Served, message: Any, code: str, param: str | None
) -> None:
    with served.client.websocket_connect(SPEAK) as socket:
        if isinstance(message, bytes):
            socket.send_bytes(message)
        else:
            send_text(socket, message)
        refusal = socket.receive_json()
        assert (refusal["event"], refusal["code"], refusal.get("param")) == ("error", code, param)
        assert refusal["detail"]
        send_text(socket, {"text": "Hi."})
        assert until(socket, event="done")


def test_a_voice_that_breaks_is_an_error_of_that_text_alone(served: Served) -> None:
    with served.client.websocket_connect(SPEAK) as socket:
        with served.broken("tts", StageFailed("tts"), after=1):
            send_text(socket, {"text": TEXT})
            assert until(socket, event="error")[-1]["detail"] == "The tts stage failed."
        send_text(socket, {"text": "Hi."})
        assert until(socket, event="done")


def slow(**changes: Any) -> Any:
    return quick_settings(
        tts=FakeTtsSettings(first_audio_s=30, sample_rate=RATE),
        llm=FakeLlmSettings(reply=REPLY, first_token_s=30),
        **changes,
    )


def test_a_client_that_leaves_stops_the_voice() -> None:
    with serving(slow()) as served:
        with served.client.websocket_connect(SPEAK) as socket:
            send_text(socket, {"text": TEXT})
            assert socket.receive_json()["event"] == "metadata"
        served.client.portal.call(served.tts.closed.wait)  # type: ignore[union-attr]


def test_clear_stops_what_is_spoken_and_what_waits() -> None:
    with serving(slow()) as served, served.client.websocket_connect(SPEAK) as socket:
        send_text(socket, {"text": TEXT}, {"text": TEXT})
        assert socket.receive_json()["event"] == "metadata"
        send_text(socket, {"event": "clear"})
        assert socket.receive_json() == {"event": "cleared"}
        served.client.portal.call(served.tts.closed.wait)  # type: ignore[union-attr]
        assert len(served.tts.requests) == 1


def test_too_many_texts_are_refused() -> None:
    with serving(slow()) as served, served.client.websocket_connect(SPEAK) as socket:
        send_text(socket, *({"text": TEXT} for _ in range(30)))
        assert until(socket, event="error")[-1]["code"] == "stage_overloaded"


def test_a_full_server_says_try_later() -> None:
    with serving(quick_settings(live=LiveSettings(max_sessions=1))) as served:
        with served.client.websocket_connect(SPEAK) as held:
            with served.client.websocket_connect(SPEAK) as socket:
                assert close_code(socket) == 1013
            send_text(held, {"text": "Hi."})
            assert until(held, event="done")
        with served.client.websocket_connect(SPEAK) as socket:
            send_text(socket, {"text": "Hi."})
            assert until(socket, event="done")


def test_a_server_that_ends_finishes_what_is_spoken() -> None:
    settings = quick_settings(tts=FakeTtsSettings(first_audio_s=0.3, sample_rate=RATE))
    with serving(settings) as served, served.client.websocket_connect(SPEAK) as socket:
        send_text(socket, {"text": "Hi.", "format": "pcm"})
        assert socket.receive_json()["event"] == "metadata"
        served.client.portal.call(_drain, served)  # type: ignore[union-attr]
        assert names(until(socket, event="done")) == ["going_away", "audio_chunk", "done"]
        assert close_code(socket) == 1012


async def _drain(served: Served) -> None:
    served.api.state.desk.draining.set()


def test_an_old_session_ends() -> None:
    settings = quick_settings(live=LiveSettings(max_session_s=0.05))
    with serving(settings) as served, served.client.websocket_connect(SPEAK) as socket:
        assert socket.receive_json()["event"] == "going_away"
        assert close_code(socket) == 1001


def test_an_idle_session_ends() -> None:
    settings = quick_settings(live=LiveSettings(idle_s=0.05))
    with serving(settings) as served, served.client.websocket_connect(SPEAK) as socket:
        assert close_code(socket) == 1001


# ---- text generation ----------------------------------------------------------------------------


def test_prompts_are_answered_token_by_token(served: Served) -> None:
    with served.client.websocket_connect(WRITE) as socket:
        for _ in range(2):
            send_text(
                socket, {"prompt": "What is it?", "max_tokens": 64, "tfs_z": 1.0, "seed": None}
            )
            *tokens, done = until(socket, status="done")
            assert "".join(each["token"] for each in tokens) == REPLY
            assert len(tokens) > 1
            assert done == {"status": "done"}
    assert served.llm.requests[-1].sampling.max_tokens == 64


@pytest.mark.parametrize(
    ("message", "error", "code"),
    [
        ("{", "VALIDATION_ERROR", "invalid_json"),
        ({}, "VALIDATION_ERROR", "missing_parameter"),
        ({"prompt": "a", "wisdom": 1}, "VALIDATION_ERROR", "unknown_parameter"),
        ({"prompt": "a", "temperature": 3}, "VALIDATION_ERROR", "invalid_parameter"),
        ({"prompt": "a" * 40_000}, "VALIDATION_ERROR", "text_too_long"),
    ],
)
def test_a_prompt_that_cannot_be_answered(
    served: Served, message: Any, error: str, code: str
) -> None:
    with served.client.websocket_connect(WRITE) as socket:
        send_text(socket, message)
        refusal = socket.receive_json()
        assert (refusal["error"], refusal["code"]) == (error, code)
        assert refusal["message"]
        send_text(socket, {"prompt": "Hi"})
        assert until(socket, status="done")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StageFailed("llm"), "GENERATION_FAILED"),
        (StageTimeout("llm"), "GENERATION_TIMEOUT"),
        (StageUnavailable("llm"), "MODEL_NOT_LOADED"),
    ],
)
def test_a_model_that_breaks(served: Served, error: Any, code: str) -> None:
    with served.broken("llm", error), served.client.websocket_connect(WRITE) as socket:
        send_text(socket, {"prompt": "Hi"})
        assert socket.receive_json()["error"] == code


def test_a_client_that_leaves_stops_the_model() -> None:
    with serving(slow()) as served:
        with served.client.websocket_connect(WRITE) as socket:
            send_text(socket, {"prompt": "Hi"}, "no json")
            assert socket.receive_json()["error"] == "VALIDATION_ERROR"
            while not served.llm.requests:
                send_text(socket, "no json")
                socket.receive_json()
        served.client.portal.call(served.llm.closed.wait)  # type: ignore[union-attr]
