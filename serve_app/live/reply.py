"""One reply: written, spoken at the pace of speech, and stopped at any moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace

from deployments.errors import SpeechError
from deployments.messages import GenerationEnd, GenerationRequest, TextDelta
from deployments.tracing import NO_SPAN
from serve_app.dialogue.events import (
    ClauseBegan,
    ReplyDelta,
    ReplyWritten,
    Spoken,
    TurnEvent,
    TurnTimings,
    VoiceFailed,
)
from serve_app.dialogue.together import both
from serve_app.dialogue.turn import Turn
from serve_app.live.config import LiveConfig
from serve_app.live.events import (
    CallArguments,
    CallStarted,
    CancelReason,
    EndReason,
    LiveEvent,
    LiveTimings,
    ReplyAudio,
    ReplyEnded,
    ReplyStarted,
    ReplyStatus,
    ReplyText,
    Usage,
)
from serve_app.live.items import Call, Message, Part, new_id
from serve_app.live.paced_voice import PacedVoice
from serve_app.live.playout import Playout
from serve_app.live.ports import LiveContext
from serve_app.live.turn_trace import end_turn
from serve_app.protocol.tool_calls import ArgumentsPiece, CallBegan
from serve_app.words import Words

Prepare = Callable[[], Awaitable[GenerationRequest]]


class Reply:
    """Writes and speaks one reply. Nothing of it is told before it is released.

    A draft is a reply that runs while it is not yet sure that the user has finished.
    """

    def __init__(
        self,
        context: LiveContext,
        config: LiveConfig,
        prepare: Prepare,
        *,
        started: float | None = None,
        tag: object = None,
        in_conversation: bool = True,
    ) -> None:
        self.id, self.trace = new_id("resp"), NO_SPAN
        self.tag, self.in_conversation = tag, in_conversation
        self.playout = Playout()
        self.tokens = 0
        self.calls: list[Call] = []
        self.joined: set[str] = set()  # its items that are, or were, part of the conversation
        self.ended = False
        spoken = config.voice is not None
        self.message = Message(
            new_id("item"), "assistant", [Part("", spoken)], "in_progress", self.playout
        )
        self.message.written = False
        self._stages, self._tell = context.stages, context.emit
        self._config, self._prepare = config, prepare
        self.when_ready: Callable[[], None] = lambda: None
        self._ready = False
        self._failed: SpeechError | None = None
        self._held: list[LiveEvent] = []
        self._released = asyncio.Event()
        self._voice = PacedVoice(context.bounds, self.playout) if spoken else None
        self._start = time.perf_counter() if started is None else started
        self._timings = LiveTimings()
        self._turn = Turn(
            context.stages.stt,
            Words(context.stages.llm, self._note_call),
            context.stages.tts,
            self._note,
            TurnTimings(self._start),
        )
        self._usage = Usage()
        self._cut_off = False
        self._trouble: SpeechError | None = None

    @property
    def said(self) -> str:
        """All that was written so far."""
        return self.message.said

    @property
    def is_released(self) -> bool:
        """Whether the client knows of it."""
        return self._released.is_set()

    @property
    def is_heard(self) -> bool:
        """Whether the listener can be hearing it now."""
        return self.playout.left_s > 0

    @property
    def is_ready(self) -> bool:
        """Whether there is something to hear (or to read, where nothing is spoken), or never will be."""
        return self._ready

    def release(
        self, *, endpoint_s: float | None = None, transcript_s: float | None = None
    ) -> None:
        """Tell the client, from now on as it happens; seconds are those of `LiveTimings`."""
        self._timings = replace(self._timings, endpoint_s=endpoint_s, transcript_s=transcript_s)
        self._tell(ReplyStarted(self.id, self.tag))
        for event in self._held:
            self._tell(event)
        self._held.clear()
        self._released.set()
        if self._failed is not None:
            self._end("failed", error=self._failed)

    async def run(self) -> None:
        """Give the reply, to its end or until it is cancelled."""
        try:
            request = await self._prepare()
            if self._voice is None:
                await self._write(request)
            else:
                await both(self._make(request, self._voice), self._send(self._voice))
            await self._released.wait()
        except SpeechError as error:
            self._be_ready()
            await self._released.wait()
            self._end("failed", error=error)
        else:
            reason = "max_output_tokens" if self._cut_off else None
            self._end("incomplete" if reason else "completed", reason=reason, error=self._trouble)

    def cancel(self, reason: CancelReason) -> None:
        """End it here; of what was said, only what was heard stays. Its task is the caller's to end."""
        if not self.ended and self.is_released:
            self._end("cancelled", reason=reason)
        self.ended = True

    def fail(self, error: SpeechError) -> None:
        """End it because of something unforeseen; a draft ends when it is released."""
        self._failed = error
        self._be_ready()
        if self.is_released:
            self._end("failed", error=error)

    def break_off(self) -> None:
        """Nobody listens any more: what was not heard is not part of the conversation."""
        self.message.cut(self.playout.played_s)
        self.playout.stop()

    # ---- writing and speaking ----

    async def _make(self, request: GenerationRequest, voice: PacedVoice) -> None:
        assert self._config.voice is not None  # noqa: S101 - there is a voice to pace
        await self._turn.reply(request, self._config.voice)
        self._be_ready()
        self.playout.complete()
        await voice.close()

    async def _send(self, voice: PacedVoice) -> None:
        await self._released.wait()
        async with aclosing(voice.frames()) as frames:
            async for frame in frames:
                if self._timings.first_audio_s is None:
                    self._mark("first_audio_s")
                self._tell(ReplyAudio(self.id, self.message, frame))

    async def _write(self, request: GenerationRequest) -> None:
        async with aclosing(Words(self._stages.llm, self._note_call).generate(request)) as events:
            async for event in events:
                match event:
                    case TextDelta(text=text):
                        self._mark("first_token_s")
                        self._say(text)
                    case GenerationEnd():
                        self._note_end(
                            event.finish_reason, event.prompt_tokens, event.completion_tokens
                        )

    async def _note(self, event: TurnEvent) -> None:
        match event:
            case ReplyDelta(text=text):
                self._mark("first_token_s")
                self._say(text)
            case ClauseBegan(text=clause):
                self._mark("first_clause_s")
                self.playout.begin_clause(clause, self.said)
            case Spoken(audio=audio):
                self._be_ready()
                self.playout.make(audio.duration_s)
                if self._voice is not None:
                    await self._voice.put(audio)
            case VoiceFailed():
                self._trouble = event.error
            case ReplyWritten():
                self._note_end(event.finish_reason, event.prompt_tokens, event.completion_tokens)
            case _:
                pass

    async def _note_call(self, piece: CallBegan | ArgumentsPiece) -> None:
        match piece:
            case CallBegan(name=name):
                self._mark("first_token_s")
                call = Call(new_id("item"), new_id("call"), name, "", "in_progress")
                self.calls.append(call)
                self._emit(CallStarted(self.id, call))
            case ArgumentsPiece(index=index, text=text):
                call = self.calls[index]
                call.arguments += text
                self._emit(CallArguments(self.id, call, text))
        self.tokens += 1

    def _say(self, text: str) -> None:
        self.message.said += text
        self.message.parts[0].text = self.said
        self.tokens += 1
        if self._voice is None:
            self._be_ready()
        self._emit(ReplyText(self.id, self.message, text))

    def _note_end(self, finish_reason: str, prompt_tokens: int, completion_tokens: int) -> None:
        self.message.written = True
        self._cut_off = finish_reason == "length"
        self._usage = Usage(prompt_tokens, completion_tokens)

    def _be_ready(self) -> None:
        if not self._ready:
            self._ready = True
            self.when_ready()

    # ---- telling ----

    def _emit(self, event: LiveEvent) -> None:
        if self.is_released:
            self._tell(event)
        else:
            self._held.append(event)

    def _end(
        self,
        status: ReplyStatus,
        *,
        reason: EndReason | None = None,
        error: SpeechError | None = None,
    ) -> None:
        if self.ended:
            return
        self.ended = True
        self._mark("total_s")
        if status == "completed":
            self.message.status = "completed"
            self.message.parts[0].text = self.said.strip()
        elif self.message.parts[0].spoken:
            self.break_off()
        if status != "completed":
            self.message.status = "incomplete"
        end_turn(self.trace, self._timings, status, reason, error, self.playout.played_s)
        for call in self.calls:
            call.status = "completed" if status == "completed" else "incomplete"
        self._tell(
            ReplyEnded(
                self.id,
                status,
                reason,
                error,
                self.message if self.said else None,
                self.said,
                tuple(self.calls),
                self._usage if self._usage.completion_tokens else Usage(0, self.tokens),
                self._timings,
                self.tag,
            )
        )

    def _mark(self, phase: str) -> None:
        if getattr(self._timings, phase) is None:
            seconds = round(time.perf_counter() - self._start, 4)
            self._timings = replace(self._timings, **{phase: seconds})
