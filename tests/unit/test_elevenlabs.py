"""ElevenLabs' routes and sockets."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import av
import pytest
from starlette.testclient import WebSocketDenialResponse, WebSocketTestSession

from configs.settings import AccessSettings, FakeTtsSettings, LiveSettings
from deployments.errors import StageFailed
from serve_app.elevenlabs.pending_text import PendingText
from serve_app.key_file import digest_of
from tests.unit.fake_services import RATE, SECONDS_PER_CHAR, Served, quick_settings, serving
from tests.unit.sockets import close_code, send_text, until

ONE = "/v1/text-to-speech/tone/stream-input?output_format=pcm_22050"
MANY = "/v1/text-to-speech/tone/multi-stream-input?output_format=pcm_22050&sync_alignment=true&auto_mode=true"
HTTP = "/v1/text-to-speech/tone"
CLAUSES = ("Hello there.", "How are you?")
TEXT = " ".join(CLAUSES)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


def audio_of(messages: list[Any]) -> bytes:
    return b"".join(base64.b64decode(each["audio"]) for each in messages if each.get("audio"))


def seconds(messages: list[Any]) -> float:
    return len(audio_of(messages)) / 2 / RATE


def spoken_s(*clauses: str) -> float:
    return sum(map(len, clauses)) * SECONDS_PER_CHAR


def said(messages: list[Any], field: str = "normalizedAlignment") -> str:
    return "".join("".join(each[field]["chars"]) for each in messages if each.get(field))


def words(socket: WebSocketTestSession, **context: str) -> None:
    for word in TEXT.split():
        send_text(socket, {"text": f"{word} ", **context})


# ---- one context --------------------------------------------------------------------------------


def test_words_become_clauses_become_audio(served: Served) -> None:
    with served.client.websocket_connect(f"{ONE}&seed=7") as socket:
        send_text(
            socket,
            {
                "text": " ",
                "voice_settings": {"stability": 0.5, "similarity_boost": 0.8},
                "try_trigger_generation": True,
            },
        )
        words(socket)
        first = until(socket, isFinal=None)
        assert audio_of(first)  # before the end of the text is known
        send_text(socket, {"text": ""})
        messages = first + until(socket, isFinal=True)
        assert close_code(socket) == 1000
    assert [each.text for each in served.tts.requests[-2:]] == list(CLAUSES)
    assert served.tts.requests[-1].temperature == 0.7
    assert served.tts.requests[-1].seed == 7
    assert seconds(messages) == pytest.approx(spoken_s(*CLAUSES), abs=0.01)
    assert said(messages) == said(messages, "alignment") == f"{TEXT} "
    assert "contextId" not in messages[-1]


def test_times_count_from_the_last_ones_without_sync_alignment(served: Served) -> None:
    with served.client.websocket_connect(ONE) as socket:
        send_text(socket, {"text": TEXT}, {"text": ""})
        times = [each["alignment"] for each in until(socket, isFinal=True) if each.get("alignment")]
    assert [each["charStartTimesMs"][0] for each in times] == [0, 0]
    for clause, each in zip(CLAUSES, times, strict=True):
        assert sum(each["charDurationsMs"]) == pytest.approx(spoken_s(clause) * 1000, abs=2)


def test_flush_speaks_half_a_sentence(served: Served) -> None:
    with served.client.websocket_connect(ONE) as socket:
        send_text(socket, {"text": "Hello "}, {"text": "there ", "flush": True})
        assert said(until(socket, isFinal=None)[-1:]) in ("", "Hello there ")
        send_text(socket, {"text": ""})
        until(socket, isFinal=True)
    assert served.tts.requests[-1].text == "Hello there"


def test_nothing_is_final_at_once(served: Served) -> None:
    with served.client.websocket_connect(ONE) as socket:
        send_text(socket, {"text": ""})
        assert socket.receive_json() == {"audio": None, "isFinal": True}
        assert close_code(socket) == 1000


def test_text_is_held_back_for_a_schedule() -> None:
    text = PendingText()
    text.schedule([20, 5])
    assert text.feed("Hello there. ") == []
    assert text.feed("How are you? ") == ["Hello there.", "How are you?"]
    assert text.feed("Fine. ") == ["Fine."]
    assert text.feed("And you") == []
    assert text.flush() == ["And you"]


# ---- many contexts ------------------------------------------------------------------------------


def livekit(socket: WebSocketTestSession, name: str) -> None:
    """What LiveKit's plugin sends for one reply."""
    send_text(socket, {"text": " ", "voice_settings": {}, "context_id": name})
    for clause in CLAUSES:
        send_text(socket, {"text": f"{clause} ", "context_id": name, "flush": True})
    send_text(
        socket,
        {"text": "", "context_id": name, "flush": True},
        {"context_id": name, "close_context": True},
    )


def test_livekits_plugin(served: Served) -> None:
    with served.client.websocket_connect(MANY) as socket:
        for name in ("one", "two"):
            livekit(socket, name)
            messages = until(socket, isFinal=True)
            assert {each["contextId"] for each in messages} == {name}
            assert seconds(messages) == pytest.approx(spoken_s(*CLAUSES), abs=0.01)
            assert said(messages) == f"{TEXT} "
            starts = [
                at
                for each in messages
                if each.get("alignment")
                for at in each["alignment"]["charStartTimesMs"]
            ]
            assert starts == sorted(starts)
            assert starts[-1] > spoken_s(CLAUSES[0]) * 1000


def test_contexts_are_spoken_side_by_side(served: Served) -> None:
    with served.client.websocket_connect(MANY) as socket:
        livekit(socket, "one")
        livekit(socket, "two")
        messages = until(socket, isFinal=True) + until(socket, isFinal=True)
    for name in ("one", "two"):
        mine = [each for each in messages if each["contextId"] == name]
        assert seconds(mine) == pytest.approx(spoken_s(*CLAUSES), abs=0.01)


def test_a_context_that_was_never_there_is_final(served: Served) -> None:
    with served.client.websocket_connect(MANY) as socket:
        send_text(
            socket, {"text": "", "context_id": "a"}, {"context_id": "a", "close_context": True}
        )
        assert socket.receive_json() == {"audio": None, "isFinal": True, "contextId": "a"}


def test_close_socket_speaks_what_there_is(served: Served) -> None:
    with served.client.websocket_connect(MANY) as socket:
        send_text(socket, {"text": "Hello the", "context_id": "a"}, {"close_socket": True})
        assert said(until(socket, isFinal=True)) == "Hello the "
        assert close_code(socket) == 1000


def test_a_voice_that_breaks_is_told_to_its_context(served: Served) -> None:
    with served.client.websocket_connect(MANY) as socket:
        with served.broken("tts", StageFailed("tts"), after=1):
            send_text(socket, {"text": "Hi there. ", "context_id": "a", "flush": True})
            error = until(socket, contextId="a", code="stage_failed")[-1]
            assert error["error"] == "The tts stage failed."
        livekit(socket, "b")
        assert until(socket, isFinal=True)[-1]["contextId"] == "b"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_json"),
        ("[]", "invalid_parameter"),
        ({"txt": "a"}, "unknown_parameter"),
        ({"text": 5}, "invalid_parameter"),
        ({"text": "a", "voice_settings": {"speed": 9}}, "invalid_parameter"),
        ({"text": "a", "pronunciation_dictionary_locators": [{}]}, "invalid_parameter"),
        ({"text": "a" * 40_000}, "text_too_long"),
    ],
)
def test_a_message_that_is_not_known(served: Served, message: Any, code: str) -> None:
    with served.client.websocket_connect(MANY) as socket:
        send_text(socket, message)
        error = socket.receive_json()
        assert error["code"] == code
        assert error["error"]
        livekit(socket, "a")
        assert until(socket, isFinal=True, contextId="a")


def test_too_many_contexts_are_refused(served: Served) -> None:
    with served.client.websocket_connect(MANY) as socket:
        send_text(socket, *({"text": " ", "context_id": str(number)} for number in range(17)))
        assert socket.receive_json()["code"] == "stage_overloaded"


def test_a_client_that_leaves_stops_the_voice() -> None:
    settings = quick_settings(tts=FakeTtsSettings(first_audio_s=30, sample_rate=RATE))
    with serving(settings) as served:
        with served.client.websocket_connect(MANY) as socket:
            send_text(socket, {"text": "Hello there. ", "flush": True, "context_id": "a"})
            while not served.tts.requests:
                send_text(socket, "{")
                socket.receive_json()
        assert served.client.portal
        served.client.portal.call(served.tts.closed.wait)


def test_a_socket_nobody_writes_to_is_closed() -> None:
    settings, path = (
        quick_settings(live=LiveSettings(idle_s=0.05)),
        f"{MANY}&inactivity_timeout=180",
    )
    with serving(settings) as served, served.client.websocket_connect(path) as socket:
        assert close_code(socket) == 1001


def test_a_client_that_waits_for_its_audio_may_be_silent() -> None:
    tts = FakeTtsSettings(first_audio_s=0.3, sample_rate=RATE)
    settings = quick_settings(live=LiveSettings(idle_s=0.05), tts=tts)
    with serving(settings) as served, served.client.websocket_connect(MANY) as socket:
        livekit(socket, "a")
        assert until(socket, isFinal=True)


# ---- what the address says ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (MANY.replace("tone", "nobody"), 404, "voice_not_found"),
        (f"{MANY}&model_id=gpt", 404, "model_not_found"),
        (f"{MANY}&language_code=fr", 400, "invalid_parameter"),
        (f"{MANY}&enable_ssml_parsing=true", 400, "invalid_parameter"),
        (f"{MANY}&mood=sad", 400, "unknown_parameter"),
        (f"{MANY}&apply_text_normalization=off", 400, "invalid_parameter"),
        (ONE.replace("pcm_22050", "pcm_1"), 400, "invalid_parameter"),
        (ONE.replace("pcm_22050", "mp3_44100_999"), 400, "invalid_parameter"),
        (ONE.replace("pcm_22050", "ulaw_16000"), 400, "invalid_parameter"),
    ],
)
def test_an_address_that_cannot_be_served_is_refused(
    served: Served, path: str, status: int, code: str
) -> None:
    with pytest.raises(WebSocketDenialResponse) as refused, served.client.websocket_connect(path):
        pass
    assert refused.value.status_code == status
    assert refused.value.json()["error"]["code"] == code


def test_all_that_livekit_and_pipecat_say_is_taken(served: Served) -> None:
    path = (
        "/v1/text-to-speech/tone/multi-stream-input?model_id=eleven_turbo_v2_5&output_format=mp3_22050_32"
        "&language_code=en&enable_ssml_parsing=false&enable_logging=true&inactivity_timeout=180"
        "&apply_text_normalization=auto&apply_language_text_normalization=false&sync_alignment=true&auto_mode=true"
    )
    with served.client.websocket_connect(path) as socket:
        livekit(socket, "a")
        assert_length(audio_of(until(socket, isFinal=True)), "mp3", 22_050)


def test_the_key_in_elevenlabs_header() -> None:
    access = AccessSettings(enabled=True, keys_sha256=(digest_of(b"secret").hex(),))
    with serving(quick_settings(access=access)) as served:
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            served.client.websocket_connect(ONE),
        ):
            pass
        assert refused.value.status_code == 401
        with served.client.websocket_connect(ONE, headers={"xi-api-key": "secret"}) as socket:
            send_text(socket, {"text": ""})
            assert until(socket, isFinal=True)


# ---- over HTTP ----------------------------------------------------------------------------------


def assert_length(data: bytes, name: str, rate: int) -> None:
    demuxer = {"opus": "ogg"}.get(name, name)
    with av.open(io.BytesIO(data), format=demuxer) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
        assert container.streams.audio[0].rate == rate
    assert samples / rate == pytest.approx(spoken_s(*CLAUSES), abs=0.1)


@pytest.mark.parametrize("path", [HTTP, f"{HTTP}/stream"])
@pytest.mark.parametrize(
    ("output_format", "media_type", "bytes_per_second"),
    [
        ("pcm_16000", "audio/pcm", 32_000),
        ("pcm_48000", "audio/pcm", 96_000),
        ("ulaw_8000", "audio/basic", 8_000),
        ("alaw_8000", "audio/basic", 8_000),
        ("mp3_44100_128", "audio/mpeg", 16_000),
        ("mp3_22050_32", "audio/mpeg", 4_000),
        ("wav_24000", "audio/wav", 48_000),
    ],
)
def test_a_text_is_spoken_in_each_format(
    served: Served, path: str, output_format: str, media_type: str, bytes_per_second: int
) -> None:
    body = {
        "text": TEXT,
        "model_id": "eleven_turbo_v2_5",
        "voice_settings": None,
        "apply_text_normalization": "auto",
        "language_code": "en",
    }
    response = served.client.post(
        path, params={"output_format": output_format, "enable_logging": "true"}, json=body
    )
    assert response.status_code == 200
    assert response.headers["content-type"] == media_type
    expected = spoken_s(*CLAUSES) * bytes_per_second
    assert len(response.content) == pytest.approx(expected, rel=0.15)
    if output_format.startswith(("mp3", "wav")):
        assert_length(
            response.content, *output_format.split("_")[:1], int(output_format.split("_")[1])
        )


def test_opus(served: Served) -> None:
    response = served.client.post(
        HTTP, params={"output_format": "opus_48000_64"}, json={"text": TEXT}
    )
    assert response.headers["content-type"] == "audio/ogg"
    assert_length(response.content, "opus", 48_000)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/text-to-speech/nobody", {"text": TEXT}, 404, "voice_not_found"),
        (HTTP, {}, 400, "missing_parameter"),
        (HTTP, {"text": TEXT, "previous_text": "x"}, 400, "unknown_parameter"),
        (HTTP, {"text": TEXT, "seed": 2**32}, 400, "invalid_parameter"),
        (HTTP, {"text": "?"}, 400, "invalid_parameter"),
        (HTTP, {"text": "a" * 5000}, 400, "text_too_long"),
        (HTTP, {"text": TEXT, "model_id": "gpt"}, 404, "model_not_found"),
        (f"{HTTP}?output_format=mp4", {"text": TEXT}, 400, "invalid_parameter"),
    ],
)
def test_a_text_that_cannot_be_spoken(
    served: Served, path: str, body: Any, status: int, code: str
) -> None:
    response = served.client.post(path, json=body)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code


def test_a_seed_reaches_the_voice(served: Served) -> None:
    assert served.client.post(HTTP, json={"text": TEXT, "seed": 2**32 - 1}).status_code == 200
    assert served.tts.requests[-1].seed == 2**32 - 1


def test_the_voices(served: Served) -> None:
    voices = served.client.get("/v1/voices").json()["voices"]
    assert [each["voice_id"] for each in voices] == ["tone", "high"]
    assert all(each["category"] for each in voices)
