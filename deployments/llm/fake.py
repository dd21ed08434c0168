"""A language model that knows its reply and keeps a known pace."""

import re
import threading
from collections.abc import Iterator

from configs.settings import FakeLlmSettings
from deployments.errors import ContextOverflow
from deployments.llm.stops import Reply, TextAssembler
from deployments.messages import GenerationEvent, GenerationRequest

_TOKEN = re.compile(r"\s*\S+|\s+")


class FakeLlmEngine:
    """Writes the reply of its settings; a token is a word with the space before it."""

    def __init__(self, settings: FakeLlmSettings) -> None:
        self._settings = settings
        self._reply = [token.encode() for token in _TOKEN.findall(settings.reply)]

    def warm_up(self) -> None:
        """Nothing to load."""

    def generate(
        self, request: GenerationRequest, stop: threading.Event
    ) -> Iterator[GenerationEvent]:
        """Yield the reply word by word, then one `GenerationEnd`; see `LlmEngine`.

        Raises:
            ContextOverflow: the prompt has as many words as the context, or more.
        """
        prompt_tokens = sum(len(message.content.split()) for message in request.messages)
        room = self._settings.context_tokens - prompt_tokens
        if room < 1:
            raise ContextOverflow(prompt_tokens, self._settings.context_tokens)
        reply = Reply(TextAssembler(request.sampling.stop), min(request.sampling.max_tokens, room))
        for index, token in enumerate(self._reply):
            if stop.wait(self._pause_s(index)):
                return
            yield from reply.add(token)
            if reply.finish_reason:
                break
        if not stop.is_set():
            yield from reply.close(prompt_tokens)

    def _pause_s(self, written: int) -> float:
        if written == 0:
            return self._settings.first_token_s
        return 1 / self._settings.tokens_per_s
