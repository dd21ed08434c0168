"""Only the voice sees what is read: whoever asks keeps the text as it was written."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from configs.settings import AudioSettings, FakeLlmSettings
from deployments.errors import StageUnavailable
from deployments.messages import SpeechRequest
from serve_app.normalized_voice import NormalizedVoice
from tests.unit.fake_services import Served, quick_settings, serving
from tests.unit.http_answers import problem
from tests.unit.voices import spoken

REPLY = "**Tea** costs $5 at https://a.example.com/b. Dr. Who paid [it](http://c.org)."
READ = ["Tea costs five dollars at a dot example dot com.", "Doctor Who paid it."]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(quick_settings(llm=FakeLlmSettings(reply=REPLY, first_token_s=0))) as served:
        yield served


@pytest.fixture(autouse=True)
def forget(served: Served) -> None:
    served.tts.requests.clear()


def read(served: Served) -> list[str]:
    return [request.text for request in served.tts.requests]


def test_a_turn_is_told_as_it_was_written(served: Served) -> None:
    answer = served.client.post("/v1/dialogue", files={"file": spoken(2.0)}).json()
    assert answer["response_text"] == REPLY
    assert answer["audio_base64"]
    assert read(served) == READ


def test_a_chat_is_told_as_it_was_written(served: Served) -> None:
    body = {
        "messages": [{"role": "user", "content": "What is it?"}],
        "modalities": ["text", "audio"],
        "audio": {"voice": "alloy", "format": "wav"},
    }
    answer = served.client.post("/v1/chat/completions", json=body).json()
    assert answer["choices"][0]["message"]["audio"]["transcript"] == REPLY
    assert read(served) == READ


def test_a_live_conversation_is_told_as_it_was_written(served: Served) -> None:
    with served.client.websocket_connect("/v1/realtime?model=gpt-realtime") as socket:
        socket.send_json({"type": "response.create", "response": {"input": []}})
        events = []
        while not events or events[-1]["type"] != "response.done":
            events.append(socket.receive_json())
    transcript = [
        event["transcript"]
        for event in events
        if event["type"] == "response.output_audio_transcript.done"
    ]
    assert transcript == [REPLY]
    assert read(served) == READ


def test_a_conversation_whose_voice_is_not_named_is_read_in_the_language_of_its_voice() -> None:
    reply = FakeLlmSettings(reply="Tea: 12,50 km.", first_token_s=0)
    with serving(quick_settings(llm=reply)) as served:
        with served.client.websocket_connect("/v1/conversation/ws") as socket:
            socket.send_json({"type": "text", "data": "How far?"})
            while socket.receive_json()["type"] != "text":
                pass
        assert read(served) == ["Tea: twelve point five zero kilometers."]


def test_a_voice_that_is_not_named_is_read_without_a_language_while_its_stage_is_away() -> None:
    with serving(quick_settings()) as served:
        voice = NormalizedVoice(served.tts)
        served.tts.error = StageUnavailable("tts")
        assert asyncio.run(voice.language_of(SpeechRequest("5 km"))) is None
        served.tts.error = None
        assert asyncio.run(voice.language_of(SpeechRequest("5 km"))) == "en"


def test_elevenlabs_alignment_is_of_the_text_as_it_was_sent(served: Served) -> None:
    text = "It is **5** km. "
    with served.client.websocket_connect("/v1/text-to-speech/tone/stream-input") as socket:
        for each in (" ", text, ""):
            socket.send_json({"text": each})
        chars: list[str] = []
        while not (message := socket.receive_json()).get("isFinal"):
            chars += (message["alignment"] or {"chars": []})["chars"]
    assert "".join(chars).strip() == text.strip()
    assert read(served) == ["It is five kilometers."]


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/v1/text-to-speech"])
def test_a_text_is_read_on_every_route(served: Served, path: str) -> None:
    body = (
        {"input": "# 20% off", "stream_format": "sse"} if "audio" in path else {"text": "# 20% off"}
    )
    assert served.client.post(path, json=body).status_code == 200
    assert read(served) == ["twenty percent off"]


def test_a_text_of_which_nothing_is_left_gives_no_audio(served: Served) -> None:
    body = {"text": "```python\n```", "format": "pcm"}
    answer = served.client.post("/v1/text-to-speech", json=body)
    assert (answer.status_code, answer.json()["audio_base64"]) == (200, "")
    assert read(served) == []


def test_loudness_is_another_thing(served: Served) -> None:
    body = {"text": "It is 5.", "normalize": False}
    served.client.post("/v1/text-to-speech", json=body)
    assert served.tts.requests[-1].normalize is False
    assert read(served) == ["It is five."]


def test_the_operator_may_switch_it_off() -> None:
    audio = AudioSettings(decode_timeout_s=30, spoken_text=False)
    with serving(quick_settings(audio=audio)) as plain:
        plain.client.post("/v1/text-to-speech", json={"text": "**5** €"})
        assert plain.tts.requests[-1].text == "**5** €"


def test_a_turn_whose_voice_is_away_asks_for_no_other(served: Served) -> None:
    def turn(voice: str) -> Any:
        config = {"synthesis_config": json.dumps({"reference_id": voice})}
        return served.client.post("/v1/dialogue", files={"file": spoken(2.0)}, data=config)

    with served.broken("tts", StageUnavailable("tts")):
        answer = turn("high")
        assert answer.json()["warning"]["code"] == "stage_unavailable"
    assert {request.voice for request in served.tts.requests} == {"high"}
    assert problem(turn("nobody")) == (404, "voice_not_found", "voice")
