"""The `llm` deployment: one engine, its callers' threads, its metrics."""

from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import assert_never

import ray

from configs.settings import (
    FakeLlmSettings,
    LlamaCppSettings,
    LlmSettings,
    ObservationSettings,
)
from deployments.llm.engine import LlmEngine
from deployments.messages import GenerationEnd, GenerationEvent, GenerationRequest
from deployments.metrics import BatchMetrics
from deployments.observe import observe
from deployments.pump import iterate_in_thread
from deployments.stage_calls import StageCall, StageCalls


class LlmServer:
    """Continues conversations, many at the same time; the others queue and can be cancelled.

    `shared_prompts` are the operator's own instructions: what is computed of them serves every caller.
    """

    def __init__(
        self,
        settings: LlmSettings,
        shared_prompts: Sequence[str] = (),
        observation: ObservationSettings | None = None,
    ) -> None:
        observe(observation)
        self._engine = build_llm_engine(settings, shared_prompts, _own_cpus())
        self._engine.warm_up()
        # A thread waits for each request that the engine takes, and one more to be refused.
        self._executor = ThreadPoolExecutor(_threads(settings), thread_name_prefix="llm")
        self._calls = StageCalls("llm")
        self._batch_metrics = BatchMetrics()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """Yield the reply as it is written; closing the stream stops the decoding.

        Raises:
            ContextOverflow: the prompt alone does not fit into the context.
            StageOverloaded: too many requests wait.
            StageUnavailable: the engine broke; another replica may answer.
        """
        with self._calls.call("generate", request.link) as call:
            events = iterate_in_thread(
                self._executor, lambda stop: call.working(self._engine.generate(request, stop))
            )
            async with aclosing(events):
                async for event in events:
                    call.first_output()
                    if isinstance(event, GenerationEnd):
                        _note_end(call, event)
                    yield event

    async def ping(self) -> None:
        """Answer, so that the caller knows a replica is there."""

    async def check_health(self) -> None:
        """Called by Serve; a replica whose loop still turns is healthy.

        Raises:
            RuntimeError: the engine broke, and only another replica can go on.
        """
        self._calls.metrics.refresh()
        counts = self._engine.counts()
        if counts is not None:
            self._batch_metrics.tell(counts)


def build_llm_engine(
    settings: LlmSettings, shared_prompts: Sequence[str] = (), cpus: int | None = None
) -> LlmEngine:
    """The engine that the settings name; only its library is imported. `cpus` are its own."""
    match settings:
        case LlamaCppSettings():
            from deployments.llm.llama_cpp import LlamaCppEngine

            own = settings.model_copy(update={"threads": settings.threads or cpus})
            return LlamaCppEngine(own, shared_prompts)
        case FakeLlmSettings():
            from deployments.llm.fake import FakeLlmEngine

            return FakeLlmEngine(settings)
        case _:
            assert_never(settings)


def _note_end(call: StageCall, end: GenerationEnd) -> None:
    call.note(prompt_tokens=end.prompt_tokens, completion_tokens=end.completion_tokens)
    call.note(finish_reason=end.finish_reason)
    call.rate("tokens_per_s", end.completion_tokens)


def _threads(settings: LlmSettings) -> int:
    match settings:
        case LlamaCppSettings():
            return settings.parallel + settings.queue + 1
        case FakeLlmSettings():
            return settings.parallel
        case _:
            assert_never(settings)


def _own_cpus() -> int | None:
    """The CPUs that the deployment was given (`num_cpus`); None where it was given less than one."""
    if not ray.is_initialized():
        return None
    assigned = ray.get_runtime_context().get_assigned_resources()
    return int(assigned.get("CPU", 0)) or None
