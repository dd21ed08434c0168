"""A live conversation: audio in, events out.

The user's side is `listener.py`; here is the assistant's: a reply is a draft, then given, then ended
(`reply.py`). Every step is one synchronous method, so that no other comes between, and events leave in
the order of the steps.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from deployments.errors import InvalidParameter, NoReplyInProgress, ReplyInProgress, SpeechError
from deployments.messages import ChatMessage, GenerationRequest
from deployments.tracing import Span, enter, start_span
from serve_app.hearing.ear import Ear
from serve_app.hearing.voice_activity import SileroModel
from serve_app.live.config import LiveConfig
from serve_app.live.events import (
    CallStarted,
    CancelReason,
    Committed,
    IdleTimeout,
    ItemAdded,
    ItemDeleted,
    ItemTruncated,
    LiveEvent,
    ReplyEnded,
    ReplyText,
    Transcribed,
    Trouble,
)
from serve_app.live.items import Conversation, Item, Message, Part, chat_messages, new_id
from serve_app.live.listener import Listener
from serve_app.live.memory import LiveMemory
from serve_app.live.ports import LiveContext
from serve_app.live.reply import Reply
from serve_app.live.request import generation_request
from serve_app.live.tasks import Tasks
from serve_app.live.turn_trace import TURN, end_unanswered
from serve_app.live.utterance import Guess

_TICK_S = 0.03
_MOST_ASIDE = 4
_ANY_WORDS = ChatMessage("user", ".")
_REMEMBERED = (Transcribed, ReplyEnded, ItemAdded, ItemDeleted, ItemTruncated)


class LiveSession:
    """One conversation, as an asynchronous context; its methods never wait.

    `emit` takes every event, in order, and must not wait either.
    """

    def __init__(
        self,
        context: LiveContext,
        model: SileroModel,
        config: LiveConfig,
        memory: LiveMemory | None = None,
    ) -> None:
        bounds = context.bounds
        self._write, self._observer = context.emit, context.observer
        self._bounds = bounds
        self._warmed: object = None  # what the model has read ahead
        self._config, self._memory = config, memory
        self._replying = replace(context, emit=self._tell)
        self.conversation = Conversation(bounds.max_items, bounds.max_chars)
        self._tasks = Tasks(self._broke)
        endpointing = config.turn_taking.endpointing if config.turn_taking else None
        ear = Ear(model, endpointing, bounds.max_utterance_s)
        self._listener = Listener(replace(context, emit=self._emit), ear, config, self, self._tasks)
        self._reply: Reply | None = None  # released, and not ended
        self._working: dict[str, asyncio.Task[None]] = {}
        self._spoken: Reply | None = None  # the last one that was released
        self._owed: Guess | None = None  # to be answered when nothing stands in the way
        self._aside: dict[str, Reply] = {}  # released, not ended, and no part of the conversation

    async def __aenter__(self) -> Self:
        if self._memory is not None:
            for message in await self._memory.recall():
                part = Part(message.content)
                self.conversation.add(Message(new_id("item"), message.role, [part]))
        await self._tasks.__aenter__()
        self._tasks.spawn(self._watch(), "watch")
        if self._memory is not None:
            self._tasks.spawn(self._memory.keep(self._known), "memory")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop("client_cancelled")
        try:
            await self._tasks.__aexit__(kind, error, trace)
        finally:
            if self._memory is not None:
                await self._memory.save(self._known)

    # ---- what the client does ----

    @property
    def config(self) -> LiveConfig:
        """What is in force."""
        return self._config

    @property
    def active_reply(self) -> str | None:
        """The id of the reply that is being given."""
        return self._reply.id if self._reply else None

    @property
    def is_settled(self) -> bool:
        """Whether nobody speaks and nothing is being worked out."""
        return self._listener.is_quiet and self._reply is None and not self.is_heard

    async def settled(self) -> None:
        """Return when nobody speaks and nothing is being worked out."""
        while not self.is_settled:  # noqa: ASYNC110 - the end of playing is a time, no event
            await asyncio.sleep(_TICK_S)

    def configure(self, config: LiveConfig) -> None:
        """Change how to hear, think and speak, from now on."""
        if config != self._config:
            self.conversation.changed()  # a draft was made for what was wanted before
        self._config = config
        self._listener.configure(config)

    def hear(self, samples: bytes) -> None:
        """Take audio: 16 kHz mono, 16 bit. Raises `AudioTooLong` where the client commits."""
        self._listener.hear(samples)

    def commit(self) -> None:
        """The audio so far is an utterance. Raises `NothingToCommit`."""
        self._listener.commit()

    def clear(self) -> None:
        """Forget the audio that is no item yet."""
        self._listener.clear()

    def add(self, item: Item, after: str | None = None) -> None:
        """Add an item.

        Raises:
            ItemNotFound: there is no item to put it behind.
            InvalidParameter: there is an item with its id.
        """
        self._emit(ItemAdded(item, self.conversation.add(item, after)))

    def delete(self, item_id: str) -> None:
        """Take an item out. Raises `ItemNotFound`."""
        self.conversation.delete(item_id)
        self._emit(ItemDeleted(item_id))

    def truncate(self, item_id: str, end_ms: int) -> None:
        """Of a spoken reply, only so much was heard; the rest is not part of the conversation.

        Raises:
            ItemNotFound: there is no such item.
            InvalidParameter: it was not spoken here.
        """
        item = self.conversation.find(item_id)
        if not isinstance(item, Message) or item.role != "assistant" or item.playout is None:
            raise InvalidParameter("item_id", "only what the assistant says can be truncated.")
        if not item.parts[0].spoken:
            raise InvalidParameter("item_id", "the item has no audio.")
        if self._reply is not None and self._reply.message is item:
            self._stop("client_cancelled")
        item.cut(end_ms / 1000)
        self.conversation.changed()
        self._emit(ItemTruncated(item_id, end_ms))

    def respond(
        self,
        config: LiveConfig | None = None,
        items: Sequence[Item] | None = None,
        *,
        in_conversation: bool = True,
        tag: object = None,
    ) -> str:
        """Give a reply to the conversation, or to `items` instead of it; its id.

        One that is no part of the conversation (`in_conversation` false) may be given beside another.

        Raises:
            ReplyInProgress: one is being given, or too many are beside it.
        """
        if in_conversation and self._reply is not None:
            raise ReplyInProgress(self._reply.id)
        if not in_conversation and len(self._aside) >= _MOST_ASIDE:
            raise ReplyInProgress(next(iter(self._aside)))
        config = config or self._config
        given = None if items is None else tuple(items)

        async def prepare() -> GenerationRequest:
            await self._listener.all_heard()
            if given is None and in_conversation:
                self._owed = None  # this answers it
            known = self.conversation if given is None else given
            return generation_request(config, chat_messages(list(known), config.prompt_template))

        reply = self._new_reply(config, prepare, tag=tag, in_conversation=in_conversation)
        self._release(reply)
        return reply.id

    def cancel(self, reply_id: str | None = None) -> None:
        """Stop the reply that is being given.

        Raises:
            NoReplyInProgress: there is none, or not of this id.
        """
        if reply_id is not None and reply_id in self._aside:
            self._end_reply(self._aside.pop(reply_id), "client_cancelled")
            return
        if self._reply is None or reply_id not in (None, self._reply.id):
            raise NoReplyInProgress
        owed = self._owed
        self._stop("client_cancelled")
        self._owed = owed
        self.pay()

    def interrupt(self) -> None:
        """Stop what is said; of it, what was heard stays. Nothing happens where nothing is said."""
        if self._reply is not None:
            self._stop("client_cancelled")
        elif self._spoken is not None and self._spoken.is_heard:
            self._spoken.break_off()
            self.conversation.changed()

    # ---- what the user's side asks of the assistant's (`listener.Floor`) ----

    @property
    def is_heard(self) -> bool:
        """Whether a reply can be heard now."""
        return self._spoken is not None and self._spoken.is_heard

    def yield_floor(self) -> None:
        """The user speaks: a reply that is given stops, if it may."""
        taking = self._config.turn_taking
        if taking is None or not taking.interrupts:
            return
        if self._reply is not None:
            self._stop("turn_detected")
        elif self._spoken is not None and self._spoken.is_heard:
            self._spoken.break_off()
            self.conversation.changed()

    def warm(self) -> None:
        """The user begins to speak: the model reads what stands before their words, if it is new."""
        config = self._config
        wanted = (config.instructions, config.tools, config.tool_choice)
        if self._bounds.warms and config.replies and self._warmed != wanted and not self._reply:
            self._warmed = wanted
            self._tasks.spawn(self._read_ahead(config), "warm")

    def draft(self, guess: Guess) -> None:
        """Begin the reply to an utterance that may be finished."""
        if self._reply is None:
            guess.draft = self._reply_to(guess)
            guess.draft_version = self.conversation.version

    def drop(self, guess: Guess) -> None:
        """The reply to it is not wanted."""
        draft, guess.draft = guess.draft, None
        if draft is not None:
            self._observer.guessed("reply", useful=False, tokens=draft.tokens)
            draft.cancel("turn_detected")
            self._end_work(draft)

    def answer(self, guess: Guess) -> None:
        """The utterance is finished and heard: give the reply."""
        current = guess.draft_version == self.conversation.version
        self.conversation.changed()
        taking = self._config.turn_taking
        heard = guess.transcript is not None and guess.transcript.text
        if not heard or not self._config.replies or taking is None or not taking.creates_reply:
            self.drop(guess)
            end_unanswered(guess.trace, "unanswered")
            self.pay()
            return
        if self._reply is not None or self._listener.is_talking:
            self.drop(guess)
            self._owed = guess
            return
        self._owed = None  # whatever it was, it is answered now
        if guess.draft is not None and not current:
            self.drop(guess)
        if guess.draft is None:
            guess.draft = self._reply_to(guess)
        else:
            self._observer.guessed("reply", useful=True, tokens=guess.draft.tokens)
        self._release(guess.draft, guess)

    def pay(self) -> None:
        """Give the reply that is owed, if nothing stands in the way any more."""
        if self._owed is not None and self._reply is None and not self._listener.is_talking:
            owed, self._owed = self._owed, None
            self.answer(owed)

    # ---- replies ----

    def _reply_to(self, guess: Guess) -> Reply:
        """A reply to the conversation and this utterance, which may not be an item yet."""
        config, transcript = self._config, guess.transcript
        assert transcript is not None  # noqa: S101 - only what was heard is answered
        items = list(self.conversation)
        if guess.message is None:
            items.append(Message("", "user", [Part(transcript.text, spoken=True)]))
        request = generation_request(config, chat_messages(items, config.prompt_template))

        async def prepare() -> GenerationRequest:
            return request

        return self._new_reply(config, prepare, started=guess.paused_at, trace=guess.trace)

    def _new_reply(
        self,
        config: LiveConfig,
        prepare: Callable[[], Awaitable[GenerationRequest]],
        *,
        started: float | None = None,
        tag: object = None,
        in_conversation: bool = True,
        trace: Span | None = None,
    ) -> Reply:
        reply = Reply(
            self._replying,
            config,
            prepare,
            started=started,
            tag=tag,
            in_conversation=in_conversation,
        )
        reply.trace = trace or start_span(TURN)
        self._working[reply.id] = self._tasks.spawn(self._give(reply), "reply")
        return reply

    async def _read_ahead(self, config: LiveConfig) -> None:
        messages = (*self.conversation.messages(config.prompt_template), _ANY_WORDS)
        one_token = replace(config, sampling=replace(config.sampling, max_tokens=1))
        with suppress(SpeechError):  # the reply will tell
            async with aclosing(
                self._replying.stages.llm.generate(generation_request(one_token, messages))
            ) as events:
                async for _ in events:
                    pass

    async def _give(self, reply: Reply) -> None:
        enter(reply.trace)
        try:
            await reply.run()
        except Exception:
            reply.fail(SpeechError())
            raise
        finally:
            self._working.pop(reply.id, None)

    def _release(self, reply: Reply, guess: Guess | None = None) -> None:
        if reply.in_conversation:
            self._reply = reply
            if reply.message.parts[0].spoken:
                self._spoken = reply
        else:
            self._aside[reply.id] = reply
        if guess is None:
            reply.release()
        else:
            reply.release(endpoint_s=guess.endpoint_s, transcript_s=guess.transcript_s)

    def _stop(self, reason: CancelReason) -> None:
        """End the reply that is given; of what was said, what was heard stays. Nothing is owed then."""
        reply, self._reply, self._owed = self._reply, None, None
        if reply is not None:
            self._end_reply(reply, reason)

    def _end_reply(self, reply: Reply, reason: CancelReason) -> None:
        reply.cancel(reason)
        self._end_work(reply)
        self.conversation.changed()

    def _end_work(self, reply: Reply) -> None:
        task = self._working.pop(reply.id, None)
        if task is not None:
            task.cancel()

    def _tell(self, event: LiveEvent) -> None:
        """An event of a released reply: what it says is an item from its first word on."""
        match event:
            case ReplyText(message=item) | CallStarted(call=item):
                self._join(event.reply_id, item)
            case ReplyEnded(reply_id=reply_id):
                self._aside.pop(reply_id, None)
                if self._reply is not None and self._reply.id == reply_id:
                    self._reply = None
                if event.timings is not None:
                    self._observer.turn(event.timings, event.status)
                self.conversation.changed()
            case _:
                pass
        self._emit(event)
        if isinstance(event, ReplyEnded):
            self.pay()

    def _join(self, reply_id: str, item: Item) -> None:
        reply = self._reply
        if reply is None or reply.id != reply_id or not reply.in_conversation:
            return
        if item.id not in reply.joined:  # it may have been taken out meanwhile
            reply.joined.add(item.id)
            self.conversation.add(item)

    # ---- time ----

    async def _watch(self) -> None:
        """Let time pass: a client that sends nothing is silent, too."""
        while True:
            await asyncio.sleep(_TICK_S)
            self._listener.tick()
            self._watch_idle()

    def _watch_idle(self) -> None:
        taking = self._config.turn_taking
        if taking is None or taking.idle_ms is None or not self.is_settled:
            return
        last = self._spoken.playout.ends_at if self._spoken else 0.0
        idle_ms = (time.perf_counter() - max(last, self._listener.active_at)) * 1000
        if idle_ms < taking.idle_ms:
            return
        self._listener.active_at = time.perf_counter()
        end_ms = self._listener.position_ms
        message = Message(new_id("item"), "user", [Part("", spoken=True)])
        self._emit(IdleTimeout(message.id, max(0, end_ms - taking.idle_ms), end_ms))
        self._emit(Committed(message, self.conversation.add(message)))
        if taking.creates_reply and self._config.replies:
            self.respond()

    # ---- telling ----

    def _emit(self, event: LiveEvent) -> None:
        self._write(event)
        if self._memory is not None and isinstance(event, _REMEMBERED):
            self._memory.changed()

    def _known(self) -> tuple[ChatMessage, ...]:
        return self.conversation.messages(self._config.prompt_template)

    def _broke(self) -> None:
        self._emit(Trouble(SpeechError()))
