import threading
import time

import pytest

from configs.settings import FakeLlmSettings
from deployments.errors import ContextOverflow
from deployments.llm.fake import FakeLlmEngine
from deployments.messages import (
    ChatMessage,
    GenerationEnd,
    GenerationEvent,
    GenerationRequest,
    JsonOutput,
    Sampling,
    TextDelta,
    ToolOutput,
    ToolSignature,
)


def _events(
    settings: FakeLlmSettings, sampling: Sampling | None = None, text: str = "one two"
) -> list[GenerationEvent]:
    request = GenerationRequest((ChatMessage("user", text),), sampling or Sampling())
    return list(FakeLlmEngine(settings).generate(request, threading.Event()))


QUICK = FakeLlmSettings(reply="Paris is big.", first_token_s=0, tokens_per_s=1e6)


def test_a_token_is_a_word_with_the_space_before_it() -> None:
    assert _events(QUICK) == [
        TextDelta("Paris", 1),
        TextDelta(" is", 1),
        TextDelta(" big.", 1),
        GenerationEnd("stop", 2, 3),
    ]


def test_a_reply_is_cut_at_the_greatest_length() -> None:
    assert _events(QUICK, Sampling(max_tokens=2))[-1] == GenerationEnd("length", 2, 2)


def test_an_empty_reply_is_only_an_end() -> None:
    assert _events(QUICK.model_copy(update={"reply": ""})) == [GenerationEnd("stop", 2, 0)]


def test_a_stop_string_is_not_shown() -> None:
    events = _events(QUICK, Sampling(stop=("s b",)))
    assert events == [TextDelta("Pari", 1), TextDelta("s i", 1), GenerationEnd("stop", 2, 3)]


def test_the_words_of_a_prompt_must_leave_room() -> None:
    settings = QUICK.model_copy(update={"context_tokens": 16})
    assert _events(settings, text="word " * 15)[-1] == GenerationEnd("length", 15, 1)
    with pytest.raises(ContextOverflow):
        _events(settings, text="word " * 16)


def test_words_come_at_the_pace_of_the_settings() -> None:
    settings = QUICK.model_copy(update={"first_token_s": 0.1, "tokens_per_s": 20.0})
    started = time.perf_counter()
    _events(settings)
    assert time.perf_counter() - started >= 0.2


def _text(output: JsonOutput | ToolOutput, said: str = "one two") -> str:
    request = GenerationRequest((ChatMessage("user", said),), output=output)
    events = FakeLlmEngine(QUICK).generate(request, threading.Event())
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_json_without_a_schema_holds_the_reply() -> None:
    assert _text(JsonOutput()) == '{"reply": "Paris is big."}'


def test_json_of_a_schema_is_the_shortest() -> None:
    assert _text(JsonOutput('{"properties": {"a": {"minLength": 2}}, "required": ["a"]}')) == (
        '{"a": "xx"}'
    )


def test_a_tool_is_called_where_it_is_required_or_named() -> None:
    tools = (ToolSignature("first", "{}"), ToolSignature("second", "{}"))
    call = '<tool_call>{{"name": "{}", "arguments": {{}}}}</tool_call>'.format
    assert _text(ToolOutput(tools, required=True), "call second") == call("first")
    assert _text(ToolOutput(tools), "call second") == call("second")
    assert _text(ToolOutput(tools)) == "Paris is big."
    result = '<tool_response>{"name": "second", "content": ""}</tool_response>'
    assert _text(ToolOutput(tools), result) == "Paris is big."
