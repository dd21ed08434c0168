"""The `llm` deployment: one engine with one context, its thread, its metrics."""

from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import assert_never

from configs.settings import FakeLlmSettings, LlamaCppSettings, LlmSettings
from deployments.llm.engine import LlmEngine
from deployments.messages import GenerationEvent, GenerationRequest
from deployments.metrics import StageMetrics
from deployments.pump import iterate_in_thread


class LlmServer:
    """Continues conversations, one at a time; the others queue and can be cancelled."""

    def __init__(self, settings: LlmSettings) -> None:
        self._engine = build_llm_engine(settings)
        self._engine.warm_up()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="llm")
        self._metrics = StageMetrics("llm")

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """Yield the reply as it is written; closing the stream stops the decoding.

        Raises:
            ContextOverflow: the prompt alone does not fit into the context.
        """
        with self._metrics.call() as call:
            events = iterate_in_thread(
                self._executor, lambda stop: self._engine.generate(request, stop)
            )
            async with aclosing(events):
                async for event in events:
                    call.first_output()
                    yield event

    async def ping(self) -> None:
        """Answer, so that the caller knows a replica is there."""

    async def check_health(self) -> None:
        """Called by Serve; a replica whose loop still turns is healthy."""
        self._metrics.refresh()


def build_llm_engine(settings: LlmSettings) -> LlmEngine:
    """The engine that the settings name; only its library is imported."""
    match settings:
        case LlamaCppSettings():
            from deployments.llm.llama_cpp import LlamaCppEngine

            return LlamaCppEngine(settings)
        case FakeLlmSettings():
            from deployments.llm.fake import FakeLlmEngine

            return FakeLlmEngine(settings)
        case _:
            assert_never(settings)
