"""What a language-model engine must do."""

import threading
from collections.abc import Iterator
from typing import Protocol

from deployments.messages import BatchCounts, GenerationEvent, GenerationRequest


class LlmEngine(Protocol):
    """Continues conversations. Blocking: the server calls it in a thread for each request."""

    def warm_up(self) -> None:
        """Run once before the first request, so that it is as fast as the rest."""
        ...

    def generate(
        self, request: GenerationRequest, stop: threading.Event
    ) -> Iterator[GenerationEvent]:
        """Yield the reply as it is written, then one `GenerationEnd`.

        The first `TextDelta` leaves as soon as it is known to be text (no stop string begins in it).
        Setting `stop` from another thread ends the work at the next token, also inside the prompt;
        then no `GenerationEnd` is given. The engine is usable at once afterwards.

        A reply with an `output` has its form, also where it is cut off at the greatest length; when
        the form is complete the reply ends. Of a reply that is `written` in part only the rest is
        yielded; the tokens of the end count all of it.

        Raises:
            ContextOverflow: the prompt alone does not fit into the context.
            InvalidParameter: the form that is asked for cannot be kept, or a token does not exist.
            StageOverloaded: too many requests wait.
        """
        ...

    def counts(self) -> BatchCounts | None:
        """What was done since the start; None where nothing is counted.

        Raises:
            RuntimeError: the engine broke and will not work again.
        """
        ...
