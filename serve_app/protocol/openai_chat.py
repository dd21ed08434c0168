"""OpenAI's chat completions, as they are asked for; every field is honoured or refused."""

import json
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, JsonValue, Tag, model_validator

from deployments.errors import InvalidParameter
from deployments.messages import JsonOutput, ToolOutput, ToolSignature
from serve_app.protocol.openai_generation import (
    LONGEST_TEXT,
    NO_EFFECT,
    NO_LOGPROBS,
    TEXT_OR_LIST,
    GenerationFields,
    refuse,
)
from serve_app.protocol.schema_hints import without_hints
from serve_app.protocol.tool_calls import Tool, tools_prompt
from serve_app.protocol.wire import Wire

_LONGEST_AUDIO = 64 * 1024 * 1024
_ANY_OBJECT: dict[str, JsonValue] = {"type": "object", "properties": {}}

_Text = Annotated[
    str,
    Field(
        max_length=LONGEST_TEXT,
        description="All messages together: at most limits.max_prompt_chars of the configuration "
        "(32768), what is heard in audio included.",
    ),
]
_Name = Annotated[
    str | None,
    Field(min_length=1, max_length=64, description="Who speaks; written before the message."),
]
ToolName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
_CallId = Annotated[str, Field(min_length=1, max_length=128)]


# ---- messages -----------------------------------------------------------------------------------


class TextPart(Wire):
    """A text."""

    type: Literal["text"]
    text: _Text


class RefusalPart(Wire):
    """What the assistant would not do."""

    type: Literal["refusal"]
    refusal: _Text


class InputAudio(Wire):
    """A recording."""

    data: str = Field(
        min_length=1,
        max_length=_LONGEST_AUDIO,
        description="Base64. All recordings of a request together: at most "
        "limits.max_inline_audio_bytes of the configuration (8 MiB) before base64.",
    )
    format: Literal["wav", "mp3"]


class AudioPart(Wire):
    """Speech; the model reads what is heard in it."""

    type: Literal["input_audio"]
    input_audio: InputAudio


_TextParts = Annotated[list[TextPart], Field(min_length=1, max_length=64)]
_UserParts = Annotated[
    list[Annotated[TextPart | AudioPart, Discriminator("type")]],
    Field(min_length=1, max_length=64),
]
_AssistantParts = Annotated[
    list[Annotated[TextPart | RefusalPart, Discriminator("type")]],
    Field(min_length=1, max_length=64),
]


class SystemMessage(Wire):
    """Instructions."""

    role: Literal["system", "developer"]
    content: Annotated[
        Annotated[_Text, Tag("text")] | Annotated[_TextParts, Tag("list")], TEXT_OR_LIST
    ]
    name: _Name = None


class UserMessage(Wire):
    """What the user says, in writing or aloud."""

    role: Literal["user"]
    content: Annotated[
        Annotated[_Text, Tag("text")] | Annotated[_UserParts, Tag("list")], TEXT_OR_LIST
    ]
    name: _Name = None


class CalledFunction(Wire):
    """A call of an earlier answer."""

    name: ToolName
    arguments: _Text
    parsed_arguments: JsonValue = Field(
        None, description="What clients add to `arguments`; not read."
    )


class EarlierCall(Wire):
    """A call of an earlier answer."""

    id: _CallId
    type: Literal["function"]
    function: CalledFunction
    index: int | None = Field(None, ge=0, le=1000, description="Of a streamed answer; not read.")


class EarlierAudio(Wire):
    """Spoken words of an earlier answer."""

    id: str = Field(min_length=1, max_length=64, description="Known for as long as a session is.")
    data: str | None = Field(None, max_length=_LONGEST_AUDIO, description="Not read.")
    transcript: str | None = Field(None, max_length=LONGEST_TEXT, description="Not read.")
    expires_at: int | None = Field(None, ge=0, lt=2**63, description="Not read.")


class AssistantMessage(Wire):
    """An earlier answer: a text, calls of tools, or spoken words."""

    role: Literal["assistant"]
    content: (
        Annotated[
            Annotated[_Text, Tag("text")] | Annotated[_AssistantParts, Tag("list")], TEXT_OR_LIST
        ]
        | None
    ) = None
    name: _Name = None
    refusal: _Text | None = None
    tool_calls: list[EarlierCall] | None = Field(None, max_length=128)
    audio: EarlierAudio | None = None
    annotations: list[JsonValue] | None = Field(None, max_length=0)
    parsed: JsonValue = Field(None, description="What clients add to `content`; not read.")
    function_call: Annotated[None, refuse("it is deprecated; use 'tool_calls'")] = Field(
        None, description="Refused: deprecated; use `tool_calls`."
    )


class ToolMessage(Wire):
    """What a tool gave back."""

    role: Literal["tool"]
    content: Annotated[
        Annotated[_Text, Tag("text")] | Annotated[_TextParts, Tag("list")], TEXT_OR_LIST
    ]
    tool_call_id: _CallId


Message = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Discriminator("role")
]


# ---- tools --------------------------------------------------------------------------------------


class FunctionDefinition(Wire):
    """A function that the model may call."""

    name: ToolName
    description: str | None = Field(None, max_length=LONGEST_TEXT)
    parameters: dict[str, JsonValue] | None = Field(
        None, description="A JSON schema; none: a function without arguments."
    )
    strict: bool | None = Field(
        None,
        description="Arguments are always held to the schema. True: keywords that cannot be kept "
        "(`pattern`, `uniqueItems`, `not`, …) are refused; else they are hints to the model.",
    )


class FunctionTool(Wire):
    """A tool; there are functions only."""

    type: Literal["function"]
    function: FunctionDefinition


class FunctionName(Wire):
    """Which function."""

    name: ToolName


class NamedTool(Wire):
    """One function that must be called."""

    type: Literal["function"]
    function: FunctionName


class AllowedTools(Wire):
    """Some of the tools."""

    mode: Literal["auto", "required"]
    tools: list[NamedTool] = Field(min_length=1, max_length=128)


class AllowedToolChoice(Wire):
    """Only some of the tools may be called."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


def _choice_kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "mode"
    return value.get("type") if isinstance(value, dict) else None


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("mode")]
    | Annotated[NamedTool, Tag("function")]
    | Annotated[AllowedToolChoice, Tag("allowed_tools")],
    Discriminator(
        _choice_kind,
        custom_error_type="tool_choice",
        custom_error_message="Input should be 'none', 'auto', 'required', a function or "
        "'allowed_tools'",
    ),
]


# ---- the form of the answer ---------------------------------------------------------------------


class TextFormat(Wire):
    """A text."""

    type: Literal["text"]


class JsonObjectFormat(Wire):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchema(Wire):
    """A JSON schema with a name."""

    name: ToolName
    description: str | None = Field(None, max_length=LONGEST_TEXT)
    schema_: dict[str, JsonValue] | None = Field(None, alias="schema")
    strict: bool | None = Field(
        None,
        description="Answers are always held to the schema. True: keywords that cannot be kept "
        "(`pattern`, `uniqueItems`, `not`, …) are refused; else they are hints to the model.",
    )


class JsonSchemaFormat(Wire):
    """JSON of a schema, which the model is told and held to."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Discriminator("type")]


class VoiceId(Wire):
    """A voice by its id."""

    id: str = Field(min_length=1, max_length=64)


class SpokenAnswer(Wire):
    """How to speak the answer."""

    voice: Annotated[
        Annotated[str, Field(min_length=1, max_length=64), Tag("name")]
        | Annotated[VoiceId, Tag("id")],
        Discriminator(lambda value: "name" if isinstance(value, str) else "id"),
    ] = Field(description="A name of /v1/audio/voices, or one of OpenAI's.")
    format: Literal["wav", "aac", "mp3", "flac", "opus", "pcm16"] = Field(
        description="pcm16: bare 16-bit samples, little-endian, mono, 24 kHz."
    )

    @property
    def voice_name(self) -> str:
        """The name of the voice."""
        return self.voice if isinstance(self.voice, str) else self.voice.id


# ---- the request --------------------------------------------------------------------------------


_ASKED: dict[str, JsonValue] = {
    "model": "gpt-4o-mini",
    "messages": [
        {"role": "system", "content": "Answer in one sentence."},
        {"role": "user", "content": "What is the capital of France?"},
    ],
    "max_completion_tokens": 64,
    "temperature": 0.7,
}
_WITH_TOOLS: dict[str, JsonValue] = {
    "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "The weather of a town.",
                "parameters": {
                    "type": "object",
                    "properties": {"city": {"type": "string"}},
                    "required": ["city"],
                },
            },
        }
    ],
}
_SPOKEN: dict[str, JsonValue] = {
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "modalities": ["text", "audio"],
    "audio": {"voice": "alloy", "format": "mp3"},
}


class ChatBody(GenerationFields):
    """A conversation to continue."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ASKED, _WITH_TOOLS, _SPOKEN]})

    messages: list[Message] = Field(min_length=1, max_length=256)
    max_completion_tokens: int | None = Field(
        None, ge=1, le=131_072, description="The newer name of `max_tokens`."
    )
    response_format: ResponseFormat | None = None
    tools: list[FunctionTool] | None = Field(None, max_length=128)
    tool_choice: ToolChoice | None = Field(None, description="None: 'auto' where there are tools.")
    parallel_tool_calls: bool | None = Field(
        None, description="False: at most one call in an answer."
    )
    modalities: list[Literal["text", "audio"]] | None = Field(
        None, min_length=1, max_length=2, description="With 'audio' the answer is spoken."
    )
    audio: SpokenAnswer | None = Field(None, description="Goes with 'audio' in `modalities`.")
    metadata: (
        dict[
            Annotated[str, Field(max_length=64)],
            Annotated[str, Field(max_length=512)],
        ]
        | None
    ) = Field(None, max_length=16, description=NO_EFFECT)
    store: Annotated[Literal[False] | None, refuse("nothing is stored here", but=False)] = Field(
        None, description="Nothing is stored."
    )
    service_tier: Literal["auto", "default"] | None = Field(None, description=NO_EFFECT)
    safety_identifier: str | None = Field(None, max_length=512, description=NO_EFFECT)
    prompt_cache_key: str | None = Field(None, max_length=512, description=NO_EFFECT)
    logprobs: Annotated[Literal[False] | None, refuse(NO_LOGPROBS, but=False)] = Field(
        None, description=f"Only false: {NO_LOGPROBS}."
    )
    top_logprobs: Annotated[None, refuse(NO_LOGPROBS)] = Field(
        None, description=f"Refused: {NO_LOGPROBS}."
    )
    reasoning_effort: Annotated[
        Literal["none"] | None, refuse("the model does not reason", but="none")
    ] = Field(None, description="No model here reasons.")
    verbosity: Annotated[
        Literal["medium"] | None, refuse("say in the messages how long to write", but="medium")
    ] = Field(None, description="There is no such choice here: say it in the messages.")
    functions: Annotated[None, refuse("it is deprecated; use 'tools'")] = Field(
        None, description="Refused: deprecated; use `tools`."
    )
    function_call: Annotated[None, refuse("it is deprecated; use 'tool_choice'")] = Field(
        None, description="Refused: deprecated; use `tool_choice`."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "ChatBody":
        self.check_stream()
        both = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(both) > 1:
            raise InvalidParameter("max_tokens", "it contradicts 'max_completion_tokens'")
        if self.spoken != (self.audio is not None):
            wanted = "modalities" if self.audio else "audio"
            raise InvalidParameter(wanted, "'audio' and 'audio' in 'modalities' go together")
        self._check_tools()
        return self

    def _check_tools(self) -> None:
        names = [tool.function.name for tool in self.tools or ()]
        if len(set(names)) < len(names):
            raise InvalidParameter("tools", "two functions have the same name")
        match self.tool_choice:
            case "none" | "auto" | None:
                chosen = []
            case "required":
                chosen = []
                if not names:
                    raise InvalidParameter("tool_choice", "there are no 'tools'")
            case NamedTool(function=function):
                chosen = [function.name]
            case AllowedToolChoice(allowed_tools=allowed):
                chosen = [tool.function.name for tool in allowed.tools]
        for name in chosen:
            if name not in names:
                raise InvalidParameter("tool_choice", f"there is no tool '{name}'")
        if self.callable_tools and not self.must_call and self.wants_json:
            raise InvalidParameter(
                "response_format",
                "an answer is either held to JSON or may call a tool; set 'tool_choice' to 'none' "
                "or 'required'",
            )

    @property
    def tokens_asked(self) -> int | None:
        """How long an answer may be; none: the configuration's."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def spoken(self) -> bool:
        """Whether the answer is spoken."""
        return "audio" in (self.modalities or ())

    @property
    def wants_json(self) -> bool:
        """Whether the answer is JSON."""
        return not isinstance(self.response_format, TextFormat | None)

    @property
    def must_call(self) -> bool:
        """Whether the answer must be a call."""
        match self.tool_choice:
            case NamedTool() | "required":
                return True
            case AllowedToolChoice(allowed_tools=allowed):
                return allowed.mode == "required"
            case _:
                return False

    @property
    def callable_tools(self) -> list[FunctionDefinition]:
        """The functions that this answer may call."""
        functions = [tool.function for tool in self.tools or ()]
        match self.tool_choice:
            case "none":
                return []
            case NamedTool(function=function):
                return [each for each in functions if each.name == function.name]
            case AllowedToolChoice(allowed_tools=allowed):
                names = {tool.function.name for tool in allowed.tools}
                return [each for each in functions if each.name in names]
            case _:
                return functions

    @property
    def _may_call_several(self) -> bool:
        one = isinstance(self.tool_choice, NamedTool)
        return not one and self.parallel_tool_calls is not False

    def output(self) -> JsonOutput | ToolOutput | None:
        """What the answer is held to."""
        if tools := self.callable_tools:
            signatures = [ToolSignature(each.name, held_parameters(each)) for each in tools]
            return ToolOutput(tuple(signatures), self.must_call, self._may_call_several)
        match self.response_format:
            case JsonSchemaFormat(json_schema=JsonSchema(schema_=dict() as schema, strict=strict)):
                return JsonOutput(
                    _held("response_format.json_schema.schema", schema, strict=strict)
                )
            case JsonSchemaFormat() | JsonObjectFormat():
                return JsonOutput()
            case _:
                return None

    def instructions(self) -> str:
        """What the model must be told of tools and of the form of its answer."""
        if tools := self.callable_tools:
            return tools_prompt(
                [Tool(each.name, each.description or "", _parameters(each)) for each in tools],
                required=self.must_call,
                parallel=self._may_call_several,
            )
        if not isinstance(self.response_format, JsonSchemaFormat):
            return ""
        wanted = self.response_format.json_schema
        about = f" ({wanted.description})" if wanted.description else ""
        schema = _json("response_format.json_schema.schema", wanted.schema_ or _ANY_OBJECT)
        return f"Answer with JSON, '{wanted.name}'{about}, of this schema:\n{schema}"


def _parameters(function: FunctionDefinition) -> str:
    return _json("tools", function.parameters or _ANY_OBJECT)


def held_parameters(function: FunctionDefinition) -> str:
    """The JSON schema that the arguments of a function are held to, as JSON text."""
    return _held("tools", function.parameters or _ANY_OBJECT, strict=function.strict)


def _held(place: str, schema: dict[str, JsonValue], *, strict: bool | None) -> str:
    """What a grammar must keep of a schema."""
    try:
        return _json(place, schema if strict else without_hints(schema))
    except RecursionError:
        raise InvalidParameter(place, "it is nested too deeply") from None


def _json(place: str, value: JsonValue) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (RecursionError, ValueError):
        reason = "it is no JSON: nested too deeply, a number that is not finite, or half a letter"
        raise InvalidParameter(place, reason) from None
    return text
