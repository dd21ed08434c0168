"""What happens in a live session, as today's realtime clients are told."""

from collections.abc import Callable
from typing import assert_never

from deployments.errors import SpeechError
from serve_app.live import events as live
from serve_app.live.items import Conversation, Message
from serve_app.problems import problem_of
from serve_app.protocol.realtime_server_events import (
    AudioCommitted,
    ItemAdded,
    ItemDeleted,
    ItemDone,
    ItemTruncated,
    SpeechStarted,
    SpeechStopped,
    TimeoutTriggered,
    TranscriptionCompleted,
    TranscriptionDelta,
    TranscriptionFailed,
    TranscriptionProblem,
    TranscriptionUsage,
)
from serve_app.protocol.realtime_session import RealtimeSession
from serve_app.realtime.items import item_out
from serve_app.realtime.refusal import error_event
from serve_app.realtime.response_writer import ResponseForm, ResponseWriter, ServerEvent


class GaWriter:
    """Writes the events of one session, in their order.

    `session` gives what is in force; the conversation says where an item stands in it.
    """

    def __init__(
        self,
        session: Callable[[], RealtimeSession],
        conversation: Callable[[], Conversation],
        conversation_id: str,
    ) -> None:
        self._session, self._conversation = session, conversation
        self._conversation_id = conversation_id
        self._responses: dict[str, ResponseWriter] = {}

    def write(self, event: live.LiveEvent) -> list[ServerEvent]:
        """What the client is told of an event; may be nothing."""
        match event:
            case (
                live.SpeechStarted() | live.SpeechStopped() | live.Committed() | live.IdleTimeout()
            ):
                return self._of_audio(event)
            case live.PartialTranscript() | live.Transcribed() | live.TranscriptionFailed():
                return self._of_words(event)
            case live.ItemAdded() | live.ItemDeleted() | live.ItemTruncated():
                return _of_items(event)
            case live.ReplyStarted():
                return self._begin(event)
            case live.Trouble(error=error):
                return [error_event(error)]
            case _:
                return self._of_reply(event)

    # ---- the user ----

    def _of_audio(
        self, event: live.SpeechStarted | live.SpeechStopped | live.Committed | live.IdleTimeout
    ) -> list[ServerEvent]:
        match event:
            case live.SpeechStarted(item_id=item_id, start_ms=start_ms):
                return [SpeechStarted(audio_start_ms=start_ms, item_id=item_id)]
            case live.SpeechStopped(item_id=item_id, end_ms=end_ms):
                return [SpeechStopped(audio_end_ms=end_ms, item_id=item_id)]
            case live.Committed(item=item, previous_id=previous):
                return self._committed(item, previous)
            case live.IdleTimeout(item_id=item_id, start_ms=start_ms, end_ms=end_ms):
                return [
                    TimeoutTriggered(audio_start_ms=start_ms, audio_end_ms=end_ms, item_id=item_id)
                ]
            case _:
                assert_never(event)

    @property
    def _tells_words(self) -> bool:
        return self._session().audio.input.transcription is not None

    def _committed(self, item: Message, previous: str | None) -> list[ServerEvent]:
        out = item_out(item, heard=False)
        events: list[ServerEvent] = [
            AudioCommitted(previous_item_id=previous, item_id=item.id),
            ItemAdded(previous_item_id=previous, item=out),
        ]
        if item.parts[0].text is not None:  # nothing is to be heard in it
            events.append(ItemDone(previous_item_id=previous, item=out))
        return events

    def _of_words(
        self, event: live.PartialTranscript | live.Transcribed | live.TranscriptionFailed
    ) -> list[ServerEvent]:
        match event:
            case live.PartialTranscript(item_id=item_id, delta=delta):
                told = self._tells_words and delta
                return [TranscriptionDelta(item_id=item_id, delta=delta)] if told else []
            case live.Transcribed(item=item, transcript=transcript):
                words: ServerEvent = TranscriptionCompleted(
                    item_id=item.id,
                    transcript=transcript.text,
                    usage=TranscriptionUsage(seconds=round(transcript.duration_s, 3)),
                )
            case live.TranscriptionFailed(item=item, error=error):
                words = TranscriptionFailed(item_id=item.id, error=_unheard(error))
        out = item_out(item, heard=self._tells_words)
        done = ItemDone(previous_item_id=self._place(item.id), item=out)
        return [words, done] if self._tells_words else [done]

    def _place(self, item_id: str) -> str | None:
        """The item before one that may be deleted by now."""
        conversation = self._conversation()
        known = any(item.id == item_id for item in conversation)
        return conversation.previous_id(item_id) if known else None

    # ---- the assistant ----

    def _of_reply(
        self,
        event: live.ReplyText
        | live.ReplyAudio
        | live.CallStarted
        | live.CallArguments
        | live.ReplyEnded,
    ) -> list[ServerEvent]:
        response = self._responses.get(event.reply_id)
        if response is None:
            return []
        match event:
            case live.ReplyText(message=message, delta=delta):
                return response.text(message, delta)
            case live.ReplyAudio(message=message, audio=audio):
                return response.audio(message, audio)
            case live.CallStarted(call=call):
                return response.call(call)
            case live.CallArguments(call=call, delta=delta):
                return response.arguments(call, delta)
            case live.ReplyEnded():
                del self._responses[event.reply_id]
                return response.ended(event)
            case _:
                assert_never(event)

    def _begin(self, event: live.ReplyStarted) -> list[ServerEvent]:
        form = event.tag
        if not isinstance(form, ResponseForm):
            form = ResponseForm(self._session())
        response = ResponseWriter(event.reply_id, form, self._conversation_id, self._place)
        self._responses[event.reply_id] = response
        return response.created()


def _of_items(
    event: live.ItemAdded | live.ItemDeleted | live.ItemTruncated,
) -> list[ServerEvent]:
    match event:
        case live.ItemAdded(item=item, previous_id=previous):
            out = item_out(item)
            return [
                ItemAdded(previous_item_id=previous, item=out),
                ItemDone(previous_item_id=previous, item=out),
            ]
        case live.ItemDeleted(item_id=item_id):
            return [ItemDeleted(item_id=item_id)]
        case live.ItemTruncated(item_id=item_id, end_ms=end_ms):
            return [ItemTruncated(item_id=item_id, audio_end_ms=end_ms)]
        case _:
            assert_never(event)


def _unheard(error: SpeechError) -> TranscriptionProblem:
    problem = problem_of(error)
    return TranscriptionProblem(
        type=problem.type, code=problem.code, message=problem.message, param=problem.param
    )
