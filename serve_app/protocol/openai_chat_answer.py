"""OpenAI's chat completions, as they are answered: whole, or in chunks."""

from typing import Literal

from pydantic import Field

from serve_app.protocol.openai_generation import FinishReason, Usage
from serve_app.protocol.wire import Wire, example


class FunctionCall(Wire):
    """A function and its arguments."""

    name: str
    arguments: str = Field(description="JSON; cut off where the finish reason is 'length'.")


class ToolCall(Wire):
    """A call that the client is asked to make."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class SpokenAudio(Wire):
    """The spoken answer."""

    id: str = Field(description="Stands for this answer in a later request.")
    data: str = Field(description="Base64.")
    expires_at: int = Field(description="Unix seconds; from then on the id is not known.")
    transcript: str


class Warned(Wire):
    """Why an answer is less than it could be; an addition to OpenAI's fields."""

    code: str
    message: str


class AnswerMessage(Wire):
    """The answer; `content` is null where it is spoken or calls tools."""

    role: Literal["assistant"]
    content: str | None
    refusal: None = None
    tool_calls: list[ToolCall] | None = None
    audio: SpokenAudio | None = None


class Choice(Wire):
    """One answer."""

    index: int
    message: AnswerMessage
    logprobs: None = None
    finish_reason: FinishReason
    warning: Warned | None = None


class ChatCompletion(Wire):
    """A whole answer."""

    model_config = example(
        id="chatcmpl-4f1d2c3b4a59687766554433",
        object="chat.completion",
        created=1_790_000_000,
        model="smollm2-135m-instruct",
        choices=[
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "The capital of France is Paris.",
                    "refusal": None,
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        usage={
            "prompt_tokens": 27,
            "completion_tokens": 8,
            "total_tokens": 35,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        system_fingerprint="fp_0a1b2c3d4e",
    )

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    service_tier: Literal["default"] | None = None
    system_fingerprint: str


class FunctionDelta(Wire):
    """More of a call; the name comes first, and once."""

    name: str | None = None
    arguments: str


class ToolCallDelta(Wire):
    """More of a call; id and type come first, and once."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionDelta


class AudioDelta(Wire):
    """More of the spoken answer; the id comes first, and once. `data` joins to one base64 text."""

    id: str | None = None
    transcript: str | None = None
    data: str | None = None
    expires_at: int | None = None


class Delta(Wire):
    """What is new."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: None = None
    tool_calls: list[ToolCallDelta] | None = None
    audio: AudioDelta | None = None


class ChoiceDelta(Wire):
    """What is new of one answer."""

    index: int
    delta: Delta
    logprobs: None = None
    finish_reason: FinishReason | None = None
    warning: Warned | None = None


class ChatCompletionChunk(Wire):
    """A piece of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChoiceDelta]
    usage: Usage | None = None
    service_tier: Literal["default"] | None = None
    system_fingerprint: str
