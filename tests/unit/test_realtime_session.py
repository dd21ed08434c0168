"""The session as a realtime client sees it: its beginning, its changes, and what they mean."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from configs.settings import LiveSettings
from deployments.errors import StageUnavailable
from serve_app.live.config import LiveConfig, TurnTaking
from serve_app.protocol.realtime_client_events import SessionChanges
from serve_app.protocol.realtime_response import ResponseParams
from serve_app.protocol.realtime_session import RealtimeSession, TranscriptionSession
from serve_app.realtime.refusal import Refused
from tests.unit.fake_services import quick_settings
from tests.unit.realtime_events import FakeServices, defaults

_CHANGES: TypeAdapter[Any] = TypeAdapter(SessionChanges)
TOOL = {"type": "function", "name": "get_time", "parameters": {"type": "object"}}


def begun() -> RealtimeSession:
    return defaults().session("sess_1", 1_790_000_000)


def changed(session: RealtimeSession | None = None, **fields: Any) -> RealtimeSession:
    changes = _CHANGES.validate_python({"type": "realtime", **fields})
    return defaults().changed(session or begun(), changes)


def heard(session: RealtimeSession | None = None, **fields: Any) -> RealtimeSession:
    return changed(session, audio={"input": fields})


def live(session: RealtimeSession) -> LiveConfig:
    return defaults().live(session, "session")


def taking(session: RealtimeSession) -> TurnTaking:
    found = live(session).turn_taking
    assert found is not None
    return found


def test_a_session_begins_as_the_configuration_says() -> None:
    services = FakeServices(
        quick_settings(live=LiveSettings(silence_ms=420, prefix_padding_ms=350, vad_threshold=0.4))
    )
    seen = defaults(services).session("sess_1", 1_790_000_000).model_dump()
    assert seen["output_modalities"] == ["audio"]
    assert seen["audio"]["input"]["turn_detection"] == {
        "type": "server_vad",
        "threshold": 0.4,
        "prefix_padding_ms": 350,
        "silence_duration_ms": 420,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    }
    assert seen["audio"]["input"]["transcription"] == {"model": "fake-stt"}
    assert seen["max_output_tokens"] == services.settings.spoken_sampling.max_tokens
    assert seen["instructions"] == services.settings.prompts.spoken


def test_only_what_is_named_changes() -> None:
    first = changed(
        instructions="Be brief.", audio={"output": {"voice": "amy"}}, max_output_tokens=99
    )
    second = changed(first, audio={"output": {"speed": 1.5}, "input": {"transcription": None}})
    assert second.instructions == "Be brief."
    assert second.max_output_tokens == 99
    assert (second.audio.output.voice, second.audio.output.speed) == ("amy", 1.5)
    assert second.audio.input.transcription is None
    assert second.audio.input.turn_detection == begun().audio.input.turn_detection
    assert second.id == "sess_1"


def test_null_leaves_what_cannot_be_switched_off() -> None:
    first = changed(instructions="Be brief.", tools=[TOOL])
    nulls = dict.fromkeys(
        "model instructions output_modalities max_output_tokens tools tool_choice tracing "
        "truncation include prompt reasoning parallel_tool_calls audio".split()
    )
    assert changed(first, **nulls) == first
    assert changed(first, audio={"input": None, "output": None}) == first
    inner = {"format": None, "voice": None, "speed": None}
    assert changed(first, audio={"output": inner}) == first


def test_turn_detection_of_the_same_kind_is_merged_and_of_another_begins_anew() -> None:
    first = heard(turn_detection={"type": "server_vad", "silence_duration_ms": 800})
    second = heard(first, turn_detection={"type": "server_vad", "threshold": 0.7})
    detection = second.audio.input.turn_detection
    assert detection is not None
    assert detection.model_dump()["silence_duration_ms"] == 800
    third = heard(second, turn_detection={"type": "semantic_vad"})
    assert third.audio.input.turn_detection is not None
    assert third.audio.input.turn_detection.model_dump() == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    }
    fourth = heard(third, turn_detection={"type": "server_vad"})
    assert fourth.audio.input.turn_detection == begun().audio.input.turn_detection
    off = heard(fourth, turn_detection=None)
    assert off.audio.input.turn_detection is None
    assert live(off).turn_taking is None
    again = heard(off, turn_detection={"type": "server_vad"})
    assert again.audio.input.turn_detection == begun().audio.input.turn_detection


def test_a_silence_that_was_asked_for_is_the_shortest_wait() -> None:
    long = heard(turn_detection={"type": "server_vad", "silence_duration_ms": 4_000})
    endpointing = taking(long).endpointing
    assert endpointing.silence_ms == 4_000
    assert endpointing.unfinished_ms == endpointing.unheard_ms == 4_000
    short = heard(turn_detection={"type": "server_vad", "silence_duration_ms": 200})
    own = LiveSettings()
    assert taking(short).endpointing.silence_ms == 200
    assert taking(short).endpointing.unfinished_ms == own.unfinished_ms


def test_turn_detection_means_what_it_says() -> None:
    detection = {
        "type": "server_vad",
        "threshold": 0.8,
        "prefix_padding_ms": 100,
        "idle_timeout_ms": 6_000,
        "create_response": False,
        "interrupt_response": False,
    }
    found = taking(heard(turn_detection=detection))
    assert (found.endpointing.threshold, found.endpointing.prefix_padding_ms) == (0.8, 100)
    assert (found.idle_ms, found.creates_reply, found.interrupts) == (6_000, False, False)


@pytest.mark.parametrize(
    ("eagerness", "longest_ms"),
    [("low", 4_000), ("medium", 2_000), ("auto", 2_000), ("high", 1_200)],
)
def test_eagerness_bounds_the_wait(eagerness: str, longest_ms: int) -> None:
    found = taking(heard(turn_detection={"type": "semantic_vad", "eagerness": eagerness}))
    assert found.endpointing.unfinished_ms == longest_ms
    assert found.judges
    assert found.idle_ms is None


def test_the_more_eager_the_shorter_the_silence() -> None:
    silences = [
        taking(heard(turn_detection={"type": "semantic_vad", "eagerness": each})).endpointing
        for each in ("low", "medium", "high")
    ]
    assert silences[0].silence_ms > silences[1].silence_ms > silences[2].silence_ms


def test_transcription_is_merged_and_cleared() -> None:
    first = heard(transcription={"language": "en-US", "prompt": "Names", "keywords": ["Ada"]})
    config = live(first)
    assert (config.language, config.hints, config.keywords) == ("en", "Names", ("Ada",))
    second = heard(first, transcription={"language": None, "languages": ["de", "nl"]})
    config = live(second)
    assert (config.language, config.languages, config.hints) == (None, ("de", "nl"), "Names")
    off = heard(second, transcription=None)
    assert not live(off).partials
    on = heard(off, transcription={"model": "whisper-1"})
    assert on.audio.input.transcription is not None
    assert on.audio.input.transcription.model_dump() == {"model": "whisper-1"}


def test_formats_are_replaced_whole() -> None:
    first = heard(format={"type": "audio/pcmu"})
    assert first.audio.input.format.model_dump() == {"type": "audio/pcmu"}
    second = heard(first, format={"type": "audio/pcm"})
    assert second.audio.input.format.model_dump() == {"type": "audio/pcm", "rate": 24_000}


@pytest.mark.parametrize(
    ("asked", "found"),
    [(["text"], ["text"]), (["audio"], ["audio"]), (["text", "audio"], ["audio"])],
)
@pytest.mark.parametrize("name", ["output_modalities", "modalities"])
def test_audio_brings_its_text_along(name: str, asked: list[str], found: list[str]) -> None:
    session = changed(**{name: asked})
    assert session.output_modalities == found
    assert (live(session).voice is not None) == ("audio" in found)


def test_what_is_said_becomes_what_is_done() -> None:
    session = changed(
        instructions="Be brief.",
        max_output_tokens=50,
        tools=[TOOL],
        tool_choice="required",
        parallel_tool_calls=False,
        audio={"output": {"voice": {"id": "amy"}, "speed": 1.25}},
    )
    config = live(session)
    assert config.instructions == "Be brief."
    assert config.sampling.max_tokens == 50
    assert [tool.name for tool in config.tools] == ["get_time"]
    assert (config.tool_choice, config.parallel_calls) == ("required", False)
    assert config.voice is not None
    assert (config.voice.voice, config.voice.speed) == ("amy", 1.25)
    assert live(changed(max_output_tokens="inf")).sampling.max_tokens == 4096


def test_a_tool_may_be_named_and_only_then_it_is_called_alone() -> None:
    session = changed(tools=[TOOL], tool_choice={"type": "function", "name": "get_time"})
    assert live(session).tool_choice == "get_time"
    assert not live(session).parallel_calls
    changed_again = changed(session, tool_choice="auto")
    assert live(changed_again).tool_choice == "auto"
    assert live(changed_again).parallel_calls


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": {"type": "function", "name": "other"}}, "session.tool_choice"),
        ({"tools": [TOOL, TOOL]}, "session.tools"),
    ],
)
def test_tools_that_cannot_be_held_to_are_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Refused) as caught:
        live(changed(**fields))
    assert (caught.value.code, caught.value.param) == ("invalid_value", param)


@pytest.mark.parametrize(
    "fields",
    [
        {"voice": "amy"},
        {"audio": {"input": {"noise_reduction": {"type": "near_field"}}}},
        {"audio": {"input": {"transcription": {"delay": "low"}}}},
        {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16_000}}}},
        {"audio": {"output": {"speed": 9}}},
        {"audio": {"output": {"voice": {"id": "amy", "more": 1}}}},
        {"truncation": "disabled"},
        {"truncation": {"type": "retention_ratio", "retention_ratio": 0.5}},
        {"tracing": {"workflow_name": "x"}},
        {"prompt": {"id": "p"}},
        {"reasoning": {"effort": "low"}},
        {"include": ["item.input_audio_transcription.logprobs"]},
        {"max_output_tokens": 0},
        {"output_modalities": []},
        {"modalities": ["audio"], "output_modalities": ["audio"]},
        {"tools": [{**TOOL, "name": "a b"}]},
        {"tools": [TOOL] * 129},
        {"tools": [{"type": "mcp", "server_label": "x"}]},
    ],
)
def test_what_cannot_be_honoured_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        changed(**fields)


@pytest.mark.parametrize("fields", [{"tracing": "auto"}, {"truncation": "auto"}, {"include": []}])
def test_what_changes_nothing_is_accepted(fields: dict[str, Any]) -> None:
    assert changed(**fields) == begun()


async def test_names_become_those_of_what_is_served() -> None:
    session = changed(
        model="gpt-realtime",
        audio={
            "output": {"voice": "marin"},
            "input": {"transcription": {"model": "gpt-4o-mini-transcribe"}},
        },
    )
    resolved = await defaults().resolved(session, "session")
    assert resolved.model == "fake-llm"
    assert resolved.audio.output.voice == "joe"
    assert resolved.audio.input.transcription is not None
    assert resolved.audio.input.transcription.model == "fake-stt"


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"model": "llama-9"}, "session.model", "model_not_found"),
        (
            {"audio": {"output": {"voice": "bob"}}},
            "session.audio.output.voice",
            "voice_not_found",
        ),
        (
            {"audio": {"input": {"transcription": {"model": "parrot"}}}},
            "session.audio.input.transcription.model",
            "model_not_found",
        ),
    ],
)
async def test_unknown_names_are_refused(fields: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(Refused) as caught:
        await defaults().resolved(changed(**fields), "session")
    assert (caught.value.code, caught.value.param) == (code, param)


async def test_a_voice_stage_that_is_away_costs_nothing_yet() -> None:
    away = FakeServices(error=StageUnavailable("tts"))
    resolved = await defaults(away).resolved(begun(), "session")
    assert resolved.audio.output.voice == "default"
    voice = live(resolved).voice
    assert voice is not None
    assert voice.voice is None


def test_a_response_has_its_own_choices_and_leaves_the_session_s() -> None:
    session = changed(instructions="Be brief.", tools=[TOOL])
    params = ResponseParams.model_validate(
        {
            "instructions": "Sing.",
            "output_modalities": ["text"],
            "audio": {"output": {"voice": "amy", "format": {"type": "audio/pcma"}}},
            "tools": [],
            "max_output_tokens": 5,
            "metadata": {"a": "b"},
            "conversation": "none",
            "input": [],
        }
    )
    found = defaults().for_response(session, params)
    assert (found.instructions, found.output_modalities, found.tools) == ("Sing.", ["text"], [])
    assert found.audio.output.format.type == "audio/pcma"
    assert found.audio.input == session.audio.input
    assert session.instructions == "Be brief."
    empty = ResponseParams.model_validate({"instructions": None})
    assert defaults().for_response(session, empty) == session


@pytest.mark.parametrize(
    "params",
    [
        {"metadata": {str(n): "x" for n in range(17)}},
        {"metadata": {"k" * 65: "x"}},
        {"metadata": {"k": "x" * 513}},
        {"conversation": "conv_1"},
        {"temperature": 0.5},
        {"prompt": {"id": "p"}},
        {"input": [{"type": "mcp_call"}]},
    ],
)
def test_a_response_cannot_have_everything(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ResponseParams.model_validate(params)


def test_hints_of_a_schema_do_not_reach_the_grammar() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}
    session = changed(tools=[{**TOOL, "parameters": schema}])
    assert "pattern" not in live(session).tools[0].parameters
    assert session.model_dump()["tools"][0]["parameters"] == schema


def test_a_session_that_only_hears_shows_only_that() -> None:
    seen = TranscriptionSession.of(begun()).model_dump()
    assert seen["type"] == "transcription"
    assert list(seen["audio"]) == ["input"]
