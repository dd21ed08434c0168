"""A language model that only says what can be spoken."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing

from deployments.messages import (
    GenerationEnd,
    GenerationEvent,
    GenerationRequest,
    TextDelta,
    ToolOutput,
)
from serve_app.dialogue.ports import LanguageModel
from serve_app.protocol.tool_calls import (
    ArgumentsPiece,
    CallBegan,
    ReplyPiece,
    ReplyReader,
    TextPiece,
)

NoteCall = Callable[[CallBegan | ArgumentsPiece], Awaitable[None]]


class Words:
    """The words of a reply; calls of tools are noted aside."""

    def __init__(self, llm: LanguageModel, note: NoteCall) -> None:
        self._llm, self._note = llm, note

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """The reply without its calls. Raises `SpeechError`."""
        reader = ReplyReader(tools=isinstance(request.output, ToolOutput))
        async with aclosing(self._llm.generate(request)) as events:
            async for event in events:
                match event:
                    case TextDelta(text=text):
                        async for words in self._words(reader.feed(text)):
                            yield words
                    case GenerationEnd():
                        async for words in self._words(reader.close()):
                            yield words
                        yield event

    async def _words(self, pieces: Iterable[ReplyPiece]) -> AsyncGenerator[TextDelta, None]:
        for piece in pieces:
            if isinstance(piece, TextPiece):
                yield TextDelta(piece.text, tokens=1)
            else:
                await self._note(piece)
