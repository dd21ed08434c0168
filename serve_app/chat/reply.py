"""Writes one reply, and speaks it where it is asked for."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from contextlib import aclosing, contextmanager

from deployments.errors import ContextOverflow
from deployments.messages import (
    GenerationEnd,
    GenerationRequest,
    SpeechRequest,
    TextDelta,
)
from serve_app.caller import Caller
from serve_app.dialogue.events import (
    ReplyDelta,
    ReplyWritten,
    Spoken,
    TurnEvent,
    TurnTimings,
    VoiceFailed,
)
from serve_app.dialogue.turn import Turn
from serve_app.protocol.tool_calls import ArgumentsPiece, CallBegan
from serve_app.services import Services
from serve_app.words import Words

ReplyEvent = ReplyDelta | CallBegan | ArgumentsPiece | ReplyWritten | Spoken | VoiceFailed
Note = Callable[[ReplyEvent], Awaitable[None]]


async def write_reply(services: Services, request: GenerationRequest, note: Note) -> None:
    """Report the reply as it is written.

    Raises:
        SpeechError: writing failed.
    """
    with _messages_named():
        async with aclosing(Words(services.llm, note).generate(request)) as events:
            async for event in events:
                match event:
                    case TextDelta(text=text):
                        await note(ReplyDelta(text))
                    case GenerationEnd() as end:
                        await note(
                            ReplyWritten(
                                "", end.finish_reason, end.prompt_tokens, end.completion_tokens
                            )
                        )


async def speak_reply(
    services: Services,
    caller: Caller,
    request: GenerationRequest,
    voice: SpeechRequest,
    note: Note,
) -> None:
    """Report the reply as it is written and spoken; calls of tools are not spoken.

    Raises:
        SpeechError: writing failed. A voice that fails does not fail the reply.
    """
    spoken_s = 0.0

    async def emit(event: TurnEvent) -> None:
        nonlocal spoken_s
        match event:
            case Spoken(audio=audio):
                spoken_s += audio.duration_s
                await note(event)
            case ReplyDelta() | ReplyWritten() | VoiceFailed():
                await note(event)
            case _:
                pass

    words = Words(services.llm, note)
    timings = TurnTimings(time.perf_counter())
    try:
        with _messages_named():
            await Turn(services.stt, words, services.tts, emit, timings).reply(request, voice)
    finally:
        await caller.note_audio(spoken_s)


@contextmanager
def _messages_named() -> Generator[None, None, None]:
    """Call the prompt by the name that it has in a chat request."""
    try:
        yield
    except ContextOverflow as error:
        raise ContextOverflow(error.prompt_tokens, error.context_tokens, "messages") from None


async def all_together(works: Iterable[Coroutine[None, None, None]]) -> None:
    """Do them at the same time; the first that fails ends them all, with its error."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for work in works:
                tasks.create_task(work)
    except ExceptionGroup as group:
        error: Exception = group
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        raise error from None
