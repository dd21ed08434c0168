"""OpenAI's text completions, driven by OpenAI's own client."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types import Completion

from configs.settings import FakeLlmSettings, LimitSettings
from deployments.errors import StageFailed, StageTimeout
from deployments.messages import GenerationRequest, Origin, Sampling
from tests.unit.fake_services import REPLY, Served, quick_settings, serving
from tests.unit.http_answers import problem
from tests.unit.openai_client import openai_client

ROUTE = "/v1/completions"
PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(quick_settings(limits=LimitSettings(max_prompt_chars=100))) as served:
        yield served


@pytest.fixture
def client(served: Served) -> OpenAI:
    return openai_client(served)


def ask(served: Served, **body: Any) -> Any:
    return served.client.post(ROUTE, json={"prompt": PROMPT, **body})


def create(client: OpenAI, **wishes: Any) -> Completion:
    return client.completions.create(
        **{"model": "gpt-3.5-turbo-instruct", "prompt": PROMPT, **wishes}, stream=False
    )


def chunks(client: OpenAI, **wishes: Any) -> list[Completion]:
    return list(
        client.completions.create(
            **{"model": "gpt-3.5-turbo-instruct", "prompt": PROMPT, **wishes}, stream=True
        )
    )


def test_a_text_goes_on(client: OpenAI) -> None:
    completion = create(client)
    assert completion.id.startswith("cmpl-")
    assert (completion.object, completion.model) == ("text_completion", "fake-llm")
    (choice,) = completion.choices
    assert (choice.index, choice.text, choice.finish_reason) == (0, REPLY, "stop")
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (5, 12)


def test_the_model_reads_the_bare_text(served: Served) -> None:
    ask(served)
    assert served.llm.requests[-1] == GenerationRequest(
        sampling=Sampling(max_tokens=16), prompt=PROMPT, origin=Origin("anybody")
    )


def test_every_wish_reaches_the_model(served: Served) -> None:
    wishes: dict[str, Any] = {
        "max_tokens": 3,
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
    assert ask(served, **wishes, stop="Seine", user="me", best_of=1).is_success
    assert served.llm.requests[-1].sampling == Sampling(**wishes, stop=("Seine",))


def test_several_texts_go_on_several_times(client: OpenAI) -> None:
    completion = create(client, prompt=["One day", "Two days later"], n=2, max_tokens=3)
    assert [choice.index for choice in completion.choices] == [0, 1, 2, 3]
    assert {choice.text for choice in completion.choices} == {"The capital of"}
    assert {choice.finish_reason for choice in completion.choices} == {"length"}
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (5, 12)


def test_each_of_several_texts_goes_on_from_its_own_prompt(served: Served) -> None:
    before = len(served.llm.requests)
    ask(served, prompt=["One", "Two"], n=2, seed=3)
    asked = {(r.prompt, r.sampling.seed) for r in served.llm.requests[before:]}
    assert asked == {("One", 3), ("One", 4), ("Two", 3), ("Two", 4)}


def test_the_prompt_comes_first_where_it_is_asked_for(client: OpenAI) -> None:
    texts = [choice.text for choice in create(client, prompt=["A ", "B "], echo=True).choices]
    assert texts == [f"A {REPLY}", f"B {REPLY}"]
    streamed = chunks(client, prompt=["A ", "B "], echo=True)
    joined = {0: "", 1: ""}
    for chunk in streamed:
        joined[chunk.choices[0].index] += chunk.choices[0].text
    assert list(joined.values()) == texts


def test_a_text_streams_while_it_is_written(client: OpenAI) -> None:
    *pieces, last = chunks(client)
    assert len(pieces) == len(REPLY.split())
    assert "".join(piece.choices[0].text for piece in pieces) == REPLY
    assert (last.choices[0].text, last.choices[0].finish_reason) == ("", "stop")
    assert all(piece.choices[0].finish_reason is None for piece in pieces)


def test_usage_comes_last_and_only_when_asked_for(served: Served, client: OpenAI) -> None:
    *others, last = chunks(client, stream_options={"include_usage": True})
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens == 17
    assert all(chunk.usage is None for chunk in others)
    plain = ask(served, stream=True).text
    assert '"usage"' not in plain
    assert plain.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"prompt": None}, "invalid_parameter", "prompt"),
        ({"prompt": ""}, "invalid_parameter", "prompt"),
        ({"prompt": []}, "invalid_parameter", "prompt"),
        ({"prompt": [""]}, "invalid_parameter", "prompt.0"),
        ({"prompt": [1, 2]}, "invalid_parameter", "prompt"),
        ({"prompt": [[1, 2]]}, "invalid_parameter", "prompt"),
        ({"prompt": ["x"] * 9}, "invalid_parameter", "prompt"),
        ({"prompt": "x" * 101}, "text_too_long", "prompt"),
        ({"prompt": ["x" * 51] * 2}, "text_too_long", "prompt"),
        ({"prompt": ["x"] * 3, "n": 6}, "invalid_parameter", "n"),
        ({"n": 9}, "invalid_parameter", "n"),
        ({"best_of": 2}, "invalid_parameter", "best_of"),
        ({"suffix": "."}, "invalid_parameter", "suffix"),
        ({"logprobs": 1}, "invalid_parameter", "logprobs"),
        ({"max_tokens": 0}, "invalid_parameter", "max_tokens"),
        ({"stream_options": {"include_usage": True}}, "invalid_parameter", "stream_options"),
        ({"messages": []}, "unknown_parameter", "messages"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    served: Served, body: dict[str, Any], code: str, param: str
) -> None:
    assert problem(ask(served, **body)) == (400, code, param)


def test_a_request_without_a_prompt_is_refused(served: Served) -> None:
    assert problem(served.client.post(ROUTE, json={})) == (400, "missing_parameter", "prompt")


def test_another_model_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        create(client, model="llama-9")
    assert refused.value.code == "model_not_found"


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_fails_at_once_has_its_own_status(served: Served, stream: bool) -> None:
    with served.broken("llm", StageTimeout("llm")):
        assert problem(ask(served, stream=stream, n=2)) == (504, "stage_timeout", None)


def test_a_model_that_fails_later_breaks_the_clients_stream(served: Served, client: OpenAI) -> None:
    with served.broken("llm", StageFailed("llm"), after=2), pytest.raises(openai.APIError) as error:
        chunks(client)
    assert error.value.code == "stage_failed"


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_without_room_is_refused(stream: bool) -> None:
    with serving(quick_settings(llm=FakeLlmSettings(context_tokens=16))) as small:
        response = ask(small, prompt="word " * 20, stream=stream)
    assert problem(response) == (400, "context_length_exceeded", "prompt")
