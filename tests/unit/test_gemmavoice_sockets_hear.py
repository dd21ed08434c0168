"""`/v1/speech-to-text/ws`, `/ws/stt` and `/v1/speech-to-text/stream`."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from configs.settings import AudioSettings, FakeSttSettings, LiveSettings
from deployments.errors import StageFailed
from tests.unit.fake_services import HEARD, Served, quick_settings, serving
from tests.unit.media_files import example, tone, wav_bytes
from tests.unit.sockets import close_code, names, send_text, until

HEAR, STREAM = "/v1/speech-to-text/ws", "/v1/speech-to-text/stream"
QUICK = LiveSettings(partial_interval_s=0.1, partial_share=1.0)
COMMIT, STOP, CLEAR = {"event": "commit"}, {"event": "stop"}, {"event": "clear"}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(quick_settings(live=QUICK)) as served:
        yield served


def heard_s(served: Served) -> float:
    return served.stt.requests[-1].audio.duration_s


def pieces(data: bytes, count: int) -> list[bytes]:
    size = -(-len(data) // count)
    return [data[start : start + size] for start in range(0, len(data), size)]


# ---- one transcript at a time -------------------------------------------------------------------


@pytest.mark.parametrize("path", [HEAR, "/ws/stt"])
@pytest.mark.parametrize("name", ["wav", "mp3", "flac", "ogg_opus", "webm_opus"])
def test_binary_pieces_are_one_file(served: Served, path: str, name: str) -> None:
    with served.client.websocket_connect(path) as socket:
        for _ in range(2):
            for piece in pieces(example(name), 3):
                socket.send_bytes(piece)
                assert socket.receive_json() == {"event": "received", "bytes": len(piece)}
            send_text(socket, {**COMMIT, "language": "en-US", "temperature": 0.2, "prompt": None})
            message = socket.receive_json()
            assert message["event"] == "transcript"
            assert message["data"]["text"] == HEARD
            assert message["data"]["language"] == "en"
            assert message["data"]["segments"][0]["start"] == 0
            assert heard_s(served) == pytest.approx(1.5, abs=0.1)
    assert served.stt.requests[-1].temperature == 0.2


@pytest.mark.parametrize("event", [{}, {"event": "audio"}, COMMIT])
def test_audio_in_base64(served: Served, event: Any) -> None:
    encoded = base64.b64encode(wav_bytes()).decode()
    with served.client.websocket_connect(HEAR) as socket:
        send_text(socket, {**event, "audio_base64": encoded, "filename": "a.wav"})
        assert socket.receive_json()["data"]["text"] == HEARD


@pytest.mark.parametrize(
    ("told", "rate"),
    [
        ({"format": "pcm"}, 16_000),
        ({"format": "pcm", "sample_rate": 24_000}, 24_000),
        ({"content_type": "audio/pcm;rate=8000"}, 8_000),
        ({"filename": "a.pcm"}, 16_000),
    ],
)
def test_bare_samples(served: Served, told: Any, rate: int) -> None:
    with served.client.websocket_connect(HEAR) as socket:
        for piece in pieces(tone(rate, 1.0).tobytes(), 7):
            socket.send_bytes(piece)
            socket.receive_json()
        send_text(socket, {**COMMIT, **told})
        assert socket.receive_json()["event"] == "transcript"
    assert heard_s(served) == pytest.approx(1.0, abs=0.001)


def test_files_one_after_the_other_are_all_heard(served: Served) -> None:
    with served.client.websocket_connect(HEAR) as socket:
        for data in (wav_bytes(), example("webm_opus"), wav_bytes()):
            socket.send_bytes(data)
            socket.receive_json()
        send_text(socket, COMMIT)
        assert socket.receive_json()["event"] == "transcript"
    assert heard_s(served) == pytest.approx(3.5, abs=0.1)


def test_the_form_of_the_transcript(served: Served) -> None:
    encoded = base64.b64encode(wav_bytes()).decode()
    with served.client.websocket_connect(HEAR) as socket:
        answers: dict[str, Any] = {}
        for form in ("json", "verbose_json", "text", "srt", "vtt"):
            send_text(socket, {"audio_base64": encoded, "response_format": form})
            answers[form] = socket.receive_json()["data"]
    assert answers["srt"]["text"].startswith("1\n00:00:00,000")
    assert answers["vtt"]["text"].startswith("WEBVTT")
    assert answers["json"]["text"] == answers["text"]["text"] == HEARD
    assert answers["verbose_json"]["segments"][0]["words"]


def test_clear_forgets_and_nothing_is_a_warning(served: Served) -> None:
    with served.client.websocket_connect(HEAR) as socket:
        socket.send_bytes(wav_bytes())
        socket.receive_json()
        send_text(socket, CLEAR, COMMIT)
        assert socket.receive_json() == {"event": "cleared"}
        assert socket.receive_json() == {"event": "warning", "detail": "No audio to transcribe"}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_json"),
        ({"event": "dance"}, "invalid_parameter"),
        ({**COMMIT, "mood": 1}, "unknown_parameter"),
        ({**COMMIT, "temperature": 2}, "invalid_parameter"),
        ({**COMMIT, "format": "wma"}, "invalid_parameter"),
        ({**COMMIT, "sample_rate": 8000}, "invalid_parameter"),
        ({**COMMIT, "response_format": "xml"}, "invalid_parameter"),
        ({"audio_base64": "%%%"}, "invalid_parameter"),
        ({"audio_base64": base64.b64encode(b"no audio at all").decode()}, "unsupported_format"),
        (
            {"audio_base64": base64.b64encode(wav_bytes()).decode(), "language": "xx"},
            "unsupported_language",
        ),
    ],
)
def test_what_cannot_be_heard_is_refused_and_the_socket_stays(
    served: Served, message: Any, code: str
) -> None:
    with served.client.websocket_connect(HEAR) as socket:
        send_text(socket, message)
        refusal = socket.receive_json()
        assert (refusal["event"], refusal["code"]) == ("error", code)
        assert refusal["detail"]
        send_text(socket, CLEAR)
        assert socket.receive_json() == {"event": "cleared"}


def test_a_stage_that_breaks(served: Served) -> None:
    encoded = base64.b64encode(wav_bytes()).decode()
    with served.client.websocket_connect(HEAR) as socket:
        with served.broken("stt", StageFailed("stt")):
            send_text(socket, {"audio_base64": encoded})
            assert socket.receive_json()["code"] == "stage_failed"
        send_text(socket, {"audio_base64": encoded})
        assert socket.receive_json()["event"] == "transcript"


@pytest.mark.parametrize("path", [HEAR, STREAM])
def test_more_audio_than_an_upload_may_have_is_refused(path: str) -> None:
    settings = quick_settings(audio=AudioSettings(max_upload_bytes=50_000))
    with serving(settings) as served, served.client.websocket_connect(path) as socket:
        socket.send_bytes(wav_bytes())
        socket.send_bytes(bytes(30_000))
        assert until(socket, event="error")[-1]["code"] == "body_too_large"
        send_text(socket, STOP if path == STREAM else COMMIT)
        said = until(socket, event="final" if path == STREAM else "transcript")[-1]
        assert said["data"]["text"] == HEARD


def test_audio_that_waits_counts_too() -> None:
    settings = quick_settings(
        audio=AudioSettings(max_upload_bytes=100_000), stt=FakeSttSettings(latency_s=30)
    )
    encoded = base64.b64encode(wav_bytes()).decode()
    with serving(settings) as served, served.client.websocket_connect(HEAR) as socket:
        send_text(socket, *({"audio_base64": encoded} for _ in range(8)))
        assert socket.receive_json()["code"] == "body_too_large"


# ---- words while they are said ------------------------------------------------------------------


def test_a_recording_of_a_browser_is_heard_while_it_grows(served: Served) -> None:
    """Each piece is what a MediaRecorder gives; only the first has a header."""
    with served.client.websocket_connect(STREAM) as socket:
        assert socket.receive_json()["event"] == "ready"
        config = {"language": "en", "response_format": "verbose_json", "temperature": 0.0}
        send_text(socket, {"event": "config", **config, "interim_interval_s": 0.1})
        configured = socket.receive_json()
        assert configured["event"] == "configured"
        assert configured["config"].items() >= config.items()
        first, *rest = pieces(example("webm_opus", duration_s=3), 6)
        socket.send_bytes(first)
        interim = until(socket, event="interim")[-1]["data"]
        assert interim == {"text": HEARD, "language": "en", "is_final": False}
        assert 0 < heard_s(served) < 1
        for piece in rest:
            socket.send_bytes(piece)
        send_text(socket, STOP)
        final = until(socket, event="final")[-1]["data"]
        assert final["is_final"] is True
        assert final["text"] == HEARD
        assert final["segments"][0]["text"].strip() == HEARD
        assert heard_s(served) == pytest.approx(3, abs=0.1)
        assert close_code(socket) == 1000


def test_bare_samples_are_streamed(served: Served) -> None:
    with served.client.websocket_connect(STREAM) as socket:
        send_text(
            socket,
            {"event": "config", "format": "pcm", "sample_rate": 48_000, "interim_results": False},
        )
        for piece in pieces(tone(48_000, 1.0).tobytes(), 9):
            socket.send_bytes(piece)
        send_text(socket, STOP)
        assert names(until(socket, event="final")) == ["ready", "configured", "final"]
    assert heard_s(served) == pytest.approx(1, abs=0.001)


def test_nothing_is_an_empty_final(served: Served) -> None:
    with served.client.websocket_connect(STREAM) as socket:
        socket.send_bytes(wav_bytes())
        send_text(socket, CLEAR, STOP)
        *_, cleared, final = until(socket, event="final")
    assert cleared["event"] == "cleared"
    assert final["data"] == {"text": "", "language": None, "segments": [], "is_final": True}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_json"),
        ({}, "invalid_parameter"),
        ({"event": "dance"}, "invalid_parameter"),
        ({"event": "config", "mood": 1}, "unknown_parameter"),
        ({"event": "config", "sample_rate": 8000}, "invalid_parameter"),
    ],
)
def test_a_message_that_is_not_known(served: Served, message: Any, code: str) -> None:
    with served.client.websocket_connect(STREAM) as socket:
        send_text(socket, message)
        refusal = until(socket, event="error")[-1]
        assert refusal["code"] == code
        send_text(socket, CLEAR)
        assert socket.receive_json() == {"event": "cleared"}


def test_audio_that_is_none_is_an_error_at_the_end(served: Served) -> None:
    with served.client.websocket_connect(STREAM) as socket:
        socket.send_bytes(b"no audio at all, but more than sixteen bytes")
        send_text(socket, STOP)
        assert until(socket, event="error")[-1]["code"] == "unsupported_format"


def test_a_client_that_leaves_stops_the_hearing() -> None:
    with serving(quick_settings(stt=FakeSttSettings(latency_s=30))) as served:
        with served.client.websocket_connect(HEAR) as socket:
            send_text(socket, {"audio_base64": base64.b64encode(wav_bytes()).decode()})
            while not served.stt.requests:
                send_text(socket, CLEAR)
                socket.receive_json()
        assert served.stt.requests
