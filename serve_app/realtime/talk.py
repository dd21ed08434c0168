"""One client of a live session in OpenAI's realtime dialect: what it sends is done, what happens is told."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from pydantic import ValidationError

from deployments.audio import BYTES_PER_SAMPLE, WHISPER_SAMPLE_RATE, Pcm
from deployments.errors import ItemNotFound, SpeechError
from serve_app.live.config import LiveConfig
from serve_app.live.events import LiveEvent, ReplyAudio, ReplyStarted
from serve_app.live.items import Item, new_id
from serve_app.live.ports import Emit
from serve_app.live.session import LiveSession
from serve_app.protocol.realtime_client_events import (
    AudioAppend,
    AudioClear,
    AudioCommit,
    ClientEvent,
    ItemCreate,
    ItemDelete,
    ItemRetrieve,
    ItemTruncate,
    OutputAudioClear,
    ResponseCancel,
    ResponseCreate,
    SessionUpdate,
)
from serve_app.protocol.realtime_items import InputItem, ItemReference, NewItem
from serve_app.protocol.realtime_response import ResponseParams
from serve_app.protocol.realtime_server_events import (
    AudioCleared,
    ItemRetrieved,
    RateLimitsUpdated,
    SessionUpdated,
)
from serve_app.protocol.realtime_session import (
    AnySession,
    RealtimeSession,
    TranscriptionSession,
    TranscriptionSessionUpdate,
)
from serve_app.realtime.dialect import Dialect, sent_object
from serve_app.realtime.heard import ItemEar
from serve_app.realtime.items import item_out, live_item
from serve_app.realtime.meter import Meter
from serve_app.realtime.refusal import Refused, error_event, event_id_of, refusal_of
from serve_app.realtime.response_writer import ResponseForm, ServerEvent
from serve_app.realtime.session_state import SessionDefaults
from serve_app.realtime.sound import AudioIn
from serve_app.realtime.writer import GaWriter

logger = logging.getLogger("ray.serve")

_SLICE_BYTES = BYTES_PER_SAMPLE * WHISPER_SAMPLE_RATE  # a second: 4 ms of listening

Open = Callable[[LiveConfig, Emit], LiveSession]


@dataclass(frozen=True, slots=True)
class Line:
    """How a client is written to; `send` never waits."""

    dialect: Dialect
    send: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a session begins: resolved; `hears_only`: it gives no responses."""

    session: RealtimeSession
    hears_only: bool = False


class RealtimeTalk:
    """Takes a client's messages one by one; an error is told, and the session goes on."""

    def __init__(
        self,
        opening: Open,
        defaults: SessionDefaults,
        meter: Meter,
        line: Line,
        beginning: Beginning,
    ) -> None:
        self._defaults, self._meter = defaults, meter
        self._dialect, self._send = line.dialect, line.send
        self._item_ear = ItemEar(defaults.services, meter)
        self._session, self._hears_only = beginning.session, beginning.hears_only
        self._audio = AudioIn(self._session.audio.input.format)
        self._conversation_id = new_id("conv")
        config = defaults.live(self._session, "session", replies=not self._hears_only)
        self.live = opening(config, self._happened)
        self._writer = GaWriter(
            lambda: self._session, lambda: self.live.conversation, self._conversation_id
        )

    def begin(self) -> None:
        """Tell the client of its session."""
        self._tell(self._dialect.opening(self._seen, self._conversation_id))

    async def take(self, message: str | bytes) -> None:
        """Do what a message asks for."""
        event_id = None
        try:
            sent = sent_object(message)
            event_id = event_id_of(sent)
            try:
                event = self._dialect.event(sent)
            except ValidationError as error:
                raise refusal_of(error, sent) from None
            await self._do(event)
        except Refused as error:
            named = Refused(error.code, error.message, self._dialect.param(error.param))
            self._tell([error_event(named, event_id)])
        except SpeechError as error:
            self._tell([error_event(error, event_id)])
        except Exception:
            logger.exception("an event of a client was not done")
            self._tell([error_event(SpeechError(), event_id)])

    # ---- telling ----

    @property
    def _seen(self) -> AnySession:
        """The session as its client sees it."""
        return TranscriptionSession.of(self._session) if self._hears_only else self._session

    def _happened(self, event: LiveEvent) -> None:
        if isinstance(event, ReplyAudio):
            self._meter.note(event.audio)
        self._tell(self._writer.write(event))
        if isinstance(event, ReplyStarted) and (limits := self._meter.rate_limits()):
            self._tell([RateLimitsUpdated(rate_limits=limits)])

    def _tell(self, events: list[ServerEvent]) -> None:
        for event in events:
            written = self._dialect.written(event)
            if written is not None:
                self._send(written)

    # ---- doing ----

    async def _do(self, event: ClientEvent) -> None:
        match event:
            case AudioAppend() | AudioCommit() | AudioClear():
                await self._hear(event)
            case SessionUpdate():
                await self._change(event)
            case ItemCreate():
                await self._add(event)
            case ItemTruncate() | ItemDelete() | ItemRetrieve():
                self._change_item(event)
            case ResponseCreate():
                await self._respond(event.response or ResponseParams())
            case ResponseCancel(response_id=response_id):
                self.live.cancel(response_id)
            case OutputAudioClear():
                message = "Over a WebSocket the client itself plays the audio, and stops it."
                raise Refused("invalid_event", message, "type")
            case _:
                assert_never(event)

    async def _hear(self, event: AudioAppend | AudioCommit | AudioClear) -> None:
        match event:
            case AudioAppend(audio=audio):
                await self._meter.spend()
                samples = self._audio.samples(audio)
                self._meter.note(Pcm(samples, WHISPER_SAMPLE_RATE))
                for at in range(0, len(samples), _SLICE_BYTES):
                    self.live.hear(samples[at : at + _SLICE_BYTES])
                    await asyncio.sleep(0)  # a whole recording must not hold up the others
            case AudioCommit():
                self.live.hear(self._audio.flush())
                self.live.commit()
            case AudioClear():
                self._audio.reset()
                self.live.clear()
                self._tell([AudioCleared()])
            case _:
                assert_never(event)

    async def _change(self, event: SessionUpdate) -> None:
        hears_only = isinstance(event.session, TranscriptionSessionUpdate)
        changed = self._defaults.changed(self._session, event.session)
        session = await self._defaults.resolved(changed, "session")
        self.live.configure(self._defaults.live(session, "session", replies=not hears_only))
        self._session, self._hears_only = session, hears_only
        if session.audio.input.format != self._audio.format:
            self._audio = AudioIn(session.audio.input.format)
        self._tell([SessionUpdated(session=self._seen)])

    async def _add(self, event: ItemCreate) -> None:
        item_id = event.item.id
        if any(item.id == item_id for item in self.live.conversation):
            message = f"Error adding item: an item with the id '{item_id}' exists already."
            raise Refused("item_create_duplicate_item_id", message, "item.id")
        item = await self._heard_item(event.item, "item")
        try:
            self.live.add(item, event.previous_item_id)
        except ItemNotFound as error:
            code = "item_create_invalid_previous_item_id"
            raise Refused(code, error.message, "previous_item_id") from None

    def _change_item(self, event: ItemTruncate | ItemDelete | ItemRetrieve) -> None:
        try:
            match event:
                case ItemTruncate(item_id=item_id, audio_end_ms=end_ms):
                    self.live.truncate(item_id, end_ms)
                case ItemDelete(item_id=item_id):
                    self.live.delete(item_id)
                case ItemRetrieve(item_id=item_id):
                    item = self.live.conversation.find(item_id)
                    self._tell([ItemRetrieved(item=item_out(item))])
                case _:
                    assert_never(event)
        except ItemNotFound as error:
            verb = event.type.rpartition(".")[2]
            raise Refused(f"item_{verb}_invalid_item_id", error.message, "item_id") from None

    async def _respond(self, params: ResponseParams) -> None:
        if self._hears_only:
            message = "A transcription session gives no responses."
            raise Refused("invalid_value", message, "type")
        session = self._defaults.for_response(self._session, params)
        session = await self._defaults.resolved(session, "response")
        config = self._defaults.live(session, "response")
        items = await self._input(params.input)
        in_conversation = params.conversation != "none"
        form = ResponseForm(session, params.metadata, in_conversation)
        self.live.respond(config, items, in_conversation=in_conversation, tag=form)

    async def _input(self, given: list[InputItem] | None) -> list[Item] | None:
        if given is None:
            return None
        items: list[Item] = []
        for index, item in enumerate(given):
            place = f"response.input.{index}"
            if isinstance(item, ItemReference):
                try:
                    items.append(self.live.conversation.find(item.id))
                except ItemNotFound as error:
                    raise Refused(error.code, error.message, f"{place}.id") from None
            else:
                items.append(await self._heard_item(item, place))
        return items

    async def _heard_item(self, item: NewItem, place: str) -> Item:
        audio_format = self._session.audio.input.format
        words = await self._item_ear.words(item, place, audio_format, self.live.config)
        return live_item(item, words)
