"""What a client of the realtime API is told of a response."""

from typing import Literal

from serve_app.protocol.realtime_items import ItemOut
from serve_app.protocol.realtime_response import ResponseOut
from serve_app.protocol.realtime_server_events import ServerEventBase
from serve_app.protocol.wire import Wire


class ResponseCreated(ServerEventBase):
    """A response begins."""

    type: Literal["response.created"] = "response.created"
    response: ResponseOut


class ResponseDone(ServerEventBase):
    """A response has ended."""

    type: Literal["response.done"] = "response.done"
    response: ResponseOut


class _OutputItem(ServerEventBase):
    response_id: str
    output_index: int
    item: ItemOut


class OutputItemAdded(_OutputItem):
    """A response has a further item."""

    type: Literal["response.output_item.added"] = "response.output_item.added"


class OutputItemDone(_OutputItem):
    """An item of a response is whole."""

    type: Literal["response.output_item.done"] = "response.output_item.done"


class TextPart(Wire):
    """A written part."""

    type: Literal["text"] = "text"
    text: str


class AudioPart(Wire):
    """A spoken part."""

    type: Literal["audio"] = "audio"
    transcript: str


class _Content(ServerEventBase):
    response_id: str
    item_id: str
    output_index: int
    content_index: Literal[0] = 0


class ContentPartAdded(_Content):
    """An item has a further part."""

    type: Literal["response.content_part.added"] = "response.content_part.added"
    part: TextPart | AudioPart


class ContentPartDone(_Content):
    """A part is whole."""

    type: Literal["response.content_part.done"] = "response.content_part.done"
    part: TextPart | AudioPart


class TextDelta(_Content):
    """Further written words."""

    type: Literal["response.output_text.delta"] = "response.output_text.delta"
    delta: str


class TextDone(_Content):
    """All that is written."""

    type: Literal["response.output_text.done"] = "response.output_text.done"
    text: str


class TranscriptDelta(_Content):
    """Further words, which are spoken too."""

    type: Literal["response.output_audio_transcript.delta"] = (
        "response.output_audio_transcript.delta"
    )
    delta: str


class TranscriptDone(_Content):
    """All words that were spoken or about to be."""

    type: Literal["response.output_audio_transcript.done"] = "response.output_audio_transcript.done"
    transcript: str


class AudioDelta(_Content):
    """At most a tenth of a second of audio, in base64."""

    type: Literal["response.output_audio.delta"] = "response.output_audio.delta"
    delta: str


class AudioDone(_Content):
    """No more audio comes."""

    type: Literal["response.output_audio.done"] = "response.output_audio.done"


class _Call(ServerEventBase):
    response_id: str
    item_id: str
    output_index: int
    call_id: str


class ArgumentsDelta(_Call):
    """Further arguments of a call."""

    type: Literal["response.function_call_arguments.delta"] = (
        "response.function_call_arguments.delta"
    )
    delta: str


class ArgumentsDone(_Call):
    """All arguments of a call."""

    type: Literal["response.function_call_arguments.done"] = "response.function_call_arguments.done"
    name: str
    arguments: str


ResponseEvent = (
    ResponseCreated
    | ResponseDone
    | OutputItemAdded
    | OutputItemDone
    | ContentPartAdded
    | ContentPartDone
    | TextDelta
    | TextDone
    | TranscriptDelta
    | TranscriptDone
    | AudioDelta
    | AudioDone
    | ArgumentsDelta
    | ArgumentsDone
)
