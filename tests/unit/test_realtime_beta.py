"""The beta dialect: flat sessions, older names, and the same conversation behind them."""

from typing import Any

import pytest
from pydantic import ValidationError

from serve_app.live import events as live
from serve_app.live.items import Call, Message, Part
from serve_app.protocol.realtime_client_events import ResponseCreate, SessionUpdate
from serve_app.protocol.realtime_server_events import SessionCreated, SessionUpdated
from serve_app.protocol.realtime_session import RealtimeSession, TranscriptionSession
from serve_app.realtime.beta_writer import beta_event, beta_param, beta_session
from serve_app.realtime.dialect import Beta, Today, dialect_of
from serve_app.realtime.refusal import refusal_of
from tests.unit.realtime_events import (
    Written,
    call,
    defaults,
    ended,
    session,
    shortened,
    strict_beta,
)

TOOL = {"type": "function", "name": "get_time", "parameters": {"type": "object"}}


def told(written: Written) -> list[dict[str, Any]]:
    return [each for event in written.raw if (each := strict_beta(event)) is not None]


def changed(**fields: Any) -> RealtimeSession:
    event = Beta().event({"type": "session.update", "session": fields})
    assert isinstance(event, SessionUpdate)
    return defaults().changed(session(), event.session)


def test_a_turn_has_the_older_names() -> None:
    written = Written()
    written.write(*written.user())
    message, begun = written.reply()
    written.write(*begun, ended(message))
    events = told(written)
    assert shortened(events) == [
        "input_audio_buffer.speech_started",
        "conversation.item.input_audio_transcription.delta",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.created",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "response.output_item.added",
        "conversation.item.created",
        "response.content_part.added",
        "response.audio_transcript.delta",
        "response.audio.delta",
        "response.audio.done",
        "response.audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ]
    response = events[-1]["response"]
    assert response["modalities"] == ["audio", "text"]
    assert (response["voice"], response["output_audio_format"]) == ("default", "pcm16")
    assert response["temperature"] == written.session.temperature
    assert "audio" not in response
    assert "output_modalities" not in response
    assert response["output"][0]["content"] == [{"type": "audio", "transcript": "It is Paris."}]
    assert events[-2]["item"]["content"][0]["type"] == "audio"


def test_a_written_reply_has_the_older_names() -> None:
    written = Written(session=session(output_modalities=["text"]))
    message, begun = written.reply(spoken=False)
    written.write(*begun, ended(message))
    events = told(written)
    assert "response.text.delta" in shortened(events)
    assert "response.text.done" in shortened(events)
    assert events[-1]["response"]["modalities"] == ["text"]
    assert events[-1]["response"]["output"][0]["content"][0]["type"] == "text"


def test_calls_and_added_items_are_told() -> None:
    written = Written()
    made = call()
    written.write(
        live.ItemAdded(Message("i1", "assistant", [Part("Hi")]), None),
        live.ItemAdded(Call("i2", "c1", "get_time", "{}"), "i1"),
        live.ReplyStarted("resp_1"),
        live.CallStarted("resp_1", made),
        live.CallArguments("resp_1", made, "{}"),
        ended(None, calls=(made,)),
    )
    events = told(written)
    assert events[0]["item"]["content"] == [{"type": "text", "text": "Hi"}]
    assert shortened(events)[:2] == ["conversation.item.created", "response.created"]
    assert "response.function_call_arguments.done" in shortened(events)


def test_flat_fields_become_nested_ones() -> None:
    found = changed(
        modalities=["text", "audio"],
        instructions="Be brief.",
        voice="amy",
        input_audio_format="g711_ulaw",
        output_audio_format="g711_alaw",
        input_audio_transcription={"model": "whisper-1", "language": "en"},
        input_audio_noise_reduction=None,
        turn_detection={"type": "server_vad", "threshold": 0.3},
        tools=[TOOL],
        tool_choice="get_time",
        temperature=0.6,
        max_response_output_tokens=77,
        speed=1.2,
        tracing="auto",
    )
    assert found.output_modalities == ["audio"]
    assert found.audio.input.format.type == "audio/pcmu"
    assert found.audio.output.format.type == "audio/pcma"
    assert (found.audio.output.voice, found.audio.output.speed) == ("amy", 1.2)
    assert found.max_output_tokens == 77
    assert found.temperature == 0.6
    config = defaults().live(found, "session")
    assert (config.tool_choice, config.language) == ("get_time", "en")
    assert config.sampling.temperature == 0.6
    assert config.turn_taking is not None
    assert config.turn_taking.endpointing.threshold == 0.3


def test_only_what_is_named_changes() -> None:
    assert changed() == session()
    assert changed(turn_detection=None).audio.input.turn_detection is None
    assert changed(input_audio_transcription=None).audio.input.transcription is None
    without_kind = changed(turn_detection={"threshold": 0.2}).audio.input.turn_detection
    assert without_kind is not None
    assert without_kind.type == "server_vad"
    assert changed(instructions=None, voice=None, tools=None) == session()


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "name": "get_time"}, "get_time"),
    ],
)
def test_a_choice_of_tools_has_three_forms(choice: Any, found: str) -> None:
    config = defaults().live(changed(tools=[TOOL], tool_choice=choice), "session")
    assert config.tool_choice == found


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"output_modalities": ["audio"]}, "session.output_modalities", "unknown_parameter"),
        ({"type": "realtime"}, "session.type", "unknown_parameter"),
        ({"temperature": 3}, "session.temperature", "invalid_value"),
        ({"input_audio_format": "mp3"}, "session.input_audio_format", "invalid_value"),
        (
            {"turn_detection": {"threshold": 3}},
            "session.turn_detection.threshold",
            "invalid_value",
        ),
        (
            {"input_audio_noise_reduction": {"type": "near_field"}},
            "session.input_audio_noise_reduction",
            "invalid_value",
        ),
        ({"client_secret": {"expires_after": {}}}, "session.client_secret", "invalid_value"),
    ],
)
def test_errors_name_the_flat_fields(fields: dict[str, Any], param: str, code: str) -> None:
    sent = {"type": "session.update", "session": fields}
    with pytest.raises(ValidationError) as caught:
        Beta().event(sent)
    refused = refusal_of(caught.value, sent)
    assert (refused.param, refused.code) == (param, code)


def test_places_of_later_errors_are_renamed() -> None:
    assert beta_param("session.audio.output.voice") == "session.voice"
    assert (
        beta_param("session.audio.input.transcription.model")
        == "session.input_audio_transcription.model"
    )
    assert beta_param("response.audio.output.voice") == "response.voice"
    assert beta_param("session.tools") == "session.tools"
    assert beta_param(None) is None


def test_a_response_is_asked_for_in_flat_fields() -> None:
    event = Beta().event(
        {
            "type": "response.create",
            "event_id": "e1",
            "response": {
                "modalities": ["text"],
                "voice": "amy",
                "output_audio_format": "g711_ulaw",
                "temperature": 0.9,
                "max_response_output_tokens": "inf",
                "tool_choice": "none",
                "conversation": "none",
                "metadata": {"a": "b"},
                "input": [
                    {
                        "type": "message",
                        "role": "assistant",
                        "content": [{"type": "text", "text": "Hi"}],
                    }
                ],
            },
        }
    )
    assert isinstance(event, ResponseCreate)
    assert event.response is not None
    assert event.event_id == "e1"
    assert (event.response.conversation, event.response.metadata) == ("none", {"a": "b"})
    assert event.response.input is not None
    found = defaults().for_response(session(), event.response)
    assert (found.temperature, found.output_modalities) == (0.9, ["text"])
    assert (found.audio.output.voice, found.max_output_tokens) == ("amy", "inf")
    bare = Beta().event({"type": "response.create"})
    assert isinstance(bare, ResponseCreate)
    assert bare.response is None


def test_a_session_that_only_hears_has_events_of_its_own() -> None:
    event = Beta().event(
        {
            "type": "transcription_session.update",
            "session": {
                "input_audio_format": "g711_alaw",
                "input_audio_transcription": {"model": "whisper-1", "language": "de"},
                "turn_detection": None,
            },
        }
    )
    assert isinstance(event, SessionUpdate)
    found = defaults().changed(session(), event.session)
    assert found.audio.input.format.type == "audio/pcma"
    hears_only = TranscriptionSession.of(found)
    for kind, name in ((SessionCreated, "created"), (SessionUpdated, "updated")):
        written = beta_event(kind(session=hears_only))
        assert written is not None
        assert written["type"] == f"transcription_session.{name}"
        assert written["session"]["input_audio_format"] == "g711_alaw"
        assert written["session"]["input_audio_transcription"]["language"] == "de"
        assert written["session"]["turn_detection"] is None
        assert "voice" not in written["session"]


def test_a_session_is_told_flat() -> None:
    written = beta_session(changed(tools=[TOOL], tool_choice="get_time"))
    assert written["object"] == "realtime.session"
    assert written["modalities"] == ["audio", "text"]
    assert written["tool_choice"] == "get_time"
    assert written["turn_detection"]["type"] == "server_vad"
    assert "audio" not in written
    assert "type" not in written


def test_the_header_chooses_the_dialect() -> None:
    assert isinstance(dialect_of("realtime=v1"), Beta)
    assert isinstance(dialect_of("assistants=v2, realtime=v1"), Beta)
    assert isinstance(dialect_of(""), Today)
    assert isinstance(dialect_of("assistants=v2"), Today)


def test_the_beta_alone_begins_with_a_conversation() -> None:
    plain = session()
    assert [event.type for event in Beta().opening(plain, "conv_1")] == [
        "session.created",
        "conversation.created",
    ]
    assert [event.type for event in Today().opening(plain, "conv_1")] == ["session.created"]
