"""What OpenAI's realtime clients are told of a live session, and in what order."""

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Discriminator, TypeAdapter

from deployments.errors import StageFailed, StageTimeout, StageUnavailable
from deployments.messages import Transcript
from serve_app.live import events as live
from serve_app.live.items import Call, CallOutput, Message, Part
from serve_app.protocol.realtime_audio import PcmuFormat
from serve_app.protocol.realtime_server_events import SessionCreated, SessionUpdated
from serve_app.protocol.realtime_session import TranscriptionSession
from serve_app.realtime.response_writer import ResponseForm, ServerEvent
from tests.unit.realtime_events import (
    Written,
    call,
    ended,
    samples_of,
    session,
    strict,
    strict_beta,
)

_SAMPLES = json.loads(
    (Path(__file__).parent.parent / "data" / "realtime_ga_samples.json").read_text()
)
_OURS: TypeAdapter[Any] = TypeAdapter(Annotated[ServerEvent, Discriminator("type")])
USER_TURN = [
    "input_audio_buffer.speech_started",
    "conversation.item.input_audio_transcription.delta",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.completed",
    "conversation.item.done",
]
SPOKEN_REPLY = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.mark.parametrize(
    "sample", [each for each in _SAMPLES if each["type"] != "rate_limits.updated"]
)
def test_our_events_have_the_shape_of_the_samples(sample: dict[str, Any]) -> None:
    sent = json.loads(json.dumps(sample))
    for name in ("session", "response"):
        if name in sent and sent[name].get("type") != "transcription":
            sent[name]["temperature"] = 0.7
    ours = json.loads(_OURS.validate_python(sent).model_dump_json())
    for name in ("session", "response"):  # what we say of them beyond the samples
        for extra in set(ours.get(name, {})) - set(sample.get(name, {})):
            assert extra in ("parallel_tool_calls", "tracing", "prompt", "include")
            del ours[name][extra]
    assert ours == sample


def test_a_turn_is_told_in_the_order_that_every_client_knows(written: Written) -> None:
    written.write(*written.user())
    message, begun = written.reply()
    written.write(*begun, ended(message))
    assert written.types == USER_TURN + SPOKEN_REPLY


def test_every_event_has_an_id_of_its_own(written: Written) -> None:
    message, begun = written.reply()
    written.write(*begun, ended(message))
    ids = [event["event_id"] for event in written.events]
    assert len(set(ids)) == len(ids)


def test_an_interruption_closes_the_reply_behind_the_start_of_speech(written: Written) -> None:
    written.write(*written.user())
    message, begun = written.reply()
    written.write(*begun)
    events = written.write(
        live.SpeechStarted("item_u2", 5000),
        ended(message, "cancelled", reason="turn_detected"),
    )
    assert [event["type"] for event in events] == [
        "input_audio_buffer.speech_started",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    assert events[4]["item"]["status"] == "incomplete"
    assert events[2]["transcript"] == "It is Paris."  # what was sent
    assert events[4]["item"]["content"][0]["transcript"] == "It is"  # what was heard
    response = events[-1]["response"]
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert response["usage"]["total_tokens"] == 120


def test_no_audio_is_told_after_an_interruption(written: Written) -> None:
    message, begun = written.reply()
    written.write(*begun)
    heard = len(samples_of(written.events))
    written.write(ended(message, "cancelled", reason="turn_detected"))
    written.write(live.ReplyText("resp_1", message, "late"))
    assert len(samples_of(written.events)) == heard
    assert written.events[-1]["type"] == "response.done"


def test_items_of_a_response_know_their_places(written: Written) -> None:
    written.write(*written.user())
    message, begun = written.reply()
    written.write(*begun, ended(message))
    added = [event for event in written.events if event["type"] == "conversation.item.added"]
    assert [event["previous_item_id"] for event in added] == [None, "item_u1"]
    assert added[1]["item"] == {
        "id": "item_a1",
        "object": "realtime.item",
        "type": "message",
        "status": "in_progress",
        "role": "assistant",
        "content": [],
    }


def test_a_whole_reply_has_all_of_its_audio_in_short_deltas(written: Written) -> None:
    message, begun = written.reply()
    written.write(*begun, ended(message))
    assert len(samples_of(written.events)) == 2 * round(3 * 2205 * 24_000 / 22_050)
    longest = max(
        len(samples_of([event]))
        for event in written.events
        if event["type"] == "response.output_audio.delta"
    )
    assert longest <= 4800


def test_a_reply_is_spoken_in_the_format_that_was_asked_for() -> None:
    plain = session()
    output = plain.audio.output.model_copy(update={"format": PcmuFormat()})
    audio = plain.audio.model_copy(update={"output": output})
    written = Written(session=plain.model_copy(update={"audio": audio}))
    message, begun = written.reply()
    written.write(*begun, ended(message))
    assert len(samples_of(written.events)) == round(3 * 2205 * 8_000 / 22_050)
    done = written.events[-1]["response"]
    assert done["audio"]["output"] == {"format": {"type": "audio/pcmu"}, "voice": "default"}


def test_a_written_reply_has_events_of_its_own() -> None:
    written = Written(session=session(output_modalities=["text"]))
    message, begun = written.reply(spoken=False)
    written.write(*begun, ended(message))
    assert written.types == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    response = written.events[-1]["response"]
    assert response["output_modalities"] == ["text"]
    assert response["output"][0]["content"] == [{"type": "output_text", "text": "It is Paris."}]
    assert written.events[3]["part"] == {"type": "text", "text": ""}


def test_calls_are_told_one_by_one(written: Written) -> None:
    first, second = call(), call("get_place", "item_f2")
    written.conversation.add(first)
    events = written.write(
        live.ReplyStarted("resp_1"),
        live.CallStarted("resp_1", first),
        live.CallArguments("resp_1", first, '{"zone":'),
    )
    first.arguments = '{"zone": 1}'
    written.conversation.add(second)
    events += written.write(
        live.CallArguments("resp_1", first, " 1}"), live.CallStarted("resp_1", second)
    )
    second.arguments, second.status = "{}", "completed"
    events += written.write(
        live.CallArguments("resp_1", second, "{}"), ended(None, calls=(first, second))
    )
    one = [
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "conversation.item.done",
    ]
    assert written.types == ["response.created", *one, *one, "response.done"]
    done = [e for e in events if e["type"] == "response.function_call_arguments.done"]
    assert [(e["name"], e["arguments"], e["output_index"]) for e in done] == [
        ("get_time", '{"zone": 1}', 0),
        ("get_place", "{}", 1),
    ]
    items = [e["item"] for e in events if e["type"] == "response.output_item.done"]
    assert [item["status"] for item in items] == ["completed", "completed"]
    assert [item["call_id"] for item in items] == ["call_item_f1", "call_item_f2"]
    assert [each["id"] for each in events[-1]["response"]["output"]] == ["item_f1", "item_f2"]


def test_a_call_that_was_cut_off_is_not_complete(written: Written) -> None:
    cut = call()
    written.write(live.ReplyStarted("resp_1"), live.CallStarted("resp_1", cut))
    cut.status = "incomplete"
    written.write(ended(None, "cancelled", reason="client_cancelled", calls=(cut,)))
    assert written.events[-1]["response"]["output"][0]["status"] == "incomplete"
    assert written.events[-1]["response"]["status_details"]["reason"] == "client_cancelled"


def test_text_before_a_call_is_an_item_of_its_own(written: Written) -> None:
    message, begun = written.reply()
    made = call()
    written.write(*begun, live.CallStarted("resp_1", made))
    made.status, made.arguments = "completed", "{}"
    written.write(ended(message, calls=(made,)))
    done = [e for e in written.events if e["type"] == "response.output_item.done"]
    assert [(e["output_index"], e["item"]["type"]) for e in done] == [
        (0, "message"),
        (1, "function_call"),
    ]


def test_a_response_beside_the_conversation_adds_nothing_to_it(written: Written) -> None:
    form = ResponseForm(written.session, {"topic": "aside"}, in_conversation=False)
    message, begun = written.reply(form=form)
    written.write(*begun, ended(message))
    assert not [each for each in written.types if each.startswith("conversation.")]
    assert written.events[-1]["response"]["conversation_id"] is None
    assert written.events[-1]["response"]["metadata"] == {"topic": "aside"}


def test_metadata_comes_back_at_both_ends(written: Written) -> None:
    form = ResponseForm(written.session, {"client_event_id": "ev_1"})
    message, begun = written.reply(form=form)
    written.write(*begun, ended(message, tag=form))
    assert written.events[0]["response"]["metadata"] == {"client_event_id": "ev_1"}
    assert written.events[-1]["response"]["metadata"] == {"client_event_id": "ev_1"}


def test_a_broken_voice_leaves_the_text(written: Written) -> None:
    message, begun = written.reply()
    written.write(*begun, ended(message, error=StageUnavailable("tts")))
    response = written.events[-1]["response"]
    assert response["status"] == "completed"
    assert response["status_details"]["type"] == "completed"
    assert response["status_details"]["error"]["code"] == "stage_unavailable"
    assert response["output"][0]["content"][0]["transcript"] == "It is Paris."


def test_a_response_that_failed_says_why(written: Written) -> None:
    written.write(live.ReplyStarted("resp_1"), ended(None, "failed", error=StageTimeout("llm")))
    response = written.events[-1]["response"]
    assert response["status"] == "failed"
    assert response["output"] == []
    assert response["status_details"]["error"] == {
        "type": "server_error",
        "code": "stage_timeout",
        "message": "The llm stage did not answer in time.",
    }
    assert response["usage"]["input_token_details"]["cached_tokens_details"]["text_tokens"] == 0


def test_a_response_that_was_too_long_is_incomplete(written: Written) -> None:
    message, begun = written.reply()
    written.write(*begun, ended(message, "incomplete", reason="max_output_tokens"))
    details = written.events[-1]["response"]["status_details"]
    assert details == {"type": "incomplete", "reason": "max_output_tokens"}


def test_timings_are_told_beside_the_response(written: Written) -> None:
    message, begun = written.reply()
    timings = live.LiveTimings(endpoint_s=0.3, first_audio_s=0.5)
    written.write(*begun, ended(message, timings=timings))
    assert written.events[-1]["response"]["timings"] == {"endpoint_s": 0.3, "first_audio_s": 0.5}
    assert "timings" not in written.events[0]["response"]


def test_the_user_s_words_are_in_the_item_when_it_is_done(written: Written) -> None:
    events = written.write(*written.user())
    added, done = events[4]["item"], events[-1]["item"]
    assert added["content"] == [{"type": "input_audio", "transcript": None}]
    assert done["content"] == [{"type": "input_audio", "transcript": "Hello there"}]
    assert events[-2]["usage"] == {"type": "duration", "seconds": 2.0}


def test_without_transcription_nobody_is_told_what_was_said() -> None:
    plain = session()
    heard = plain.audio.input.model_copy(update={"transcription": None})
    audio = plain.audio.model_copy(update={"input": heard})
    written = Written(session=plain.model_copy(update={"audio": audio}))
    written.write(*written.user())
    assert written.types == [each for each in USER_TURN if "transcription" not in each]
    assert "Hello" not in json.dumps(written.events)


def test_speech_that_cannot_be_heard_is_told(written: Written) -> None:
    message = Message("item_u1", "user", [Part(None, spoken=True)])
    written.conversation.add(message)
    events = written.write(
        live.Committed(message, None), live.TranscriptionFailed(message, StageFailed("stt"))
    )
    assert written.types[-2:] == [
        "conversation.item.input_audio_transcription.failed",
        "conversation.item.done",
    ]
    assert events[-2]["error"]["code"] == "stage_failed"


def test_words_of_an_item_that_was_deleted_meanwhile_have_no_place(written: Written) -> None:
    message = Message("gone", "user", [Part("Hello", spoken=True)])
    events = written.write(live.Transcribed(message, Transcript("Hello", "en", 1.0, 1.0)))
    assert events[-1]["previous_item_id"] is None


@pytest.mark.parametrize(
    ("item", "content"),
    [
        (Message("i1", "user", [Part("Hi")]), [{"type": "input_text", "text": "Hi"}]),
        (
            Message("i1", "user", [Part("Hi", spoken=True)]),
            [{"type": "input_audio", "transcript": "Hi"}],
        ),
        (Message("i1", "system", [Part("Hi")]), [{"type": "input_text", "text": "Hi"}]),
        (Message("i1", "assistant", [Part("Hi")]), [{"type": "output_text", "text": "Hi"}]),
        (
            Message("i1", "assistant", [Part("Hi", spoken=True)]),
            [{"type": "output_audio", "transcript": "Hi"}],
        ),
    ],
)
def test_an_added_message_is_told_twice(
    written: Written, item: Message, content: list[dict[str, str]]
) -> None:
    events = written.write(live.ItemAdded(item, "i0"))
    assert written.types == ["conversation.item.added", "conversation.item.done"]
    for event in events:
        assert event["previous_item_id"] == "i0"
        assert event["item"]["content"] == content


def test_added_calls_and_outputs_are_told(written: Written) -> None:
    events = written.write(
        live.ItemAdded(Call("i1", "c1", "get_time", "{}"), None),
        live.ItemAdded(CallOutput("i2", "c1", "noon"), "i1"),
    )
    assert events[0]["item"]["name"] == "get_time"
    assert events[2]["item"]["output"] == "noon"


def test_deletion_and_truncation_are_told(written: Written) -> None:
    events = written.write(live.ItemDeleted("i1"), live.ItemTruncated("i2", 1500))
    assert events[0]["item_id"] == "i1"
    assert (events[1]["item_id"], events[1]["audio_end_ms"]) == ("i2", 1500)
    assert events[1]["content_index"] == 0


def test_a_long_silence_is_told_with_its_empty_item(written: Written) -> None:
    message = Message("item_u9", "user", [Part("", spoken=True)])
    written.conversation.add(message)
    written.write(live.IdleTimeout("item_u9", 0, 6000), live.Committed(message, None))
    assert written.types == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]


def test_trouble_is_an_error_of_the_server(written: Written) -> None:
    event = written.write(live.Trouble(StageFailed("llm")))[0]
    assert event["error"]["type"] == "server_error"
    assert event["error"]["event_id"] is None


def test_both_kinds_of_session_are_valid() -> None:
    plain = session()
    for event in (SessionCreated(session=plain), SessionUpdated(session=plain)):
        assert strict(event)["session"]["object"] == "realtime.session"
        assert strict_beta(event) is not None
    hears_only = TranscriptionSession.of(plain)
    written = strict(SessionCreated(session=hears_only))["session"]
    assert written["object"] == "realtime.transcription_session"
    assert "output" not in written["audio"]
