"""The checker of the language model's soak, over an engine that breaks."""

import threading
from collections.abc import Iterator

from benchmarks.llm_soak import Case, soak
from deployments.errors import StageUnavailable
from deployments.messages import ChatMessage, GenerationEnd, GenerationEvent, GenerationRequest


class Engine:
    """Every second reply fails."""

    def __init__(self) -> None:
        self.calls = 0

    def generate(self, _: GenerationRequest, __: threading.Event) -> Iterator[GenerationEvent]:
        self.calls += 1
        if self.calls % 2:
            raise StageUnavailable("llm")
        yield GenerationEnd("stop", 1, 0)


def test_a_reply_that_fails_is_counted_and_its_caller_goes_on():
    engine = Engine()
    tally = soak(engine, [Case((ChatMessage("user", "Hello"),), "")], 0.6, 1)  # type: ignore[arg-type]
    assert engine.calls > 2
    assert len(tally.errors) == (engine.calls + 1) // 2
    assert "StageUnavailable" in tally.errors[0]
    assert not tally.wrong
