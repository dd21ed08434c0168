"""Items of a realtime conversation: messages, calls of functions, and what came of them."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field

from serve_app.protocol.openai_chat import ToolName
from serve_app.protocol.realtime_session import LONGEST_TEXT
from serve_app.protocol.wire import Wire

# 15 MiB before base64, as OpenAI bounds it.
LONGEST_AUDIO = 20_971_520

ItemId = Annotated[str, Field(min_length=1, max_length=64)]
ItemStatus = Literal["in_progress", "completed", "incomplete"]
Audio = Annotated[str, Field(max_length=LONGEST_AUDIO)]

_Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
_CallId = Annotated[str, Field(min_length=1, max_length=128)]

# ---- what a client may add ----


class InputTextPart(Wire):
    """A text of the user, or of the instructions."""

    type: Literal["input_text"]
    text: _Text


class InputAudioPart(Wire):
    """What the user said; without a `transcript` it is heard here."""

    type: Literal["input_audio"]
    audio: Audio | None = None
    transcript: _Text | None = None


class OutputTextPart(Wire):
    """A text of the assistant."""

    type: Literal["output_text", "text"]
    text: _Text


class OutputAudioPart(Wire):
    """What the assistant said."""

    type: Literal["output_audio", "audio"]
    transcript: _Text | None = None
    audio: Audio | None = Field(None, description="Not read.")


class _Item(Wire):
    id: ItemId | None = None
    object: Literal["realtime.item"] | None = None
    status: ItemStatus | None = Field(None, description="Not read: what is added is complete.")


class UserMessage(_Item):
    """The user's."""

    type: Literal["message"]
    role: Literal["user"]
    content: Annotated[
        list[Annotated[InputTextPart | InputAudioPart, Discriminator("type")]], Field(max_length=64)
    ]


class SystemMessage(_Item):
    """Instructions amid the conversation."""

    type: Literal["message"]
    role: Literal["system"]
    content: Annotated[list[InputTextPart], Field(max_length=64)]


class AssistantMessage(_Item):
    """The assistant's."""

    type: Literal["message"]
    role: Literal["assistant"]
    content: Annotated[
        list[Annotated[OutputTextPart | OutputAudioPart, Discriminator("type")]],
        Field(max_length=64),
    ]


class FunctionCall(_Item):
    """A call of a function."""

    type: Literal["function_call"]
    name: ToolName
    call_id: _CallId | None = None
    arguments: _Text


class FunctionCallOutput(_Item):
    """What came of a call."""

    type: Literal["function_call_output"]
    call_id: _CallId
    output: _Text


_Message = Annotated[UserMessage | SystemMessage | AssistantMessage, Discriminator("role")]
NewItem = Annotated[_Message | FunctionCall | FunctionCallOutput, Discriminator("type")]


class ItemReference(Wire):
    """An item that is there already."""

    type: Literal["item_reference"]
    id: ItemId


InputItem = Annotated[
    _Message | FunctionCall | FunctionCallOutput | ItemReference, Discriminator("type")
]

# ---- what a client is told ----


class InputTextOut(Wire):
    """See `InputTextPart`."""

    type: Literal["input_text"] = "input_text"
    text: str


class InputAudioOut(Wire):
    """What the user said; null: not known, or not wanted."""

    type: Literal["input_audio"] = "input_audio"
    transcript: str | None


class OutputTextOut(Wire):
    """See `OutputTextPart`."""

    type: Literal["output_text"] = "output_text"
    text: str


class OutputAudioOut(Wire):
    """See `OutputAudioPart`."""

    type: Literal["output_audio"] = "output_audio"
    transcript: str


ContentOut = InputTextOut | InputAudioOut | OutputTextOut | OutputAudioOut


class _ItemOut(Wire):
    id: str
    object: Literal["realtime.item"] = "realtime.item"
    status: ItemStatus


class MessageOut(_ItemOut):
    """A message."""

    type: Literal["message"] = "message"
    role: Literal["user", "system", "assistant"]
    content: list[ContentOut]


class FunctionCallOut(_ItemOut):
    """A call of a function."""

    type: Literal["function_call"] = "function_call"
    call_id: str
    name: str
    arguments: str


class FunctionCallOutputOut(_ItemOut):
    """What came of a call."""

    type: Literal["function_call_output"] = "function_call_output"
    call_id: str
    output: str


ItemOut = MessageOut | FunctionCallOut | FunctionCallOutputOut
