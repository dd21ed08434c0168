"""OpenAI's chat completions, driven by OpenAI's own client."""

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel
from starlette.types import Message, Scope

from configs.settings import (
    AccessSettings,
    FakeLlmSettings,
    FakeSttSettings,
    LimitSettings,
    RateSettings,
)
from deployments.errors import (
    ContextOverflow,
    SpeechError,
    StageFailed,
    StageTimeout,
    StageUnavailable,
)
from deployments.messages import (
    ChatMessage,
    FinishReason,
    GenerationEnd,
    GenerationEvent,
    GenerationRequest,
    JsonOutput,
    Origin,
    Sampling,
    TextDelta,
    ToolOutput,
    ToolSignature,
)
from serve_app.chat.conversation import conversation_id
from tests.unit.fake_services import HEARD, RATE, REPLY, Served, quick_settings, serving
from tests.unit.http_answers import decoded, problem
from tests.unit.media_files import example, wav_bytes
from tests.unit.openai_client import openai_client

ROUTE = "/v1/chat/completions"
ASKED: list[Any] = [{"role": "user", "content": "Where is Paris?"}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Of a town.", "parameters": CITY},
}
TIME = {"type": "function", "function": {"name": "get_time"}}
CALL = '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}</tool_call>'
CALL_TIME = '<tool_call>{"name": "get_time", "arguments": {}}</tool_call>'
SPOKEN: dict[str, Any] = {
    "modalities": ["text", "audio"],
    "audio": {"voice": "alloy", "format": "wav"},
}


class Town(BaseModel):
    """A town."""

    name: str
    people: int


class ScriptedLlm:
    """Writes the pieces that it was given; the next reply each time it is asked."""

    def __init__(self, *replies: str, finish: FinishReason = "stop", size: int = 7) -> None:
        self._replies, self._finish, self._size = list(replies), finish, size
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Nothing to load."""

    def generate(
        self, request: GenerationRequest, stop: threading.Event
    ) -> Iterator[GenerationEvent]:
        with self._lock:
            reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        pieces = [reply[at : at + self._size] for at in range(0, len(reply), self._size)]
        for piece in pieces:
            yield TextDelta(piece, 1)
        yield GenerationEnd(self._finish, 11, len(pieces))


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(quick_settings(limits=LimitSettings(max_prompt_chars=5000))) as served:
        yield served


@pytest.fixture
def client(served: Served) -> OpenAI:
    return openai_client(served)


@contextmanager
def writing(served: Served, *replies: str, finish: FinishReason = "stop") -> Iterator[None]:
    """Let the model write these replies."""
    engine, served.llm.engine = served.llm.engine, ScriptedLlm(*replies, finish=finish)
    try:
        yield
    finally:
        served.llm.engine = engine


def ask(served: Served, **body: Any) -> Any:
    return served.client.post(ROUTE, json={"messages": ASKED, **body})


def create(client: OpenAI, **wishes: Any) -> ChatCompletion:
    return client.chat.completions.create(
        **{"model": "gpt-4o-mini", "messages": ASKED, **wishes}, stream=False
    )


def chunks(client: OpenAI, **wishes: Any) -> list[ChatCompletionChunk]:
    return list(
        client.chat.completions.create(
            **{"model": "gpt-4o-mini", "messages": ASKED, **wishes}, stream=True
        )
    )


def last_request(served: Served) -> GenerationRequest:
    return served.llm.requests[-1]


def heard_by_model(served: Served) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in last_request(served).messages]


def recording(data: bytes | None = None, kind: str = "wav") -> dict[str, Any]:
    encoded = base64.b64encode(wav_bytes() if data is None else data).decode()
    return {"type": "input_audio", "input_audio": {"data": encoded, "format": kind}}


# ---- text ---------------------------------------------------------------------------------------


def test_an_answer_is_whole(served: Served, client: OpenAI) -> None:
    answer = create(client)
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert answer.model == "fake-llm"
    assert answer.system_fingerprint is not None
    (choice,) = answer.choices
    assert (choice.index, choice.finish_reason) == (0, "stop")
    assert (choice.message.role, choice.message.content) == ("assistant", REPLY)
    assert choice.message.tool_calls is None
    assert answer.usage is not None
    words = len(REPLY.split())
    assert answer.usage.completion_tokens == words
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + words


def test_an_answer_has_openais_fields_and_nulls(served: Served) -> None:
    answer = ask(served).json()
    (choice,) = answer["choices"]
    assert set(answer) == {
        "id", "object", "created", "model", "choices", "usage", "system_fingerprint",
    }  # fmt: skip
    assert choice["logprobs"] is None
    assert choice["message"] == {"role": "assistant", "content": REPLY, "refusal": None}


def test_a_stream_begins_with_the_role_and_ends_with_the_reason(client: OpenAI) -> None:
    first, *deltas, last = chunks(client)
    assert first.choices[0].delta.role == "assistant"
    assert first.choices[0].delta.content == ""
    assert "".join(chunk.choices[0].delta.content or "" for chunk in deltas) == REPLY
    assert len(deltas) == len(REPLY.split())
    assert {chunk.choices[0].finish_reason for chunk in [first, *deltas]} == {None}
    assert last.choices[0].finish_reason == "stop"
    assert last.choices[0].delta.content is None
    assert len({chunk.id for chunk in [first, *deltas, last]}) == 1


def test_a_stream_is_events_without_names(served: Served) -> None:
    response = ask(served, stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, done, end = response.text.split("\n\n")
    assert all(event.startswith("data: {") for event in events)
    assert (done, end) == ("data: [DONE]", "")


def test_usage_comes_last_and_only_when_asked_for(served: Served, client: OpenAI) -> None:
    *others, last = chunks(client, stream_options={"include_usage": True})
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == len(REPLY.split())
    assert all(chunk.usage is None for chunk in others)
    assert '"usage":null' in ask(served, stream=True, stream_options={"include_usage": True}).text
    assert '"usage"' not in ask(served, stream=True).text


def test_a_reply_that_is_cut_off_says_so(client: OpenAI) -> None:
    assert create(client, max_completion_tokens=2).choices[0].finish_reason == "length"
    assert chunks(client, max_tokens=2)[-1].choices[0].finish_reason == "length"


def test_every_wish_reaches_the_model(served: Served) -> None:
    wishes: dict[str, Any] = {
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 5,
        "min_p": 0.1,
        "typical_p": 0.9,
        "repeat_penalty": 1.2,
        "presence_penalty": -1.0,
        "frequency_penalty": 1.0,
        "seed": 7,
    }
    bias = {"logit_bias": {"7": -100, "12": 1.5}}
    with writing(served, "Here."):
        assert ask(served, **wishes, **bias, max_tokens=3, stop=["a", "b"]).is_success
    assert last_request(served).sampling == Sampling(
        **wishes, max_tokens=3, stop=("a", "b"), logit_bias=((7, -100), (12, 1.5))
    )


def test_without_wishes_the_settings_decide(served: Served) -> None:
    ask(served)
    messages = (ChatMessage("user", "Where is Paris?"),)
    assert last_request(served) == GenerationRequest(
        messages,
        Sampling(max_tokens=512),
        origin=Origin("anybody", conversation_id(messages)),
    )


def test_one_stop_may_stand_alone(served: Served) -> None:
    ask(served, stop="Seine")
    assert last_request(served).sampling.stop == ("Seine",)


@pytest.mark.parametrize("seed", [-1, 2**40, -(2**63)])
def test_any_seed_of_openais_is_a_seed(served: Served, seed: int) -> None:
    ask(served, seed=seed)
    assert last_request(served).sampling.seed == seed % (2**32 - 1)


def test_several_answers_have_their_own_seeds_and_one_usage(served: Served, client: OpenAI) -> None:
    before = len(served.llm.requests)
    with writing(served, "one", "two", "three"):
        answer = create(client, n=3, seed=5)
    assert {choice.message.content for choice in answer.choices} == {"one", "two", "three"}
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    seeds = {request.sampling.seed for request in served.llm.requests[before:]}
    assert seeds == {5, 6, 7}
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (11, 3)


def test_several_answers_stream_side_by_side(served: Served, client: OpenAI) -> None:
    with writing(served, "a" * 20, "b" * 20):
        found = chunks(client, n=2)
    assert [chunk.choices[0].index for chunk in found[:2]] == [0, 1]
    texts = {0: "", 1: ""}
    for chunk in found:
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert set(texts.values()) == {"a" * 20, "b" * 20}


def test_the_clients_own_stream_puts_several_answers_together(client: OpenAI) -> None:
    with client.chat.completions.stream(model="gpt-4o", messages=ASKED, n=3) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_completion()
    assert [choice.message.content for choice in final.choices] == [REPLY] * 3
    assert events.count("content.done") == 3


@pytest.mark.parametrize("name", [None, "fake-llm", "gpt-4o-audio-preview", "o3"])
def test_openais_names_mean_the_model_that_is_served(served: Served, name: str | None) -> None:
    assert ask(served, model=name).json()["model"] == "fake-llm"


def test_another_model_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        create(client, model="llama-9")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    "harmless",
    [
        {"user": "me", "metadata": {"a": "b"}, "store": False, "safety_identifier": "x"},
        {"prompt_cache_key": "k", "logprobs": False, "top_logprobs": None},
        {"reasoning_effort": "none", "verbosity": "medium", "parallel_tool_calls": True},
        {"stream": None, "n": None, "stop": None, "tools": None, "temperature": None},
        {"tool_choice": "none", "tools": [], "response_format": {"type": "text"}},
        {"modalities": ["text"], "audio": None, "functions": None},
    ],
)
def test_what_changes_nothing_is_accepted(served: Served, harmless: dict[str, Any]) -> None:
    assert ask(served, **harmless).json()["choices"][0]["message"]["content"] == REPLY


def test_the_service_tier_is_named_when_it_was_asked_for(client: OpenAI) -> None:
    assert create(client, service_tier="auto").service_tier == "default"


# ---- messages -----------------------------------------------------------------------------------


def test_the_model_reads_what_the_client_says_and_no_more(served: Served) -> None:
    ask(
        served,
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": t} for t in ("Hi.", "You!")]},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "assistant", "content": None, "refusal": "Never."},
            {"role": "user", "name": "Ann", "content": "Why?"},
        ],
    )
    assert heard_by_model(served) == [
        ("system", "Be brief."),
        ("user", "Hi.\nYou!"),
        ("assistant", "No."),
        ("assistant", "Never."),
        ("user", "Ann: Why?"),
    ]


def test_a_call_and_its_result_are_read(served: Served) -> None:
    ask(
        served,
        messages=[
            *ASKED,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        ],
    )
    assert heard_by_model(served)[1:] == [
        ("assistant", CALL),
        ("user", '<tool_response>{"name": "get_weather", "content": "sunny"}</tool_response>'),
    ]


def test_an_answer_of_the_client_goes_back_as_it_came(served: Served, client: OpenAI) -> None:
    with writing(served, CALL):
        message = create(client, tools=[WEATHER]).choices[0].message
    assert message.tool_calls is not None
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"}
    answer = create(client, messages=[*ASKED, message, result, *ASKED], tools=[WEATHER])
    assert answer.choices[0].message.content == REPLY
    assert ("assistant", CALL) in heard_by_model(served)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ([{"role": "user", "content": "x"}] * 257, "messages"),
        ([{"role": "user", "content": "x" * 5001}], "messages"),
        ([{"role": "user", "content": "x" * 2600}] * 2, "messages"),
        ([{"role": "user"}], "messages.0.content"),
        ([{"role": "user", "content": None}], "messages.0.content"),
        ([{"role": "user", "content": []}], "messages.0.content"),
        ([{"role": "user", "content": "x", "mood": "bad"}], "messages.0.mood"),
        ([{"role": "function", "name": "f", "content": "x"}], "messages.0"),
        ([{"role": "assistant"}], "messages.0.content"),
        ([{"role": "tool", "content": "x", "tool_call_id": "y"}], "messages.0.tool_call_id"),
        ([{"role": "system", "content": [{"type": "refusal"}]}], "messages.0.content.0.type"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages.0.content.0.text"),
        (
            [
                *ASKED,
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "file"}]},
            ],
            "messages.1.content.1",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
            "messages.0.content.0",
        ),
    ],
)
def test_a_message_that_cannot_be_read_is_named(
    served: Served, messages: list[Any], param: str
) -> None:
    status, _, found = problem(ask(served, messages=messages))
    assert (status, found) == (400, param)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"top_q": 1}, "unknown_parameter", "top_q"),
        ({"prediction": {"type": "content"}}, "unknown_parameter", "prediction"),
        ({"web_search_options": {}}, "unknown_parameter", "web_search_options"),
        ({"functions": [{"name": "f"}]}, "invalid_parameter", "functions"),
        ({"function_call": "auto"}, "invalid_parameter", "function_call"),
        ({"logprobs": True}, "invalid_parameter", "logprobs"),
        ({"top_logprobs": 2}, "invalid_parameter", "top_logprobs"),
        ({"store": True}, "invalid_parameter", "store"),
        ({"service_tier": "flex"}, "invalid_parameter", "service_tier"),
        ({"reasoning_effort": "high"}, "invalid_parameter", "reasoning_effort"),
        ({"verbosity": "low"}, "invalid_parameter", "verbosity"),
        ({"max_tokens": 0}, "invalid_parameter", "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "invalid_parameter", "max_tokens"),
        ({"temperature": 2.1}, "invalid_parameter", "temperature"),
        ({"temperature": "NaN"}, "invalid_parameter", "temperature"),
        ({"n": 9}, "invalid_parameter", "n"),
        ({"stop": ["x"] * 17}, "invalid_parameter", "stop"),
        ({"stop": [""]}, "invalid_parameter", "stop.0"),
        ({"stop": 5}, "invalid_parameter", "stop"),
        ({"logit_bias": {"a": 1}}, "invalid_parameter", "logit_bias.a"),
        ({"logit_bias": {"1": 101}}, "invalid_parameter", "logit_bias.1"),
        ({"logit_bias": {str(n): 1 for n in range(301)}}, "invalid_parameter", "logit_bias"),
        ({"stream_options": {}}, "invalid_parameter", "stream_options"),
        ({"metadata": {str(n): "" for n in range(17)}}, "invalid_parameter", "metadata"),
        ({"modalities": ["smell"]}, "invalid_parameter", "modalities.0"),
        ({"modalities": ["text", "audio"]}, "invalid_parameter", "audio"),
        ({"audio": SPOKEN["audio"]}, "invalid_parameter", "modalities"),
        ({"response_format": {"type": "xml"}}, "invalid_parameter", "response_format"),
        (
            {"response_format": {"type": "json_schema"}},
            "missing_parameter",
            "response_format.json_schema",
        ),
        ({"tools": [{"type": "custom"}]}, "invalid_parameter", "tools.0.type"),
        ({"tools": [WEATHER, WEATHER]}, "invalid_parameter", "tools"),
        ({"tools": [TIME] * 129}, "invalid_parameter", "tools"),
        ({"tool_choice": "required"}, "invalid_parameter", "tool_choice"),
        ({"tool_choice": "perhaps"}, "invalid_parameter", "tool_choice"),
        (
            {"tools": [TIME], "tool_choice": WEATHER | {"function": {"name": "get_weather"}}},
            "invalid_parameter",
            "tool_choice",
        ),
        (
            {"tools": [TIME], "response_format": {"type": "json_object"}},
            "invalid_parameter",
            "response_format",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_honoured_is_refused(
    served: Served, stream: bool, body: dict[str, Any], code: str, param: str
) -> None:
    if "stream_options" in body:
        stream = False
    assert problem(ask(served, stream=stream, **body)) == (400, code, param)


@pytest.mark.parametrize(
    "schema", ['{"a":' * 300 + "1" + "}" * 300, '{"a": NaN}', '{"\\ud800": 1}', '{"a": "\\ud800"}']
)
def test_a_schema_that_is_no_json_is_refused(served: Served, schema: str) -> None:
    tool = f'{{"type": "function", "function": {{"name": "f", "parameters": {schema}}}}}'
    body = f'{{"messages": [{{"role": "user", "content": "x"}}], "tools": [{tool}]}}'
    headers = {"content-type": "application/json"}
    response = served.client.post(ROUTE, content=body, headers=headers)
    status, code, param = problem(response)
    assert (status, code) == (400, "invalid_parameter")
    assert param is not None
    assert param.startswith("tools")


# ---- failure ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status"), [(StageTimeout("llm"), 504), (StageUnavailable("llm"), 503)]
)
def test_a_model_that_fails_at_once_has_its_own_status(
    served: Served, stream: bool, error: SpeechError, status: int
) -> None:
    with served.broken("llm", error):
        assert problem(ask(served, stream=stream))[:2] == (status, error.code)


@pytest.mark.parametrize("stream", [False, True])
def test_one_of_several_answers_that_fails_has_its_own_status(served: Served, stream: bool) -> None:
    with served.broken("llm", StageTimeout("llm")):
        assert problem(ask(served, stream=stream, n=3))[:2] == (504, "stage_timeout")


def test_a_model_that_fails_later_breaks_the_clients_stream(served: Served, client: OpenAI) -> None:
    seen: list[str] = []
    with served.broken("llm", StageFailed("llm"), after=2), pytest.raises(openai.APIError) as error:
        for chunk in client.chat.completions.create(model="gpt-4o", messages=ASKED, stream=True):
            seen.append(chunk.choices[0].delta.content or "")  # noqa: PERF401
    assert len(seen) == 3
    assert error.value.code == "stage_failed"


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_without_room_is_refused(served: Served, stream: bool) -> None:
    with served.broken("llm", ContextOverflow(5000, 4096)):
        response = ask(served, stream=stream)
    assert problem(response) == (400, "context_length_exceeded", "messages")


async def test_a_client_that_goes_away_ends_the_generations() -> None:
    slow = FakeLlmSettings(reply="word " * 1000, first_token_s=0, tokens_per_s=100)
    gone = asyncio.Event()
    body = json.dumps({"messages": ASKED, "stream": True, "n": 2}).encode()
    questions: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    answers: list[Message] = []

    async def receive() -> Message:
        if questions:
            return questions.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        answers.append(message)
        if len(answers) == 5:
            gone.set()

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": ROUTE,
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    with serving(quick_settings(llm=slow)) as served:
        await asyncio.wait_for(served.api(scope, receive, send), 5)
        assert served.llm.closed.is_set()
        assert len(answers) < 20
        assert all(message.get("more_body", True) for message in answers)


# ---- JSON ---------------------------------------------------------------------------------------


def test_json_is_asked_of_the_engine(served: Served) -> None:
    ask(served, response_format={"type": "json_object"})
    assert last_request(served).output == JsonOutput()
    assert heard_by_model(served) == [("user", "Where is Paris?")]


def test_what_is_held_to_a_form_may_repeat_itself(served: Served) -> None:
    ask(served, response_format={"type": "json_object"})
    assert last_request(served).sampling.repeat_penalty == 1.0
    ask(served, response_format={"type": "json_object"}, repeat_penalty=1.3)
    assert last_request(served).sampling.repeat_penalty == 1.3


def test_a_schema_is_told_and_held_to(served: Served) -> None:
    wanted = {"name": "town", "description": "A town.", "schema": CITY, "strict": True}
    ask(
        served,
        messages=[{"role": "system", "content": "Be brief."}, *ASKED],
        response_format={"type": "json_schema", "json_schema": wanted},
    )
    output = last_request(served).output
    assert isinstance(output, JsonOutput)
    assert json.loads(output.schema or "") == CITY
    (first, _), (second, told), _ = heard_by_model(served)
    assert (first, second) == ("system", "system")
    assert "'town' (A town.)" in told
    assert told.endswith(output.schema or "?")


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # the client's own message
def test_the_client_parses_a_model_of_its_own(served: Served, client: OpenAI) -> None:
    with writing(served, '{"name": "Paris", "people": 2000000}'):
        answer = client.chat.completions.parse(model="gpt-4o", messages=ASKED, response_format=Town)
    assert answer.choices[0].message.parsed == Town(name="Paris", people=2_000_000)
    again = [*ASKED, answer.choices[0].message, *ASKED]
    assert create(client, messages=again).choices[0].message.content == REPLY


def test_the_client_parses_a_stream(served: Served, client: OpenAI) -> None:
    with (
        writing(served, '{"name": "Paris", "people": 2000000}'),
        client.chat.completions.stream(
            model="gpt-4o", messages=ASKED, response_format=Town
        ) as stream,
    ):
        final = stream.get_final_completion()
    assert final.choices[0].message.parsed == Town(name="Paris", people=2_000_000)


# ---- tools --------------------------------------------------------------------------------------


def test_the_engine_is_held_to_the_tools(served: Served) -> None:
    ask(served, tools=[WEATHER, TIME])
    output = last_request(served).output
    assert isinstance(output, ToolOutput)
    assert [(each.name, json.loads(each.parameters)) for each in output.tools] == [
        ("get_weather", CITY),
        ("get_time", {"type": "object", "properties": {}}),
    ]
    assert (output.required, output.parallel) == (False, True)
    assert "get_weather" in heard_by_model(served)[0][1]


@pytest.mark.parametrize(
    ("choice", "names", "required", "parallel"),
    [
        ("auto", ["get_weather", "get_time"], False, True),
        ("required", ["get_weather", "get_time"], True, True),
        ({"type": "function", "function": {"name": "get_time"}}, ["get_time"], True, False),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "get_time"}}],
                },
            },
            ["get_time"],
            True,
            True,
        ),
    ],
)
def test_the_choice_of_tools_is_kept(
    served: Served, choice: Any, names: list[str], required: bool, parallel: bool
) -> None:
    ask(served, tools=[WEATHER, TIME], tool_choice=choice)
    output = last_request(served).output
    assert isinstance(output, ToolOutput)
    assert [each.name for each in output.tools] == names
    assert (output.required, output.parallel) == (required, parallel)


def test_without_choice_there_are_no_tools(served: Served) -> None:
    ask(served, tools=[WEATHER], tool_choice="none")
    assert last_request(served).output is None
    assert heard_by_model(served) == [("user", "Where is Paris?")]


def test_a_call_that_is_required_needs_no_other_form(served: Served) -> None:
    wish = {"tools": [TIME], "tool_choice": "required", "response_format": {"type": "json_object"}}
    assert ask(served, **wish).json()["choices"][0]["finish_reason"] == "tool_calls"


def test_one_call_at_a_time_may_be_asked_for(served: Served) -> None:
    ask(served, tools=[TIME], parallel_tool_calls=False)
    assert last_request(served).output == ToolOutput(
        (ToolSignature("get_time", '{"type":"object","properties":{}}'),), parallel=False
    )


def test_calls_are_answered(served: Served, client: OpenAI) -> None:
    with writing(served, CALL + CALL_TIME):
        answer = create(client, tools=[WEATHER, TIME])
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    calls: list[Any] = choice.message.tool_calls or []
    assert [(call.function.name, call.function.arguments) for call in calls] == [
        ("get_weather", '{"city": "Paris"}'),
        ("get_time", "{}"),
    ]
    assert all(call.id.startswith("call_") for call in calls)
    assert len({call.id for call in calls}) == 2


def test_calls_stream_while_they_are_written(served: Served, client: OpenAI) -> None:
    with writing(served, CALL + CALL_TIME):
        found = chunks(client, tools=[WEATHER, TIME])
    assert found[0].choices[0].delta.content is None
    deltas = [call for chunk in found for call in chunk.choices[0].delta.tool_calls or []]
    begun = [delta for delta in deltas if delta.id]
    assert [(each.index, each.type, each.function and each.function.name) for each in begun] == [
        (0, "function", "get_weather"),
        (1, "function", "get_time"),
    ]
    arguments = {0: "", 1: ""}
    for delta in deltas:
        arguments[delta.index] += (delta.function and delta.function.arguments) or ""
    assert arguments == {0: '{"city": "Paris"}', 1: "{}"}
    assert len(deltas) > 4
    assert found[-1].choices[0].finish_reason == "tool_calls"


def test_the_clients_own_stream_puts_calls_together(served: Served, client: OpenAI) -> None:
    strict = {"type": "function", "function": {**WEATHER["function"], "strict": True}}  # type: ignore[dict-item]
    with (
        writing(served, CALL),
        client.chat.completions.stream(
            model="gpt-4o",
            messages=ASKED,
            tools=[strict],  # type: ignore[list-item]
        ) as stream,
    ):
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        message = stream.get_final_completion().choices[0].message
    assert [event.parsed_arguments for event in done] == [{"city": "Paris"}]
    assert message.tool_calls is not None
    assert message.content is None
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"}
    assert create(client, messages=[*ASKED, message, result], tools=[strict]).choices


def test_a_model_that_may_call_may_also_talk(served: Served, client: OpenAI) -> None:
    with writing(served, "It is sunny."):
        choice = create(client, tools=[WEATHER]).choices[0]
        streamed = chunks(client, tools=[WEATHER])
    assert (choice.finish_reason, choice.message.content) == ("stop", "It is sunny.")
    assert choice.message.tool_calls is None
    assert "".join(c.choices[0].delta.content or "" for c in streamed) == "It is sunny."


def test_a_call_that_is_cut_off_says_so(served: Served, client: OpenAI) -> None:
    with writing(served, CALL[: CALL.index("ris")], finish="length"):
        choice = create(client, tools=[WEATHER]).choices[0]
    assert choice.finish_reason == "length"
    calls: list[Any] = choice.message.tool_calls or []
    assert calls[0].function.arguments == '{"city": "Pa'


def test_the_engine_that_is_served_calls_a_tool(client: OpenAI) -> None:
    asked = [{"role": "user", "content": "Use get_weather."}]
    choice = create(client, messages=asked, tools=[TIME, WEATHER]).choices[0]
    assert choice.finish_reason == "tool_calls"
    calls: list[Any] = choice.message.tool_calls or []
    assert [call.function.name for call in calls] == ["get_weather"]
    assert set(json.loads(calls[0].function.arguments)) == {"city"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_schema_that_the_engine_cannot_keep_is_refused(served: Served, stream: bool) -> None:
    wanted = {"name": "odd", "schema": {"type": "string", "pattern": "(?=a)"}, "strict": True}
    form = {"type": "json_schema", "json_schema": wanted}
    response = ask(served, stream=stream, response_format=form)
    assert problem(response) == (400, "invalid_parameter", "response_format")


# ---- audio in -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "data"), [("wav", wav_bytes()), ("mp3", example("mp3"))])
def test_what_is_heard_stands_for_the_audio(served: Served, kind: str, data: bytes) -> None:
    parts = [{"type": "text", "text": "Answer this:"}, recording(data, kind)]
    assert ask(served, messages=[{"role": "user", "content": parts}]).is_success
    assert heard_by_model(served) == [("user", f"Answer this:\n{HEARD}")]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"data": "%%%", "format": "wav"}, ".input_audio.data"),
        ({"data": "", "format": "wav"}, ".input_audio.data"),
        ({"data": "AAAA", "format": "flac"}, ".input_audio.format"),
        ({"data": "AAAA", "format": "wav"}, ""),
        ({"data": recording(example("mp3"))["input_audio"]["data"], "format": "wav"}, ".input_audio.format"),
    ],
)  # fmt: skip
def test_audio_that_cannot_be_read_is_named(
    served: Served, part: dict[str, str], param: str
) -> None:
    content = [{"type": "text", "text": "x"}, {"type": "input_audio", "input_audio": part}]
    response = ask(served, messages=[*ASKED, {"role": "user", "content": content}])
    assert problem(response) == (400, "invalid_parameter", "messages.1.content.1" + param)


def test_large_audio_is_refused_before_any_is_heard() -> None:
    limits = LimitSettings(max_inline_audio_bytes=50_000)
    with serving(quick_settings(limits=limits)) as small:
        content = [recording(), recording(wav_bytes(duration_s=0.9))]
        response = ask(small, messages=[{"role": "user", "content": content}])
        assert problem(response) == (400, "invalid_parameter", "messages.0.content.1")
        assert small.stt.requests == []


def test_audio_larger_than_other_json_is_accepted() -> None:
    with serving(quick_settings(limits=LimitSettings(max_json_bytes=4096))) as served:
        content = [recording(wav_bytes(duration_s=5))]
        assert ask(served, messages=[{"role": "user", "content": content}]).is_success


def test_silence_is_refused_where_there_is_nothing_else() -> None:
    with serving(quick_settings(stt=FakeSttSettings(text="", latency_s=0))) as silent:
        alone = [{"role": "user", "content": [recording()]}]
        assert problem(ask(silent, messages=alone)) == (
            400, "invalid_parameter", "messages.0.content.0",
        )  # fmt: skip
        beside = [{"role": "user", "content": [recording(), {"type": "text", "text": "Hm?"}]}]
        assert ask(silent, messages=beside).is_success
        assert heard_by_model(silent) == [("user", "Hm?")]


def test_what_is_heard_counts_as_prompt() -> None:
    with serving(quick_settings(limits=LimitSettings(max_prompt_chars=10))) as small:
        response = ask(small, messages=[{"role": "user", "content": [recording()]}])
    assert problem(response) == (400, "text_too_long", "messages")


# ---- audio out ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wav", "aac", "mp3", "flac", "opus"])
def test_an_answer_is_spoken(client: OpenAI, kind: str) -> None:
    message = (
        create(client, **SPOKEN | {"audio": {"voice": "alloy", "format": kind}}).choices[0].message
    )
    assert message.content is None
    assert message.audio is not None
    assert message.audio.transcript == REPLY
    _, seconds = decoded(base64.b64decode(message.audio.data))
    assert seconds == pytest.approx(len(REPLY) * 0.06, rel=0.1)


def test_pcm16_is_bare_samples_at_24_khz(client: OpenAI) -> None:
    wav = create(client, **SPOKEN).choices[0].message.audio
    bare = {"audio": {"voice": {"id": "default"}, "format": "pcm16"}}
    pcm = create(client, **SPOKEN | bare).choices[0].message.audio
    assert wav is not None
    assert pcm is not None
    rate, seconds = decoded(base64.b64decode(wav.data))
    assert rate == RATE
    assert len(base64.b64decode(pcm.data)) == pytest.approx(seconds * 24_000 * 2, rel=0.001)


def test_a_spoken_answer_streams(served: Served, client: OpenAI) -> None:
    wish = SPOKEN | {"audio": {"voice": "alloy", "format": "pcm16"}}
    found = chunks(client, **wish)
    audio: list[Any] = [
        chunk.choices[0].delta.audio for chunk in found if chunk.choices[0].delta.audio
    ]
    assert [bool(each.id) for each in audio] == [True] + [False] * (len(audio) - 1)
    assert "".join(each.transcript or "" for each in audio) == REPLY
    joined = "".join(each.data or "" for each in audio)
    each_alone = b"".join(base64.b64decode(each.data) for each in audio if each.data)
    assert base64.b64decode(joined, validate=True) == each_alone
    assert len(each_alone) == pytest.approx(len(REPLY) * 0.06 * 48_000, rel=0.1)
    assert audio[-1].expires_at is not None
    assert all(chunk.choices[0].delta.content is None for chunk in found)
    assert found[-1].choices[0].finish_reason == "stop"


def test_a_streamed_wav_opens(client: OpenAI) -> None:
    found = chunks(client, **SPOKEN)
    data = "".join(
        (c.choices[0].delta.audio and c.choices[0].delta.audio.data) or "" for c in found
    )
    rate, seconds = decoded(base64.b64decode(data))
    assert (rate, seconds) == (RATE, pytest.approx(len(REPLY) * 0.06, rel=0.1))


@pytest.mark.parametrize("stream", [False, True])
def test_a_spoken_answer_is_known_later(served: Served, client: OpenAI, stream: bool) -> None:
    if stream:
        found = chunks(client, **SPOKEN)
        ids = [c.choices[0].delta.audio.id for c in found if c.choices[0].delta.audio]
        audio_id = ids[0]
    else:
        audio = create(client, **SPOKEN).choices[0].message.audio
        audio_id = audio and audio.id
    earlier = {"role": "assistant", "audio": {"id": audio_id}}
    create(client, messages=[*ASKED, earlier, *ASKED])
    assert heard_by_model(served)[1] == ("assistant", REPLY)


def test_a_spoken_message_of_the_client_goes_back_as_it_came(
    served: Served, client: OpenAI
) -> None:
    message = create(client, **SPOKEN).choices[0].message
    create(client, messages=[*ASKED, message, *ASKED])
    assert heard_by_model(served)[1] == ("assistant", REPLY)


def test_a_spoken_answer_that_is_not_known_is_named(served: Served) -> None:
    earlier = {"role": "assistant", "audio": {"id": "audio_7"}}
    response = ask(served, messages=[*ASKED, earlier, *ASKED])
    assert problem(response) == (400, "invalid_parameter", "messages.1.audio")


def test_a_spoken_answer_comes_also_when_nothing_can_be_remembered(
    served: Served, client: OpenAI
) -> None:
    with served.broken("state", StageUnavailable("state")):
        message = create(client, **SPOKEN).choices[0].message
    assert message.audio is not None
    assert message.audio.transcript == REPLY


@pytest.mark.parametrize("stream", [False, True])
def test_several_answers_are_spoken(served: Served, client: OpenAI, stream: bool) -> None:
    if stream:
        found = chunks(client, **SPOKEN, n=2)
        deltas = [c.choices[0] for c in found if c.choices[0].delta.audio]
        ids = [each.delta.audio.id for each in deltas if each.delta.audio and each.delta.audio.id]
    else:
        audio = [choice.message.audio for choice in create(client, **SPOKEN, n=2).choices]
        ids = [each.id for each in audio if each and each.transcript == REPLY]
    assert len(set(ids)) == 2


def test_another_voice_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        create(client, **SPOKEN | {"audio": {"voice": "nobody", "format": "wav"}})
    assert refused.value.code == "voice_not_found"


@pytest.mark.parametrize("after", [0, 1])
def test_a_voice_that_fails_leaves_the_text(served: Served, after: int) -> None:
    with served.broken("tts", StageFailed("tts"), after=after):
        (choice,) = ask(served, **SPOKEN).json()["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["warning"]["code"] == "stage_failed"
    message = choice["message"]
    if after:
        assert (message["content"], message["audio"]["transcript"]) == (None, REPLY)
    else:
        assert (message["content"], message["audio"]) == (REPLY, None)


def test_a_voice_that_fails_leaves_the_text_of_a_stream(served: Served, client: OpenAI) -> None:
    with served.broken("tts", StageFailed("tts")):
        found = chunks(client, **SPOKEN)
    audio = [chunk.choices[0].delta.audio for chunk in found if chunk.choices[0].delta.audio]
    assert "".join(each.transcript or "" for each in audio) == REPLY
    assert not any(each.data for each in audio)
    last = found[-1].choices[0]
    assert last.finish_reason == "stop"
    assert (last.model_extra or {})["warning"]["code"] == "stage_failed"


def test_calls_are_not_spoken(served: Served, client: OpenAI) -> None:
    before = len(served.tts.requests)
    with writing(served, CALL):
        choice = create(client, **SPOKEN, tools=[WEATHER]).choices[0]
        streamed = chunks(client, **SPOKEN, tools=[WEATHER])
    assert choice.finish_reason == "tool_calls"
    assert choice.message.audio is None
    assert "warning" not in (choice.model_extra or {})
    assert len(choice.message.tool_calls or ()) == 1
    assert not any(chunk.choices[0].delta.audio for chunk in streamed)
    assert len(served.tts.requests) == before


def test_an_answer_without_words_says_that_it_is_silent(served: Served) -> None:
    with writing(served, "?!"):
        (choice,) = ask(served, **SPOKEN).json()["choices"]
    assert choice["message"]["content"] == "?!"
    assert choice["message"]["audio"] is None
    assert choice["warning"]["code"] == "nothing_to_say"


def test_a_spoken_answer_is_as_long_as_spoken_answers_are(served: Served) -> None:
    ask(served, **SPOKEN)
    assert last_request(served).sampling.max_tokens == 200


# ---- what it costs ------------------------------------------------------------------------------


def with_audio(seconds: float) -> Any:
    rate = RateSettings(enabled=True, requests=None, audio_seconds=seconds)
    return quick_settings(access=AccessSettings(rate=rate))


def test_audio_that_is_heard_is_counted_before_it_is_heard() -> None:
    with serving(with_audio(1.5)) as served:
        content = [recording(), recording()]
        response = ask(served, messages=[{"role": "user", "content": content}])
        assert problem(response)[:2] == (429, "rate_limit_exceeded")
        assert len(served.stt.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_audio_that_is_spoken_is_counted_afterwards(stream: bool) -> None:
    with serving(with_audio(3.5)) as served:
        assert ask(served, stream=stream, **SPOKEN).is_success
        content = [recording()]
        response = ask(served, messages=[{"role": "user", "content": content}])
        assert problem(response)[:2] == (429, "rate_limit_exceeded")


WITH_A_PATTERN: Any = {
    "type": "object",
    "properties": {"code": {"type": "string", "pattern": "^[A-Z]{3}$"}},
    "required": ["code"],
}


def with_a_pattern(kind: str, strict: bool | None) -> dict[str, Any]:
    if kind == "tools":
        function = {"name": "look", "parameters": WITH_A_PATTERN, "strict": strict}
        return {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
    schema = {"name": "code", "schema": WITH_A_PATTERN, "strict": strict}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


@pytest.mark.parametrize("strict", [None, False])
@pytest.mark.parametrize("kind", ["tools", "response_format"])
def test_a_keyword_that_cannot_be_kept_is_a_hint(
    served: Served, kind: str, strict: bool | None
) -> None:
    body = {"messages": [{"role": "user", "content": "Yes?"}], **with_a_pattern(kind, strict)}
    assert served.client.post("/v1/chat/completions", json=body).status_code == 200
    assert any("[A-Z]{3}" in each.content for each in served.llm.requests[-1].messages)


@pytest.mark.parametrize("kind", ["tools", "response_format"])
def test_a_keyword_that_cannot_be_kept_is_refused_where_it_must_be(
    served: Served, kind: str
) -> None:
    body = {"messages": [{"role": "user", "content": "Yes?"}], **with_a_pattern(kind, True)}
    response = served.client.post("/v1/chat/completions", json=body)
    assert problem(response) == (400, "invalid_parameter", kind)
