"""What OpenAI's own client makes of an event, and a session over fakes to write events for."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any, cast

from openai.types.beta.realtime import RealtimeServerEvent as BetaServerEvent
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from deployments.audio import Pcm
from deployments.errors import SpeechError, VoiceNotFound
from deployments.messages import Transcript
from serve_app.live import events as live
from serve_app.live.items import Call, Conversation, Message, Part
from serve_app.live_desk import default_config
from serve_app.model_catalog import ModelCatalog
from serve_app.protocol.realtime_session import RealtimeSession
from serve_app.realtime.beta_writer import beta_event
from serve_app.realtime.response_writer import ResponseForm, ServerEvent
from serve_app.realtime.session_state import SessionDefaults
from serve_app.realtime.writer import GaWriter
from serve_app.services import AskedVoice, Services, Voice
from tests.unit.fake_services import quick_settings

_GA: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
_BETA: TypeAdapter[Any] = TypeAdapter(BetaServerEvent)
RATE = 22_050


def strict(event: ServerEvent | str) -> dict[str, Any]:
    """The event as JSON, once OpenAI's client has found nothing wrong with it."""
    text = event if isinstance(event, str) else event.model_dump_json()
    parsed = _GA.validate_json(text, strict=True)
    written = json.loads(text)
    assert parsed.type == written["type"]
    return written


def strict_beta(event: ServerEvent) -> dict[str, Any] | None:
    """The same for the beta; it knows only the names of OpenAI's models."""
    written = beta_event(event)
    if written is None:
        return None
    copy = json.loads(json.dumps(written))
    if "model" in copy.get("session", {}):
        copy["session"]["model"] = "gpt-4o-realtime-preview"
    parsed = _BETA.validate_json(json.dumps(copy), strict=True)
    assert parsed.type == written["type"]
    return written


@dataclass
class FakeServices:
    """Voices "joe" (the default) and "amy", and ears that hear what they are told."""

    settings: Any = field(default_factory=quick_settings)
    heard: list[Any] = field(default_factory=list)
    error: SpeechError | None = None
    stt_error: SpeechError | None = None

    def __post_init__(self) -> None:
        self.models = ModelCatalog(self.settings)

    async def voice_to_come(self, name: str | None, owner: str) -> AskedVoice:
        name = self.settings.names.voices.get(name or "", name)
        name = None if name in (None, "", "default") else name
        if self.error:
            return AskedVoice(name=name)
        if name not in (None, "joe", "amy"):
            raise VoiceNotFound(name)
        return Voice(name=name or "joe", sample_rate=RATE, language="en")

    @property
    def stt(self) -> "FakeServices":
        return self

    async def transcribe(self, request: Any) -> Transcript:
        self.heard.append(request)
        if self.stt_error:
            raise self.stt_error
        return Transcript("what was said", "en", 1.0, request.audio.duration_s)


def defaults(services: FakeServices | None = None) -> SessionDefaults:
    services = services or FakeServices()
    config = default_config(services.settings)
    return SessionDefaults(config, cast("Services", services), "anybody")


def session(**changes: Any) -> RealtimeSession:
    plain = defaults().session("sess_1", 1_790_000_000)
    return plain.model_copy(update=changes)


@dataclass
class Written:
    """A writer, and everything that it wrote, each event checked."""

    session: RealtimeSession = field(default_factory=session)
    conversation: Conversation = field(default_factory=lambda: Conversation(100, 10_000))
    events: list[dict[str, Any]] = field(default_factory=list)
    raw: list[ServerEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.writer = GaWriter(lambda: self.session, lambda: self.conversation, "conv_1")

    def write(self, *events: live.LiveEvent) -> list[dict[str, Any]]:
        """Write these; what they became."""
        written: list[ServerEvent] = []
        for event in events:
            written += self.writer.write(event)
        self.raw += written
        checked = [strict(event) for event in written]
        for event in written:
            strict_beta(event)
        self.events += checked
        return checked

    @property
    def types(self) -> list[str]:
        """The names of the events, what repeats once."""
        return shortened(self.events)

    def user(self, item_id: str = "item_u1", text: str = "Hello there") -> list[live.LiveEvent]:
        """A whole utterance of the user."""
        message = Message(item_id, "user", [Part(None, spoken=True)])
        previous = self.conversation.add(message)
        events: list[live.LiveEvent] = [
            live.SpeechStarted(item_id, 640),
            live.PartialTranscript(item_id, "Hello"),
            live.SpeechStopped(item_id, 2112),
            live.Committed(message, previous),
        ]
        heard = Message(item_id, "user", [Part(text, spoken=True)])
        return [
            *events,
            live.PartialTranscript(item_id, " there"),
            live.Transcribed(heard, Transcript(text, "en", 1.0, 2.0)),
        ]

    def reply(
        self, *, spoken: bool = True, form: ResponseForm | None = None, item_id: str = "item_a1"
    ) -> tuple[Message, list[live.LiveEvent]]:
        """The beginning of a reply, up to its first audio."""
        message = Message(item_id, "assistant", [Part("", spoken)], "in_progress")
        if form is None or form.in_conversation:
            self.conversation.add(message)
        events: list[live.LiveEvent] = [
            live.ReplyStarted("resp_1", form),
            live.ReplyText("resp_1", message, "It is "),
            live.ReplyText("resp_1", message, "Paris."),
        ]
        if spoken:
            frame = Pcm(bytes(2 * 2205), RATE)
            events += [live.ReplyAudio("resp_1", message, frame) for _ in range(3)]
        return message, events


def ended(message: Message | None, status: Any = "completed", **fields: Any) -> live.ReplyEnded:
    """The end of the reply."""
    if message is not None:
        message.status = "completed" if status == "completed" else "incomplete"
        message.parts[0].text = "It is Paris." if status == "completed" else "It is"
    return live.ReplyEnded(
        "resp_1", status, **{"message": message, "usage": live.Usage(80, 40), **fields}
    )


def call(name: str = "get_time", item_id: str = "item_f1") -> Call:
    return Call(item_id, f"call_{item_id}", name, "", "in_progress")


def shortened(events: list[dict[str, Any]]) -> list[str]:
    names: list[str] = []
    for event in events:
        if not names or names[-1] != event["type"]:
            names.append(event["type"])
    return names


def samples_of(events: list[dict[str, Any]]) -> bytes:
    """The audio of all deltas."""
    deltas = [each["delta"] for each in events if each["type"] == "response.output_audio.delta"]
    return b"".join(base64.b64decode(delta) for delta in deltas)
