"""A language model that knows its reply and keeps a known pace."""

import re
import threading
from collections.abc import Iterator

from configs.settings import FakeLlmSettings
from deployments.errors import ContextOverflow, InvalidParameter
from deployments.llm.grammar import call_head, gbnf, json_schema, tool_schema
from deployments.llm.instances import shortest_value
from deployments.llm.json_schema import json_text
from deployments.llm.stops import Reply, TextAssembler
from deployments.llm.window import room_for_prompt, shortened
from deployments.messages import (
    GenerationEvent,
    GenerationRequest,
    JsonOutput,
    TextDelta,
    ToolOutput,
)

_TOKEN = re.compile(r"\s*\S+|\s+")
_RESULT = "<tool_response>"  # which is answered, and calls nothing again


class FakeLlmEngine:
    """Writes the reply of its settings; a token is a word with the space before it.

    Where another form is asked for it writes the shortest JSON of the schema, or calls the tool
    that the last message names (a required one: the first).
    """

    def __init__(self, settings: FakeLlmSettings) -> None:
        self._settings = settings

    def warm_up(self) -> None:
        """Nothing to load."""

    def generate(
        self, request: GenerationRequest, stop: threading.Event
    ) -> Iterator[GenerationEvent]:
        """Yield the reply word by word, then one `GenerationEnd`; see `LlmEngine`.

        Raises:
            ContextOverflow: the prompt has as many words as the context, or more.
            InvalidParameter: the form that is asked for cannot be kept, or there is a bias.
        """
        if request.sampling.logit_bias:
            raise InvalidParameter("logit_bias", "this model has no tokens with numbers.")
        done = request.written or TextDelta("", 0)
        tokens = _TOKEN.findall(self._written(request).removeprefix(done.text))
        prompt_tokens, dropped = self._read(request)
        room = self._settings.context_tokens - prompt_tokens
        if room < 1:
            raise ContextOverflow(prompt_tokens, self._settings.context_tokens)
        most = min(request.sampling.max_tokens, room)
        reply = Reply(TextAssembler(request.sampling.stop), most, done.tokens)
        for index, token in enumerate(tokens):
            if stop.wait(self._pause_s(index)):
                return
            yield from reply.add(token.encode())
            if reply.finish_reason:
                break
        if not stop.is_set():
            yield from reply.close(prompt_tokens, dropped)

    def counts(self) -> None:
        """Nothing is counted."""

    def _read(self, request: GenerationRequest) -> tuple[int, int]:
        """The words of the prompt, and how many messages are not in it."""
        if request.prompt is not None:
            return _words(request.prompt), 0
        sizes = [_words(message.content) for message in request.messages]
        total = sum(sizes)
        room = room_for_prompt(self._settings.context_tokens, request.sampling.max_tokens)
        if not request.drop_oldest or total <= room:
            return total, 0
        read = (total, 0)
        for dropped, kept in shortened(request.messages, sizes, room):
            read = (sum(_words(message.content) for message in kept), dropped)
            if read[0] <= room:
                break
        return read

    def _written(self, request: GenerationRequest) -> str:
        match request.output:
            case None:
                return self._settings.reply
            case JsonOutput(schema):
                if schema is None:
                    return json_text({"reply": self._settings.reply})
                gbnf(request.output)
                return shortest_value(json_schema(request.output))
            case ToolOutput(tools, required):
                gbnf(request.output)
                said = request.messages[-1].content if request.messages else request.prompt or ""
                asked = "" if said.startswith(_RESULT) else said
                called = tools[:1] if required else [tool for tool in tools if tool.name in asked]
                if not called:
                    return self._settings.reply
                arguments = shortest_value(tool_schema(called[0]))
                return f"{call_head(called[0].name)}{arguments}}}</tool_call>"

    def _pause_s(self, written: int) -> float:
        if written == 0:
            return self._settings.first_token_s
        return 1 / self._settings.tokens_per_s


def _words(text: str) -> int:
    return len(text.split())
