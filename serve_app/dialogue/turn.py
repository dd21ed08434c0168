"""One spoken turn: utterance -> transcript -> tokens -> clauses -> audio.

The stages overlap: while the voice speaks the first clause the model writes on. Cancelling the turn
cancels every stage.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from deployments.audio import Pcm
from deployments.errors import InvalidParameter, SpeechError
from deployments.messages import (
    ChatMessage,
    GenerationEnd,
    GenerationRequest,
    Sampling,
    SpeechRequest,
    TextDelta,
    TranscriptionRequest,
)
from serve_app.dialogue.clauses import ClauseSplitter
from serve_app.dialogue.events import (
    ClauseBegan,
    Emit,
    Heard,
    ReplyDelta,
    ReplyWritten,
    Spoken,
    TurnFinished,
    TurnTimings,
    VoiceFailed,
)
from serve_app.dialogue.ports import LanguageModel, SpeechToText, TextToSpeech
from serve_app.dialogue.together import both

_CLAUSES_AHEAD = 2  # the model may run this far ahead of the voice


_DEFAULT_VOICE = SpeechRequest("")


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What to answer, and how; `history` is what was said before, oldest first."""

    utterance: TranscriptionRequest
    instructions: str
    prompt_template: str
    sampling: Sampling
    voice: SpeechRequest = _DEFAULT_VOICE
    history: tuple[ChatMessage, ...] = ()


class Turn:
    """Answers one utterance, reporting every step to `emit` as it happens."""

    def __init__(
        self,
        stt: SpeechToText,
        llm: LanguageModel,
        tts: TextToSpeech,
        emit: Emit,
        timings: TurnTimings,
    ) -> None:
        self._stt, self._llm, self._tts, self._emit = stt, llm, tts, emit
        self._timings = timings

    async def run(self, request: TurnRequest) -> None:
        """Run the turn to its end.

        Raises:
            SpeechError: hearing or writing failed. A voice that fails does not fail the turn.
            InvalidParameter: the voice has no such choice.
        """
        transcript = await self._stt.transcribe(request.utterance)
        self._mark("transcript_s")
        await self._emit(Heard(transcript))
        if transcript.text:
            await self._answer(_conversation(transcript.text, request), request.voice)
        self._mark("total_s")
        await self._emit(TurnFinished(self._timings))

    async def reply(self, request: GenerationRequest, voice: SpeechRequest) -> None:
        """Run only the second half: write and speak a reply; `voice` is a request without a text.

        Raises:
            SpeechError: writing failed. A voice that fails does not fail the turn.
            InvalidParameter: the voice has no such choice.
        """
        await self._answer(request, voice)
        self._mark("total_s")
        await self._emit(TurnFinished(self._timings))

    async def _answer(self, request: GenerationRequest, voice: SpeechRequest) -> None:
        clauses: asyncio.Queue[str | None] = asyncio.Queue(maxsize=_CLAUSES_AHEAD)
        await both(self._think(request, clauses), self._speak(clauses, voice))

    async def _think(self, request: GenerationRequest, clauses: asyncio.Queue[str | None]) -> None:
        splitter = ClauseSplitter()
        reply: list[str] = []
        end: GenerationEnd | None = None
        async with aclosing(self._llm.generate(request)) as events:
            async for event in events:
                match event:
                    case TextDelta(text=text):
                        self._mark("first_token_s")
                        reply.append(text)
                        await self._emit(ReplyDelta(text))
                        await self._hand_over(splitter.feed(text), clauses)
                    case GenerationEnd():
                        end = event
        await self._hand_over(splitter.flush(), clauses)
        self._mark("reply_s")
        await self._emit(_written("".join(reply), end))
        await clauses.put(None)

    async def _hand_over(self, new: list[str], clauses: asyncio.Queue[str | None]) -> None:
        for clause in new:
            self._mark("first_clause_s")
            await clauses.put(clause)

    async def _speak(self, clauses: asyncio.Queue[str | None], voice: SpeechRequest) -> None:
        failed = False
        while (clause := await clauses.get()) is not None:
            if failed:
                continue
            try:
                await self._speak_clause(replace(voice, text=clause))
            except InvalidParameter:
                raise  # the caller can mend it
            except SpeechError as error:
                failed = True
                await self._emit(VoiceFailed(error))

    async def _speak_clause(self, clause: SpeechRequest) -> None:
        pieces: AsyncGenerator[Pcm, None] = self._tts.synthesize(clause)
        await self._emit(ClauseBegan(clause.text))
        async with aclosing(pieces):
            async for piece in pieces:
                self._mark("first_audio_s")
                await self._emit(Spoken(piece))

    def _mark(self, phase: str) -> None:
        """Note the end of a phase, the first time it is reached."""
        if getattr(self._timings, phase) is None:
            elapsed_s = round(time.perf_counter() - self._timings.start, 4)
            self._timings = replace(self._timings, **{phase: elapsed_s})


def user_message(heard: str, request: TurnRequest) -> ChatMessage:
    """What the model is told of an utterance."""
    # Replaced, not formatted: what was heard may hold braces.
    return ChatMessage("user", request.prompt_template.replace("{transcript}", heard))


def _conversation(heard: str, request: TurnRequest) -> GenerationRequest:
    system = [ChatMessage("system", request.instructions)] if request.instructions else []
    messages = (*system, *request.history, user_message(heard, request))
    return GenerationRequest(messages, request.sampling, drop_oldest=True)


def _written(text: str, end: GenerationEnd | None) -> ReplyWritten:
    if end is None:
        return ReplyWritten(text.strip(), "stop", 0, 0)
    return ReplyWritten(
        text.strip(),
        end.finish_reason,
        end.prompt_tokens,
        end.completion_tokens,
        end.dropped_messages,
    )
