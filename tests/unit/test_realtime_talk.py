"""A client's events are done or refused, and the session goes on."""

import base64
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from configs.settings import LiveSettings
from deployments.errors import RateLimited, StageUnavailable
from deployments.messages import Allowance, KeyLimits
from serve_app.live.items import Message
from serve_app.realtime.dialect import Beta, Today
from tests.unit.fake_services import quick_settings
from tests.unit.realtime_client import Client, loud, quiet

MESSAGE = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_text", "text": "What is the capital of France?"}],
}
TOOL = {"type": "function", "name": "get_time", "parameters": {"type": "object"}}


@pytest.fixture
async def client() -> AsyncGenerator[Client, None]:
    async with Client().talking() as client:
        yield client


# ---- what is said ----


async def test_the_first_event_tells_of_the_session(client: Client) -> None:
    assert client.types == ["session.created"]
    assert client.events[0]["session"]["audio"]["output"]["voice"] == "joe"


async def test_a_spoken_turn_that_the_client_ends(client: Client) -> None:
    await client.say(loud(1000))
    await client.send("input_audio_buffer.commit")
    await client.send("response.create", response={"metadata": {"client_event_id": "r1"}})
    done = await client.until("response.done")
    assert done["response"]["status"] == "completed"
    assert done["response"]["metadata"] == {"client_event_id": "r1"}
    assert done["response"]["timings"]["total_s"] >= 0
    assert client.types[:4] == [
        "session.created",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "response.created",
    ]
    assert abs(client.stages.heard[0].audio.duration_s - 1.0) < 0.01
    assert "What is it?" in str(client.stages.asked[0].messages)


@pytest.mark.parametrize("dialect", [Today, Beta])
async def test_what_is_left_of_the_requests_is_told_with_a_response(dialect: Any) -> None:
    client = Client(dialect=dialect())
    client.caller.limits = KeyLimits(requests=60, burst=2.0)
    client.caller.allowance = Allowance(requests_left=117, requests_reset_s=1.5)
    async with client.talking():
        await client.send("conversation.item.create", item=MESSAGE)
        await client.send("response.create")
        await client.until("response.done")
    after = client.events[[event["type"] for event in client.events].index("response.created") + 1]
    assert after.pop("event_id")
    assert after == {
        "type": "rate_limits.updated",
        "rate_limits": [{"name": "requests", "limit": 120, "remaining": 117, "reset_seconds": 1.5}],
    }


async def test_a_turn_that_the_server_ends_is_told_in_order() -> None:
    async with Client().talking(manual=False) as client:
        await client.say(loud(800))
        for _ in range(60):
            await client.say(quiet(100))
        await client.until("response.done")
        told = [each for each in client.types if not each.startswith("conversation.item.input")]
        assert told[:6] == [
            "session.created",
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
        ]
        assert told[6] == "response.created"
        assert told[-1] == "response.done"


async def test_a_typed_turn_gets_an_answer(client: Client) -> None:
    added = await client.send("conversation.item.create", item={"id": "mine", **MESSAGE})
    assert [event["type"] for event in added] == [
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert added[0]["item"]["id"] == "mine"
    await client.send("response.create")
    done = await client.until("response.done")
    assert "It is Paris" in done["response"]["output"][0]["content"][0]["transcript"]
    assert "capital of France" in client.stages.asked[0].messages[-1].content


async def test_a_written_response_is_asked_for_once(client: Client) -> None:
    await client.send("conversation.item.create", item=MESSAGE)
    await client.send(
        "response.create", response={"output_modalities": ["text"], "instructions": "Sing."}
    )
    done = await client.until("response.done")
    assert done["response"]["output"][0]["content"][0]["type"] == "output_text"
    assert client.stages.asked[0].messages[0].content == "Sing."
    await client.send("response.create")
    again = await client.until("response.done", 2)
    assert again["response"]["output_modalities"] == ["audio"]


async def test_a_response_beside_the_conversation(client: Client) -> None:
    await client.send("conversation.item.create", item={"id": "one", **MESSAGE})
    other = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
    await client.send(
        "response.create",
        response={
            "conversation": "none",
            "output_modalities": ["text"],
            "input": [{"type": "item_reference", "id": "one"}, other],
            "metadata": {"topic": "aside"},
        },
    )
    done = await client.until("response.done")
    assert done["response"]["conversation_id"] is None
    assert len(client.talk.live.conversation) == 1
    assert client.stages.asked[0].messages[-1].content.endswith("Hi")
    assert "capital" in client.stages.asked[0].messages[-1].content


async def test_items_find_their_places(client: Client) -> None:
    await client.send("conversation.item.create", item={"id": "one", **MESSAGE})
    first = await client.send(
        "conversation.item.create", item={"id": "zero", **MESSAGE}, previous_item_id="root"
    )
    assert first[0]["previous_item_id"] is None
    second = await client.send(
        "conversation.item.create", item={"id": "half", **MESSAGE}, previous_item_id="zero"
    )
    assert second[0]["previous_item_id"] == "zero"
    assert [item.id for item in client.talk.live.conversation] == ["zero", "half", "one"]


async def test_every_kind_of_item_can_be_added(client: Client) -> None:
    items: list[dict[str, Any]] = [
        {
            "type": "message",
            "role": "system",
            "content": [{"type": "input_text", "text": "Rules"}],
        },
        {
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [
                {"type": "output_text", "text": "Hi"},
                {"type": "output_audio", "transcript": "there"},
            ],
        },
        {"type": "function_call", "name": "get_time", "call_id": "c1", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "noon"},
        {
            "type": "message",
            "role": "user",
            "object": "realtime.item",
            "content": [{"type": "input_audio", "transcript": "said"}],
        },
    ]
    for item in items:
        told = await client.send("conversation.item.create", item=item)
        assert told[0]["item"]["id"].startswith("item_")
        retrieved = await client.send("conversation.item.retrieve", item_id=told[0]["item"]["id"])
        assert retrieved[0]["item"] == told[0]["item"]
    assert told[0]["item"]["content"] == [{"type": "input_audio", "transcript": "said"}]


async def test_audio_in_an_item_is_heard(client: Client) -> None:
    audio = base64.b64encode(loud(500)).decode()
    item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": audio}]}
    told = await client.send("conversation.item.create", item=item)
    assert told[0]["item"]["content"][0]["transcript"] == "what was said"
    assert client.services.heard[0].audio.duration_s == pytest.approx(0.5, abs=0.01)


async def test_deleted_items_are_gone(client: Client) -> None:
    await client.send("conversation.item.create", item={"id": "one", **MESSAGE})
    told = await client.send("conversation.item.delete", item_id="one")
    assert told[0]["type"] == "conversation.item.deleted"
    assert len(client.talk.live.conversation) == 0


async def test_a_spoken_reply_can_be_truncated(client: Client) -> None:
    await client.send("conversation.item.create", item=MESSAGE)
    await client.send("response.create")
    done = await client.until("response.done")
    item_id = done["response"]["output"][0]["id"]
    told = await client.send(
        "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=600
    )
    assert told[-1]["type"] == "conversation.item.truncated"
    kept = client.talk.live.conversation.find(item_id)
    assert isinstance(kept, Message)
    assert kept.text == "It is Paris."


async def test_a_running_response_can_be_cancelled(client: Client) -> None:
    client.stages.reply = tuple(f"Number {n}, and so on. " for n in range(50))
    await client.send("conversation.item.create", item=MESSAGE)
    await client.send("response.create")
    await client.until("response.output_audio.delta")
    error = await client.refused("response.create")
    assert error["code"] == "conversation_already_has_active_response"
    await client.send("response.cancel")
    done = client.events[-1]
    assert done["response"]["status_details"]["reason"] == "client_cancelled"
    error = await client.refused("response.cancel")
    assert error["code"] == "response_cancel_not_active"
    assert error["message"].startswith("Cancellation failed")


async def test_cleared_audio_is_forgotten(client: Client) -> None:
    await client.say(loud(1000))
    told = await client.send("input_audio_buffer.clear")
    assert [event["type"] for event in told] == ["input_audio_buffer.cleared"]
    error = await client.refused("input_audio_buffer.commit")
    assert error["code"] == "input_audio_buffer_commit_empty"


async def test_a_change_of_the_session_is_told_and_kept(client: Client) -> None:
    told = await client.send(
        "session.update",
        session={
            "type": "realtime",
            "instructions": "Be brief.",
            "audio": {"input": {"format": {"type": "audio/pcmu"}}, "output": {"voice": "marin"}},
        },
    )
    assert [event["type"] for event in told] == ["session.updated"]
    assert told[0]["session"]["audio"]["output"]["voice"] == "joe"
    assert client.talk.live.config.instructions == "Be brief."
    await client.say(bytes(8_000))
    await client.send("input_audio_buffer.commit")
    await client.until("conversation.item.done")
    assert client.stages.heard[0].audio.duration_s == pytest.approx(1.0, abs=0.01)


async def test_a_refused_change_changes_nothing(client: Client) -> None:
    error = await client.refused(
        "session.update",
        session={"type": "realtime", "instructions": "X", "audio": {"output": {"voice": "bob"}}},
    )
    assert error["param"] == "session.audio.output.voice"
    assert error["type"] == "invalid_request_error"
    told = await client.send("session.update", session={"type": "realtime"})
    assert told[0]["session"]["instructions"] != "X"


async def test_a_session_that_only_hears_answers_nothing() -> None:
    async with Client().talking(hears_only=True) as client:
        assert client.events[0]["session"]["type"] == "transcription"
        await client.say(loud(1000))
        await client.send("input_audio_buffer.commit")
        done = await client.until("conversation.item.input_audio_transcription.completed")
        assert done["transcript"] == "What is it?"
        assert not client.stages.asked
        error = await client.refused("response.create")
        assert error["param"] == "type"
        told = await client.send("session.update", session={"type": "transcription"})
        assert told[0]["session"]["object"] == "realtime.transcription_session"


async def test_a_session_can_become_one_that_only_hears(client: Client) -> None:
    told = await client.send(
        "session.update",
        session={
            "type": "transcription",
            "audio": {"input": {"transcription": {"language": "de"}}},
        },
    )
    assert told[0]["session"]["audio"]["input"]["transcription"]["language"] == "de"
    assert not client.talk.live.config.replies


async def test_the_beta_is_spoken_both_ways() -> None:
    async with Client(dialect=Beta()).talking() as client:
        assert client.types == ["session.created", "conversation.created"]
        told = await client.send("session.update", session={"modalities": ["text"]})
        assert told[0]["session"]["modalities"] == ["text"]
        await client.send("conversation.item.create", item=MESSAGE)
        await client.send("response.create", response={"max_response_output_tokens": 9})
        await client.until("response.done")
        assert "response.text.delta" in client.types
        assert "conversation.item.created" in client.types
        error = await client.refused("session.update", session={"voice": "bob"})
        assert error["param"] == "session.voice"


# ---- what is refused ----


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("", None),
        ("{", None),
        ("[]", None),
        ("null", None),
        ('"text"', None),
        ('{"type": NaN}', None),
        ('{"type": "\\ud800"}', None),
        (b"\x00\x01", None),
        ("[" * 2000, None),
        ("{}", "type"),
        ('{"type": null}', "type"),
        ('{"type": 5}', "type"),
        ('{"type": "session.destroy"}', "type"),
    ],
)
async def test_what_is_no_event_is_told(
    client: Client, message: str | bytes, param: str | None
) -> None:
    told = await client.send_text(message)
    assert [event["type"] for event in told] == ["error"]
    assert told[0]["error"]["code"] == "invalid_event"
    assert told[0]["error"]["param"] == param
    assert await client.send("input_audio_buffer.clear")


@pytest.mark.parametrize(
    ("kind", "fields", "code", "param"),
    [
        ("session.update", {}, "missing_required_parameter", "session"),
        ("session.update", {"session": {}}, "missing_required_parameter", "session.type"),
        ("session.update", {"session": {"type": "talk"}}, "invalid_value", "session.type"),
        (
            "session.update",
            {"session": {"type": "realtime", "voice": "amy"}},
            "unknown_parameter",
            "session.voice",
        ),
        (
            "session.update",
            {"session": {"type": "realtime", "tools": [{"type": "mcp"}]}},
            "invalid_value",
            "session.tools.0.type",
        ),
        (
            "session.update",
            {"session": {"type": "transcription", "instructions": "x"}},
            "unknown_parameter",
            "session.instructions",
        ),
        ("input_audio_buffer.append", {}, "missing_required_parameter", "audio"),
        ("input_audio_buffer.append", {"audio": "!"}, "invalid_value", "audio"),
        ("input_audio_buffer.append", {"audio": 5}, "invalid_value", "audio"),
        ("input_audio_buffer.commit", {"more": 1}, "unknown_parameter", "more"),
        ("input_audio_buffer.commit", {}, "input_audio_buffer_commit_empty", None),
        ("conversation.item.create", {}, "missing_required_parameter", "item"),
        (
            "conversation.item.create",
            {
                "item": {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_image", "image_url": "data:"}],
                }
            },
            "invalid_value",
            "item.content.0.type",
        ),
        (
            "conversation.item.create",
            {
                "item": {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_audio"}],
                }
            },
            "missing_required_parameter",
            "item.content.0.audio",
        ),
        (
            "conversation.item.create",
            {
                "item": {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_audio", "audio": "!"}],
                }
            },
            "invalid_value",
            "item.content.0.audio",
        ),
        (
            "conversation.item.create",
            {"item": {**MESSAGE, "id": "x" * 65}},
            "invalid_value",
            "item.id",
        ),
        (
            "conversation.item.create",
            {"item": MESSAGE, "previous_item_id": "gone"},
            "item_create_invalid_previous_item_id",
            "previous_item_id",
        ),
        (
            "conversation.item.retrieve",
            {"item_id": "gone"},
            "item_retrieve_invalid_item_id",
            "item_id",
        ),
        ("conversation.item.delete", {"item_id": "gone"}, "item_delete_invalid_item_id", "item_id"),
        (
            "conversation.item.truncate",
            {"item_id": "gone", "content_index": 0, "audio_end_ms": 1},
            "item_truncate_invalid_item_id",
            "item_id",
        ),
        (
            "conversation.item.truncate",
            {"item_id": "gone", "content_index": 1, "audio_end_ms": 1},
            "invalid_value",
            "content_index",
        ),
        (
            "conversation.item.truncate",
            {"item_id": "gone", "content_index": 0, "audio_end_ms": -1},
            "invalid_value",
            "audio_end_ms",
        ),
        (
            "response.create",
            {"response": {"audio": {"output": {"voice": "bob"}}}},
            "voice_not_found",
            "response.audio.output.voice",
        ),
        (
            "response.create",
            {"response": {"tool_choice": {"type": "function", "name": "gone"}}},
            "invalid_value",
            "response.tool_choice",
        ),
        (
            "response.create",
            {"response": {"input": [{"type": "item_reference", "id": "gone"}]}},
            "item_not_found",
            "response.input.0.id",
        ),
        (
            "response.create",
            {"response": {"temperature": 1}},
            "unknown_parameter",
            "response.temperature",
        ),
        ("response.cancel", {}, "response_cancel_not_active", None),
        ("response.cancel", {"response_id": "resp_9"}, "response_cancel_not_active", None),
        ("output_audio_buffer.clear", {}, "invalid_event", "type"),
    ],
)
async def test_what_cannot_be_done_is_told_with_its_place(
    client: Client, kind: str, fields: dict[str, Any], code: str, param: str | None
) -> None:
    error = await client.refused(kind, **fields)
    assert (error["code"], error["param"]) == (code, param)
    assert error["type"] == "invalid_request_error"
    assert await client.send("input_audio_buffer.clear")


async def test_an_item_exists_only_once(client: Client) -> None:
    await client.send("conversation.item.create", item={"id": "one", **MESSAGE})
    error = await client.refused("conversation.item.create", item={"id": "one", **MESSAGE})
    assert (error["code"], error["param"]) == ("item_create_duplicate_item_id", "item.id")


async def test_audio_of_an_item_is_bounded(client: Client) -> None:
    client.services.settings = quick_settings(live=LiveSettings(max_utterance_s=1))
    audio = base64.b64encode(loud(1500)).decode()
    item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": audio}]}
    error = await client.refused("conversation.item.create", item=item)
    assert "longer than 1 s" in error["message"]


async def test_audio_of_an_item_that_cannot_be_heard_is_an_error_of_the_server(
    client: Client,
) -> None:
    client.services.stt_error = StageUnavailable("stt")
    audio = base64.b64encode(loud(500)).decode()
    item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": audio}]}
    error = await client.refused("conversation.item.create", item=item)
    assert (error["type"], error["code"]) == ("server_error", "stage_unavailable")


async def test_an_event_id_that_is_too_long_is_not_repeated(client: Client) -> None:
    told = await client.send("input_audio_buffer.clear", event_id="x" * 513)
    assert told[0]["error"]["event_id"] is None
    assert told[0]["error"]["param"] == "event_id"


async def test_the_unforeseen_is_told_without_detail(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(client.talk.live, "clear", breaks)
    error = await client.refused("input_audio_buffer.clear")
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert "secret" not in json.dumps(error)


async def test_audio_is_paid_for_by_the_second(client: Client) -> None:
    for _ in range(12):
        await client.say(loud(1000))
    assert client.caller.spent == [pytest.approx(6.0, abs=0.1), pytest.approx(5.0, abs=0.1)]
    await client.meter.settle()
    assert sum(client.caller.spent) == pytest.approx(12.0, abs=0.1)


async def test_a_caller_that_has_none_left_is_told(client: Client) -> None:
    client.caller.error = RateLimited("audio", 3)
    for _ in range(5):
        assert not await client.say(loud(1050))
    told = await client.say(loud(1000))
    assert told[0]["error"]["code"] == "rate_limit_exceeded"
    assert told[0]["error"]["type"] == "rate_limit_error"
