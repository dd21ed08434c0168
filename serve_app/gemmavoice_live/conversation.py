"""`/v1/conversation/ws`: a conversation by voice, or by typing."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

from deployments.audio import Pcm
from deployments.errors import InvalidAudio, InvalidParameter, StageOverloaded, TextTooLong
from serve_app.caller import Caller
from serve_app.gemmavoice_live.inbox import Inbox, Recording, pcm_rate
from serve_app.gemmavoice_live.manners import conversation_manners, read_object
from serve_app.gemmavoice_live.session_work import SessionWork
from serve_app.gemmavoice_live.terms import Terms
from serve_app.gemmavoice_live.told import FORGETS, TRANSCRIBING, Told
from serve_app.gemmavoice_live.transcribing import Ears
from serve_app.gemmavoice_live.voice_stream import VoiceStream
from serve_app.live.config import LiveConfig
from serve_app.live.events import LiveEvent, ReplyEnded, Transcribed
from serve_app.live.items import Message, Part, new_id
from serve_app.live.memory import LiveMemory
from serve_app.live.session import LiveSession
from serve_app.live_desk import LiveDesk
from serve_app.protocol.gemmavoice_sockets import (
    CONVERSATION,
    AudioMessage,
    ConfigMessage,
    ConversationConfig,
    EndTurnMessage,
    ForgetMessage,
    InterruptMessage,
    TextMessage,
)
from serve_app.services import Services
from serve_app.socket import Socket
from serve_app.socket_messages import read_base64, read_form
from serve_app.speech_output import SpeechOutput

MANNERS = conversation_manners()

_LEAST_BYTES = 100
_SHOWN_CHARS = 50


class Conversing:
    """One client's conversation. It begins with its first turn; until then it may be named."""

    def __init__(self, ears: Ears, socket: Socket, session_id: str | None) -> None:
        self._ears, self._socket = ears, socket
        settings = ears.services.settings
        self._limits, self._live = settings.limits, settings.live
        self._limit_bytes = settings.audio.max_upload_bytes
        self._inbox, self._rate = Inbox(self._limit_bytes), pcm_rate(None, None)
        self._terms = Terms(ears.services, ears.caller)
        self._told = Told(socket.send, self._terms)
        self._answers = True  # whether what is being heard is to be answered
        self._stream = VoiceStream()
        self.work = SessionWork(self._inbox, self._told.fail)
        self.session_id = session_id
        self.memory: LiveMemory | None = None
        named = {"session_id": session_id} if session_id else {}
        self._told.ready("Connected. Send audio chunks, then 'end_turn' to process.", **named)

    # ---- the client ----

    def take(self, message: str | bytes) -> None:
        """Audio, text, or a wish."""
        if isinstance(message, bytes):
            self._take_audio(message, self._terms.audio_rate())
            return
        match read_form(CONVERSATION, read_object(message)):
            case ConfigMessage(data=asked):
                self._configure(asked)
            case AudioMessage() as audio:
                data = read_base64("data", audio.data, self._limit_bytes)
                self._take_audio(data, self._terms.audio_rate(audio))
            case EndTurnMessage():
                self._end_turn()
            case TextMessage(data=text):
                self._take_text(text)
            case InterruptMessage():
                self._interrupt()
            case ForgetMessage():
                self._inbox.clear()
                self._socket.send({"type": "cleared"})

    @property
    def config(self) -> LiveConfig:
        """How a session begins now."""
        return self._terms.config

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being worked on."""
        return self.work.is_idle

    async def settled(self) -> None:
        """Return when the running turn is over."""
        await self.work.settled()

    # ---- its messages ----

    def _configure(self, asked: ConversationConfig) -> None:
        if asked.session_id not in (None, self.session_id):
            if self.work.is_begun:
                raise InvalidParameter("session_id", "it must come before the first turn.")
            self.session_id = asked.session_id
        output = self._terms.check(asked)
        self._terms.change_audio(asked)
        self.work.jobs.add(partial(self._change, asked, output))

    async def _change(self, asked: ConversationConfig, output: SpeechOutput) -> None:
        config = await self._terms.change(asked, output)
        if self.work.session is not None:
            self.work.session.configure(config)
        answer: dict[str, object] = {
            "type": "configured",
            "instructions": config.instructions[:_SHOWN_CHARS] + "...",
            "turn_detection": "server_vad" if config.turn_taking else None,
        }
        self._socket.send(answer | ({"session_id": self.session_id} if self.session_id else {}))

    def _take_audio(self, data: bytes, rate: int | None) -> None:
        if self._terms.listens:
            self._listen(data, rate)
            return
        if self.work.session is not None:
            _end_reply(self.work.session)
        self._inbox.add(data)
        self._rate = rate
        buffered = {"chunks": self._inbox.pieces, "bytes": self._inbox.size}
        self._socket.send({"type": "buffering", **buffered})

    def _listen(self, data: bytes, rate: int | None) -> None:
        """Hear at once; who ends the turn is the server."""
        self._inbox.check(len(data))
        if rate is not None:
            samples = self._stream.at_16khz(data, rate)
            if self.work.session is not None and self.work.jobs.is_idle:
                self.work.session.hear(samples)
            else:
                self.work.later(
                    self._inbox.work_on(Recording((samples,), rate)), self._hear_samples
                )
        else:
            self._stream.check_whole(data)
            self.work.later(self._inbox.work_on(Recording((data,))), self._hear_file)

    def _end_turn(self) -> None:
        if self._terms.listens:
            self.work.on_session(LiveSession.commit)
            return
        size = self._inbox.size
        recording = self._inbox.take(self._rate if size else None)
        if size < _LEAST_BYTES:
            self._inbox.done(recording)
            raise InvalidAudio(f"Not enough audio data ({size} bytes). Hold the button longer.")
        self._socket.send(TRANSCRIBING)
        self._answers = True
        self._told.begin_turn()
        self.work.later(recording, self._hear_turn)

    def _take_text(self, text: str) -> None:
        limit = self._limits.max_prompt_chars
        if len(text) > limit:
            raise TextTooLong("data", len(text), limit)
        self._socket.send({"type": "processing", "message": "Generating reply..."})
        self._told.begin_turn()
        self.work.on_session(partial(self._answer_text, text))

    def _interrupt(self) -> None:
        self._answers = False
        if self.work.session is None or self.work.session.active_reply is None:
            self._told.ready("Ready for next turn")
        if self.work.session is not None:
            self.work.session.interrupt()

    # ---- work ----

    async def _hear_samples(self, session: LiveSession, recording: Recording) -> None:
        session.hear(b"".join(recording.files))

    async def _hear_file(self, session: LiveSession, recording: Recording) -> None:
        session.hear((await self._ears.decode(recording)).samples)

    async def _hear_turn(self, session: LiveSession, recording: Recording) -> None:
        audio: Pcm = await self._ears.decode(recording)
        if audio.duration_s > self._live.max_utterance_s:
            raise InvalidAudio(f"A turn lasts at most {self._live.max_utterance_s:g} seconds.")
        await self._ears.caller.spend_audio(audio.duration_s)
        _end_reply(session)
        session.clear()
        session.hear(audio.samples)
        session.commit()

    def _answer_text(self, text: str, session: LiveSession) -> None:
        _end_reply(session)
        session.add(Message(new_id("item"), "user", [Part(text)]))
        session.respond()

    # ---- what happens ----

    def note(self, event: LiveEvent) -> None:
        """Tell what happens, and answer what was heard."""
        if isinstance(event, ReplyEnded) and self.memory is not None and self.memory.failed:
            self._socket.send(FORGETS)
        self._told.note(event)
        match event:
            case Transcribed(transcript=transcript):
                self._heard(transcript.text, transcript.duration_s)
            case ReplyEnded():
                self._account(partial(self._ears.caller.note_audio, self._told.spoken_s))
            case _:
                pass

    def _heard(self, text: str, duration_s: float) -> None:
        if self._terms.listens:
            self._account(partial(self._ears.caller.spend_audio, duration_s))
        if not text:
            self._told.ready("Nobody spoke.")
        elif not self._terms.listens and self.work.session is not None:
            if not self._answers:
                self._told.ready("Ready for next turn")
            elif self.work.session.active_reply is None:
                self.work.session.respond()

    def _account(self, job: Callable[[], Awaitable[None]]) -> None:
        with suppress(StageOverloaded):
            self.work.jobs.add(job)


def _end_reply(session: LiveSession) -> None:
    """The user goes on while a reply is given. One that was given to its end stays as it is."""
    if session.active_reply is not None:
        session.interrupt()


@asynccontextmanager
async def conversing(
    services: Services, caller: Caller, desk: LiveDesk, session_id: str | None, socket: Socket
) -> AsyncGenerator[Conversing, None]:
    """Converse while the socket is open."""
    talk = Conversing(Ears(services, caller), socket, session_id)

    def begin() -> LiveSession:
        if talk.session_id is not None:
            talk.memory = desk.memory(caller.owner, talk.session_id)
        return desk.session(talk.config, talk.note, caller.owner, talk.memory)

    async with talk.work.holding(begin):
        yield talk
