"""Speech as it is made, counted for who asked for it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from deployments.audio import Pcm
from deployments.messages import SpeechRequest
from serve_app.caller import Caller
from serve_app.services import Services


async def counted_speech(
    services: Services, caller: Caller, speech: SpeechRequest
) -> AsyncGenerator[Pcm, None]:
    """The audio of a text as it is made, counted for the caller even where it breaks off."""
    spoken_s = 0.0
    try:
        async with aclosing(services.tts.synthesize(speech)) as pieces:
            async for piece in pieces:
                spoken_s += piece.duration_s
                yield piece
    finally:
        if spoken_s:
            await caller.note_audio(spoken_s)
