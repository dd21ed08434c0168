"""`/v1/conversation/ws`."""

import base64
import io
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import WebSocketTestSession

from configs.settings import AudioSettings, FakeLlmSettings, FakeTtsSettings, LiveSettings
from deployments.errors import StageFailed, StageUnavailable
from tests.unit.fake_services import HEARD, RATE, REPLY, Served, quick_settings, serving
from tests.unit.media_files import example, tone, wav_bytes
from tests.unit.sockets import close_code, names, send_text, until

PATH = "/v1/conversation/ws"
SPEECH = Path(__file__).parent.parent / "data" / "speech" / "en_jfk.wav"
END, INTERRUPT = {"type": "end_turn"}, {"type": "interrupt"}
LIVE = LiveSettings(lead_s=60, ahead_s=60)  # audio is sent as soon as it is made


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(quick_settings(live=LIVE)) as served:
        yield served


def audio(data: bytes, **more: object) -> dict[str, object]:
    return {"type": "audio", "data": base64.b64encode(data).decode(), **more}


def config(**data: object) -> dict[str, object]:
    return {"type": "config", "data": data}


def turn(socket: WebSocketTestSession, data: bytes, pieces: int = 1, **more: object) -> list[Any]:
    size = -(-len(data) // pieces)
    for start in range(0, len(data), size):
        send_text(socket, audio(data[start : start + size], **more))
    send_text(socket, END)
    return until(socket, type="ready")


def only(messages: list[Any], kind: str) -> list[Any]:
    return [each for each in messages if each["type"] == kind]


def spoken(messages: list[Any]) -> float:
    """Seconds of audio, each piece of which can be played by itself."""
    total = 0.0
    for message in only(messages, "audio"):
        with wave.open(io.BytesIO(base64.b64decode(message["data"]))) as file:
            assert file.getframerate() == message["sample_rate"]
            total += file.getnframes() / file.getframerate()
    return total


# ---- a turn -------------------------------------------------------------------------------------


def test_a_turn_as_gemmavoices_page_takes_it(served: Served) -> None:
    with served.client.websocket_connect(PATH) as socket:
        assert socket.receive_json()["type"] == "ready"
        send_text(socket, config(instructions="You are a pirate. " * 5))
        configured = socket.receive_json()
        assert configured["instructions"] == ("You are a pirate. " * 5)[:50] + "..."
        messages = turn(socket, example("webm_opus"), pieces=4)
    kinds = [kind for kind in names(messages, "type") if kind != "text_delta"]
    assert kinds[:6] == ["buffering"] * 4 + ["processing", "transcript"]
    assert messages[3]["chunks"] == 4
    assert messages[3]["bytes"] == len(example("webm_opus"))
    assert kinds[-1] == "ready"
    assert set(kinds[6:-1]) == {"text", "audio"}
    assert only(messages, "transcript")[0].items() >= {"role": "user", "content": HEARD}.items()
    assert only(messages, "text") == [{"type": "text", "role": "assistant", "content": REPLY}]
    assert "".join(each["content"] for each in only(messages, "text_delta")) == REPLY
    assert only(messages, "audio")[0]["sample_rate"] == RATE
    assert spoken(messages) == pytest.approx(len(REPLY) * 0.06, abs=0.1)
    timings = messages[-1]["timings"]
    assert {"transcript_s", "first_token_s", "first_clause_s", "first_audio_s"} <= set(timings)
    assert served.llm.requests[-1].messages[0].content.startswith("You are a pirate.")


def test_it_remembers_what_was_said(served: Served) -> None:
    with served.client.websocket_connect(PATH) as socket:
        socket.receive_json()
        for _ in range(2):
            turn(socket, wav_bytes(), format="wav")
    said = [(each.role, each.content) for each in served.llm.requests[-1].messages[1:]]
    assert said == [("user", HEARD), ("assistant", REPLY), ("user", HEARD)]


def test_typed_text_is_answered(served: Served) -> None:
    with served.client.websocket_connect(PATH) as socket:
        socket.receive_json()
        send_text(socket, {"type": "text", "data": "Hi there"})
        messages = until(socket, type="ready")
    assert messages[0]["type"] == "processing"
    assert only(messages, "text")[0]["content"] == REPLY
    assert spoken(messages) > 1
    assert served.llm.requests[-1].messages[-1].content == "Hi there"


def test_binary_pieces_and_bare_samples(served: Served) -> None:
    with served.client.websocket_connect(PATH) as socket:
        socket.receive_json()
        send_text(socket, config(format="pcm", sample_rate=24_000))
        socket.receive_json()
        socket.send_bytes(tone(24_000, 1.0).tobytes())
        send_text(socket, END)
        assert only(until(socket, type="ready"), "transcript")
    assert served.stt.requests[-1].audio.duration_s == pytest.approx(1.0, abs=0.01)


def test_how_to_speak_and_write(served: Served) -> None:
    with served.client.websocket_connect(PATH) as socket:
        socket.receive_json()
        synthesis = {"reference_id": "high", "speed": 2.0, "sample_rate": 16_000, "format": "pcm"}
        send_text(
            socket,
            config(generation_config={"max_tokens": 32}, synthesis_config=synthesis, language="en"),
        )
        socket.receive_json()
        messages = turn(socket, wav_bytes())
    piece = only(messages, "audio")[0]
    assert (piece["format"], piece["sample_rate"]) == ("pcm", 16_000)
    assert served.tts.requests[-1].voice == "high"
    assert served.tts.requests[-1].speed == 2.0
    assert served.llm.requests[-1].sampling.max_tokens == 32
    assert served.stt.requests[-1].language == "en"


def test_nobody_spoke(served: Served) -> None:
    with served.client.websocket_connect(PATH) as socket:
        socket.receive_json()
        messages = turn(socket, bytes(32_000), format="pcm")
    assert names(messages, "type")[-2:] == ["transcript", "ready"]
    assert messages[-2]["content"] == ""


# ---- a session that goes on elsewhere -----------------------------------------------------------


@pytest.mark.parametrize("said_in", ["query", "config"])
def test_a_session_is_resumed(served: Served, said_in: str) -> None:
    name = f"kitchen-{said_in}"
    for number in range(2):
        path = f"{PATH}?session_id={name}" if said_in == "query" else PATH
        with served.client.websocket_connect(path) as socket:
            socket.receive_json()
            if said_in == "config":
                send_text(socket, config(session_id=name))
                assert socket.receive_json()["session_id"] == name
            send_text(socket, {"type": "text", "data": f"Question {number}"})
            until(socket, type="ready")
    said = [(each.role, each.content) for each in served.llm.requests[-1].messages[1:]]
    assert said == [("user", "Question 0"), ("assistant", REPLY), ("user", "Question 1")]
    with served.client.websocket_connect(PATH) as socket:
        socket.receive_json()
        send_text(socket, {"type": "text", "data": "Hi"})
        until(socket, type="ready")
        send_text(socket, config(session_id="late"))
        assert socket.receive_json()["param"] == "session_id"


def test_a_name_that_is_none_is_refused(served: Served) -> None:
    with served.client.websocket_connect(f"{PATH}?session_id=../x") as socket:
        assert close_code(socket) == 1008


# ---- interruptions ------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [INTERRUPT, audio(wav_bytes()), {"type": "text", "data": "Wait!"}])
def test_a_reply_is_interrupted(by: Any) -> None:
    settings = quick_settings(
        live=LiveSettings(lead_s=0.3),
        tts=FakeTtsSettings(first_audio_s=0, real_time_factor=0, sample_rate=RATE),
    )
    with serving(settings) as served, served.client.websocket_connect(PATH) as socket:
        socket.receive_json()
        send_text(socket, {"type": "text", "data": "Hi"})
        until(socket, type="audio")
        send_text(socket, by)
        messages = until(socket, type="ready", finish_reason="interrupted")
        interrupted = only(messages, "interrupted")[0]
        assert interrupted["heard"] != REPLY
        if by["type"] == "audio":
            send_text(socket, END)
            until(socket, type="text")
        elif by["type"] == "text":
            until(socket, type="text")
        else:
            return
    said = [each.content for each in served.llm.requests[-1].messages[1:]]
    assert said[-1].endswith(HEARD if by["type"] == "audio" else "Wait!")
    assert REPLY not in said


def test_a_turn_that_is_being_heard_is_not_answered_after_an_interrupt(served: Served) -> None:
    before = len(served.llm.requests)
    with served.client.websocket_connect(PATH) as socket:
        socket.receive_json()
        send_text(socket, audio(wav_bytes()), END, INTERRUPT)
        kinds = names(until(socket, type="ready"), "type")
        assert "audio" not in kinds
    assert len(served.llm.requests) == before


# ---- the server listens -------------------------------------------------------------------------


def test_the_server_ends_the_turn(served: Served) -> None:
    with wave.open(str(SPEECH)) as file:
        rate, speech = file.getframerate(), file.readframes(file.getnframes())
    with served.client.websocket_connect(PATH) as socket:
        socket.receive_json()
        send_text(socket, config(turn_detection="server_vad", format="pcm", sample_rate=rate))
        assert socket.receive_json()["turn_detection"] == "server_vad"
        sound = speech + bytes(rate * 2 * 3)
        for start in range(0, len(sound), 6_401):
            socket.send_bytes(sound[start : start + 6_401])
        messages = until(socket, type="ready")
    kinds = names(messages, "type")
    assert kinds.index("speech_started") < kinds.index("speech_stopped") < kinds.index("transcript")
    assert spoken(messages) > 1


def test_what_cannot_be_listened_to_is_refused(served: Served) -> None:
    with served.client.websocket_connect(PATH) as socket:
        socket.receive_json()
        send_text(socket, config(turn_detection="server_vad"), audio(example("webm_opus")))
        assert until(socket, type="error")[-1]["code"] == "unsupported_format"
        send_text(socket, config(turn_detection=None))
        assert until(socket, type="configured")[-1]["turn_detection"] is None
        assert only(turn(socket, wav_bytes()), "transcript")


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_json"),
        ({}, "invalid_parameter"),
        ({"type": "dance"}, "invalid_parameter"),
        ({"type": "text"}, "missing_parameter"),
        ({"type": "text", "data": "a" * 40_000}, "text_too_long"),
        (END, "invalid_audio"),
        ({"type": "audio", "data": "%"}, "invalid_parameter"),
        (audio(wav_bytes(), format="wma"), "invalid_parameter"),
        (audio(wav_bytes(), sample_rate=8000), "invalid_parameter"),
        (config(mood="sad"), "unknown_parameter"),
        (config(turn_detection="psychic"), "invalid_parameter"),
        (config(synthesis_config={"format": "mp3"}), "invalid_parameter"),
        (config(synthesis_config={"reference_id": "nobody"}), "voice_not_found"),
        (config(instructions="a" * 40_000), "text_too_long"),
        (config(session_id="../../x"), "invalid_parameter"),
    ],
)
def test_a_message_that_cannot_be_served(served: Served, message: Any, code: str) -> None:
    with served.client.websocket_connect(PATH) as socket:
        socket.receive_json()
        send_text(socket, message)
        error = socket.receive_json()
        assert (error["type"], error["code"]) == ("error", code)
        assert error["message"]
        send_text(socket, {"type": "text", "data": "Hi"})
        assert only(until(socket, type="ready"), "text")


@pytest.mark.parametrize("stage", ["stt", "llm"])
def test_a_stage_that_breaks_is_an_error_of_its_turn(served: Served, stage: str) -> None:
    with served.client.websocket_connect(PATH) as socket:
        socket.receive_json()
        with served.broken(stage, StageFailed(stage)):
            send_text(socket, audio(wav_bytes()), END)
            assert until(socket, type="error")[-1]["code"] == "stage_failed"
        assert only(turn(socket, wav_bytes()), "text")


def test_a_voice_that_breaks_leaves_the_text(served: Served) -> None:
    with served.client.websocket_connect(PATH) as socket:
        socket.receive_json()
        with served.broken("tts", StageUnavailable("tts")):
            messages = turn(socket, wav_bytes())
    assert only(messages, "text")[0]["content"] == REPLY
    assert only(messages, "warning")[0]["code"] == "stage_unavailable"


def test_a_memory_that_does_not_answer_is_a_warning(served: Served) -> None:
    path = f"{PATH}?session_id=lost"
    with (
        served.broken("state", StageUnavailable("state")),
        served.client.websocket_connect(path) as socket,
    ):
        socket.receive_json()
        messages = turn(socket, wav_bytes())
    assert only(messages, "warning")[0]["code"] == "memory_unavailable"
    assert only(messages, "text")


def test_audio_is_bounded() -> None:
    settings = quick_settings(audio=AudioSettings(max_upload_bytes=50_000), live=LIVE)
    with serving(settings) as served, served.client.websocket_connect(PATH) as socket:
        socket.receive_json()
        send_text(socket, audio(wav_bytes()), audio(wav_bytes()))
        assert until(socket, type="error")[-1]["code"] == "body_too_large"
        send_text(socket, END)
        assert only(until(socket, type="ready"), "text")


def test_a_client_that_leaves_stops_the_model() -> None:
    settings = quick_settings(llm=FakeLlmSettings(reply=REPLY, first_token_s=30))
    with serving(settings) as served:
        with served.client.websocket_connect(PATH) as socket:
            send_text(socket, {"type": "text", "data": "Hi"})
            while not served.llm.requests:
                send_text(socket, "{")
                until(socket, type="error")
        assert served.client.portal
        served.client.portal.call(served.llm.closed.wait)


def test_a_server_that_ends_finishes_the_turn() -> None:
    settings = quick_settings(live=LiveSettings(lead_s=0.2))
    with serving(settings) as served, served.client.websocket_connect(PATH) as socket:
        socket.receive_json()
        send_text(socket, {"type": "text", "data": "Hi"})
        until(socket, type="audio")
        assert served.client.portal
        served.client.portal.call(_drain, served)
        kinds = names(until(socket, type="ready"), "type")
        assert {"going_away", "audio"} <= set(kinds)
        assert close_code(socket) == 1012


async def _drain(served: Served) -> None:
    served.api.state.desk.draining.set()
