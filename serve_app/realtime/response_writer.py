"""One response, event by event."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from deployments.audio import Pcm
from deployments.errors import SpeechError
from serve_app.live.events import LiveTimings, ReplyEnded
from serve_app.live.items import Call, Message
from serve_app.problems import problem_of
from serve_app.protocol.realtime_items import ItemOut
from serve_app.protocol.realtime_response import (
    ResponseAudioOut,
    ResponseFailure,
    ResponseOut,
    ResponseUsage,
    ResponseVoiceOut,
    StatusDetails,
)
from serve_app.protocol.realtime_response_events import (
    ArgumentsDelta,
    ArgumentsDone,
    AudioDelta,
    AudioDone,
    AudioPart,
    ContentPartAdded,
    ContentPartDone,
    OutputItemAdded,
    OutputItemDone,
    ResponseCreated,
    ResponseDone,
    ResponseEvent,
    TextDelta,
    TextDone,
    TextPart,
    TranscriptDelta,
    TranscriptDone,
)
from serve_app.protocol.realtime_server_events import ItemAdded, ItemDone, SessionEvent
from serve_app.protocol.realtime_session import RealtimeSession
from serve_app.realtime.items import begun, item_out
from serve_app.realtime.sound import AudioOut

ServerEvent = SessionEvent | ResponseEvent
_Status = Literal["in_progress", "completed", "cancelled", "incomplete", "failed"]


@dataclass(frozen=True, slots=True)
class ResponseForm:
    """How a response was asked for; `session` is what was in force, with what it asked instead."""

    session: RealtimeSession
    metadata: dict[str, str] | None = None
    in_conversation: bool = True


class ResponseWriter:
    """Writes one response; its items are opened when their first piece comes.

    `place` gives the item before an item of the conversation.
    """

    def __init__(
        self,
        response_id: str,
        form: ResponseForm,
        conversation_id: str,
        place: Callable[[str], str | None],
    ) -> None:
        self._id, self._form, self._place = response_id, form, place
        self._conversation_id = conversation_id if form.in_conversation else None
        self._items: list[Message | Call] = []
        self._message: Message | None = None
        self._said = ""
        self._audio = AudioOut(form.session.audio.output.format)
        self._open_call: Call | None = None

    def created(self) -> list[ServerEvent]:
        """It begins."""
        return [ResponseCreated(response=self._response("in_progress"))]

    def text(self, message: Message, delta: str) -> list[ServerEvent]:
        """Further words."""
        events = self._opened(message)
        self._said += delta
        kind = TranscriptDelta if _is_spoken(message) else TextDelta
        place = self._index(message)
        events.append(
            kind(response_id=self._id, item_id=message.id, output_index=place, delta=delta)
        )
        return events

    def audio(self, message: Message, audio: Pcm) -> list[ServerEvent]:
        """Further audio."""
        return [*self._opened(message), *self._deltas(message, self._audio.deltas(audio))]

    def call(self, call: Call) -> list[ServerEvent]:
        """A call begins; the one before has all its arguments."""
        events = self._close_call()
        events += self._open(call)
        self._open_call = call
        return events

    def arguments(self, call: Call, delta: str) -> list[ServerEvent]:
        """Further arguments."""
        return [
            ArgumentsDelta(
                response_id=self._id,
                item_id=call.id,
                output_index=self._index(call),
                call_id=call.call_id,
                delta=delta,
            )
        ]

    def ended(self, end: ReplyEnded) -> list[ServerEvent]:
        """It has ended, and with it everything that is open."""
        events: list[ServerEvent] = []
        if self._message is not None:
            events += self._close_message(self._message, whole=end.status == "completed")
        events += self._close_call()
        response = self._response(end.status).model_copy(
            update={
                "status_details": _details(end),
                "output": [item_out(item) for item in self._items],
                "usage": ResponseUsage.of(end.usage.prompt_tokens, end.usage.completion_tokens),
                "timings": _timings(end.timings),
            }
        )
        events.append(ResponseDone(response=response))
        return events

    # ---- items ----

    def _opened(self, message: Message) -> list[ServerEvent]:
        if self._message is not None:
            return []
        self._message = message
        part = AudioPart(transcript="") if _is_spoken(message) else TextPart(text="")
        return [
            *self._open(message),
            ContentPartAdded(
                response_id=self._id,
                item_id=message.id,
                output_index=self._index(message),
                part=part,
            ),
        ]

    def _open(self, item: Message | Call) -> list[ServerEvent]:
        self._items.append(item)
        added = OutputItemAdded(
            response_id=self._id, output_index=self._index(item), item=begun(item)
        )
        if not self._form.in_conversation:
            return [added]
        return [added, ItemAdded(previous_item_id=self._place(item.id), item=begun(item))]

    def _close_message(self, message: Message, *, whole: bool) -> list[ServerEvent]:
        response_id, item_id, place = self._id, message.id, self._index(message)
        events: list[ServerEvent] = []
        if _is_spoken(message):
            if whole:
                events += self._deltas(message, self._audio.rest())
            events += [
                AudioDone(response_id=response_id, item_id=item_id, output_index=place),
                TranscriptDone(
                    response_id=response_id,
                    item_id=item_id,
                    output_index=place,
                    transcript=self._said,
                ),
            ]
            part = AudioPart(transcript=self._said)
        else:
            events.append(
                TextDone(
                    response_id=response_id, item_id=item_id, output_index=place, text=self._said
                )
            )
            part = TextPart(text=self._said)
        events.append(
            ContentPartDone(response_id=response_id, item_id=item_id, output_index=place, part=part)
        )
        return [*events, *self._done(message)]

    def _close_call(self) -> list[ServerEvent]:
        call, self._open_call = self._open_call, None
        if call is None:
            return []
        if call.status == "incomplete":
            return self._done(call)  # cut off: nobody must act on it
        done = ArgumentsDone(
            response_id=self._id,
            item_id=call.id,
            output_index=self._index(call),
            call_id=call.call_id,
            name=call.name,
            arguments=call.arguments,
        )
        if call.status == "in_progress":
            call.status = "completed"  # the next one has begun
        return [done, *self._done(call)]

    def _done(self, item: Message | Call) -> list[ServerEvent]:
        out: ItemOut = item_out(item)
        done = OutputItemDone(response_id=self._id, output_index=self._index(item), item=out)
        if not self._form.in_conversation:
            return [done]
        return [done, ItemDone(previous_item_id=self._place(item.id), item=out)]

    def _deltas(self, message: Message, deltas: Iterable[str]) -> list[ServerEvent]:
        place = self._index(message)
        return [
            AudioDelta(response_id=self._id, item_id=message.id, output_index=place, delta=delta)
            for delta in deltas
        ]

    def _index(self, item: Message | Call) -> int:
        return next(index for index, each in enumerate(self._items) if each is item)

    # ---- the response itself ----

    def _response(self, status: _Status) -> ResponseOut:
        session = self._form.session
        output = session.audio.output
        return ResponseOut(
            id=self._id,
            status=status,
            conversation_id=self._conversation_id,
            output_modalities=session.output_modalities,
            max_output_tokens=session.max_output_tokens,
            audio=ResponseAudioOut(
                output=ResponseVoiceOut(format=output.format, voice=output.voice)
            ),
            metadata=self._form.metadata,
            temperature=session.temperature,
        )


def _is_spoken(message: Message) -> bool:
    return message.parts[0].spoken


def _details(end: ReplyEnded) -> StatusDetails | None:
    if end.status == "completed" and end.error is None:
        return None
    error = _failure(end.error) if end.error else None
    return StatusDetails(type=end.status, reason=end.reason, error=error)


def _failure(error: SpeechError) -> ResponseFailure:
    problem = problem_of(error)
    return ResponseFailure(type=problem.type, code=problem.code, message=problem.message)


def _timings(timings: LiveTimings | None) -> dict[str, float] | None:
    if timings is None:
        return None
    return {name: value for name, value in asdict(timings).items() if value is not None}
