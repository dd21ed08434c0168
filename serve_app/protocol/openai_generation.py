"""What OpenAI's chat completions and text completions have in common on the wire."""

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from configs.settings import LlmSettings, SamplingSettings
from deployments.errors import InvalidParameter
from deployments.messages import Sampling
from serve_app.protocol.wire import Wire

# What no configuration can raise; 'limits' in the configuration is usually far below.
LONGEST_TEXT = 1_000_000
_SEEDS = 2**32 - 1
NO_EFFECT = "Accepted, without effect: nothing is stored, routed or billed here."

NO_LOGPROBS = "the probabilities of single tokens are not known"

_Stop = Annotated[str, Field(min_length=1, max_length=128)]
_StopList = Annotated[list[_Stop], Field(max_length=16)]
_NAMES = frozenset(
    "temperature top_p top_k min_p typical_p repeat_penalty presence_penalty frequency_penalty".split()
)


def text_or_list(value: Any) -> str | None:
    """Which of the two a value is, so that an error names its place and no other."""
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) else None


TEXT_OR_LIST = Discriminator(
    text_or_list,
    custom_error_type="text_or_list",
    custom_error_message="Input should be a text or a list",
)


def refuse(reason: str, but: object = None) -> BeforeValidator:
    """Only null, or `but`, may stand in the field, which is one of OpenAI's."""

    def check(value: Any) -> Any:
        if value is not None and value is not but and value != but:
            raise PydanticCustomError("not_served", "{reason}", {"reason": reason})
        return value

    return BeforeValidator(check)


class StreamOptions(Wire):
    """What a stream brings along."""

    include_usage: bool | None = Field(
        None, description="One more chunk at the end, with the tokens of the whole request."
    )
    include_obfuscation: bool | None = Field(
        None, description="Accepted, without effect: pieces are never padded."
    )


class GenerationFields(Wire):
    """How to write; a field left out is the configuration's."""

    model_config = ConfigDict(allow_inf_nan=False)

    model: str | None = Field(
        None,
        min_length=1,
        max_length=128,
        description="An id of /v1/models, or one of OpenAI's names; none: the one that is served.",
    )
    max_tokens: int | None = Field(
        None, ge=1, le=131_072, description="Never more than the model's context has room for."
    )
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(
        None, ge=0, le=1000, description="llama.cpp's, not among OpenAI's fields; 0: no limit."
    )
    min_p: float | None = Field(
        None, ge=0, le=1, description="llama.cpp's, not among OpenAI's fields."
    )
    typical_p: float | None = Field(
        None, gt=0, le=1, description="llama.cpp's, not among OpenAI's fields."
    )
    repeat_penalty: float | None = Field(
        None, ge=0.5, le=2, description="llama.cpp's, not among OpenAI's fields; 1.0: none."
    )
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: (
        dict[
            Annotated[str, Field(pattern=r"^[0-9]{1,9}$")],
            Annotated[float, Field(ge=-100, le=100)],
        ]
        | None
    ) = Field(None, max_length=300, description="Token of this model -> what its logit gains.")
    seed: int | None = Field(
        None, ge=-(2**63), lt=2**63, description="Counts modulo 2^32 - 1; choice n has seed + n."
    )
    stop: (
        Annotated[Annotated[_Stop, Tag("text")] | Annotated[_StopList, Tag("list")], TEXT_OR_LIST]
        | None
    ) = Field(None, description="Up to 16 (OpenAI: 4).")
    n: int | None = Field(None, ge=1, le=8, description="How many answers.")
    stream: bool | None = Field(
        None, description="Server-sent events, one chunk each; the last is `data: [DONE]`."
    )
    stream_options: StreamOptions | None = Field(None, description="Only with `stream`.")
    user: str | None = Field(None, max_length=512, description=NO_EFFECT)

    @property
    def tokens_asked(self) -> int | None:
        """How long an answer may be; none: the configuration's."""
        return self.max_tokens

    @property
    def choices(self) -> int:
        """How many answers to write."""
        return self.n or 1

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def check_stream(self) -> None:
        """Refuse options of a stream where there is none.

        Raises:
            InvalidParameter: there is no stream.
        """
        if self.stream_options is not None and not self.stream:
            raise InvalidParameter("stream_options", "there are none without 'stream'")

    def sampling(self, settings: SamplingSettings, choice: int, *, held: bool = False) -> Sampling:
        """How to write one of the choices: as the request says, else as the settings say.

        `held`: the answer is held to a form, which must repeat its brackets and quotation marks.
        """
        form = {"repeat_penalty": 1.0} if held else {}
        asked = self.model_dump(include=set(_NAMES), exclude_none=True)
        chosen: dict[str, Any] = settings.model_dump() | form | asked
        stop = self.stop or ()
        return Sampling(
            **{name: chosen[name] for name in _NAMES if name in chosen},
            max_tokens=self.tokens_asked or chosen["max_tokens"],
            seed=None if self.seed is None else (self.seed + choice) % _SEEDS,
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            logit_bias=tuple((int(key), bias) for key, bias in (self.logit_bias or {}).items()),
        )


class PromptTokensDetails(Wire):
    """What the prompt was made of."""

    cached_tokens: int
    audio_tokens: int = Field(description="Always 0: audio is heard first, and counts as text.")


class CompletionTokensDetails(Wire):
    """What the answers are made of."""

    reasoning_tokens: int
    audio_tokens: int = Field(description="Always 0: audio is spoken from text, which counts.")


class Usage(Wire):
    """Tokens of the model; a prompt counts once, however many answers it has."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails

    @classmethod
    def of(cls, prompt_tokens: int, completion_tokens: int) -> "Usage":
        """The sum of both."""
        return cls(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=0, audio_tokens=0),
            completion_tokens_details=CompletionTokensDetails(reasoning_tokens=0, audio_tokens=0),
        )


FinishReason = Literal["stop", "length", "tool_calls"]


def unix_time() -> int:
    """Now, as clients see it."""
    return int(datetime.now(UTC).timestamp())


def system_fingerprint(llm: LlmSettings) -> str:
    """A name of the model's configuration: another one may write something else for a seed."""
    return "fp_" + hashlib.sha256(llm.model_dump_json().encode()).hexdigest()[:10]
