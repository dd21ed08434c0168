"""OpenAI's text completions on the wire; every field is honoured or refused."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from deployments.errors import InvalidParameter
from serve_app.protocol.openai_generation import (
    LONGEST_TEXT,
    NO_LOGPROBS,
    TEXT_OR_LIST,
    GenerationFields,
    Usage,
    refuse,
)
from serve_app.protocol.wire import Wire, example

_DEFAULT_TOKENS = 16
_MOST_CHOICES = 16


def _no_tokens(value: Any) -> Any:
    if isinstance(value, list) and any(isinstance(each, int | list) for each in value):
        raise PydanticCustomError("token_array", "it must be text: token arrays are not served")
    return value


_Prompt = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_TEXT,
        description="At most limits.max_prompt_chars of the configuration (32768), all together.",
    ),
]
_Prompts = Annotated[list[_Prompt], Field(min_length=1, max_length=8)]


class CompletionBody(GenerationFields):
    """A text to go on with, as it is: without any chat template."""

    model_config = example(
        model="gpt-3.5-turbo-instruct", prompt="The capital of France is", max_tokens=16
    )

    prompt: Annotated[
        Annotated[_Prompt, Tag("text")] | Annotated[_Prompts, Tag("list")],
        TEXT_OR_LIST,
        BeforeValidator(_no_tokens),
    ] = Field(description=f"With `n`: at most {_MOST_CHOICES} texts to write in all.")
    echo: bool | None = Field(None, description="The prompt before what is written.")
    suffix: Annotated[None, refuse("no model here fills a gap")] = Field(
        None, description="Refused: no model here fills a gap."
    )
    best_of: int | None = Field(
        None, ge=1, le=8, description="Only the value of `n`: every text that is written is given."
    )
    logprobs: Annotated[None, refuse(NO_LOGPROBS)] = Field(
        None, description=f"Refused: {NO_LOGPROBS}."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "CompletionBody":
        self.check_stream()
        if self.best_of is not None and self.best_of != self.choices:
            raise InvalidParameter("best_of", "it must be the same as 'n'")
        if self.choices * len(self.prompts) > _MOST_CHOICES:
            raise InvalidParameter("n", f"'n' times the prompts is more than {_MOST_CHOICES}")
        return self

    @property
    def prompts(self) -> list[str]:
        """The texts to go on with."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    @property
    def tokens_asked(self) -> int:
        """How long a text may be."""
        return self.max_tokens or _DEFAULT_TOKENS


class TextChoice(Wire):
    """One text; choice `index` goes with prompt `index // n`."""

    index: int
    text: str
    logprobs: None = None
    finish_reason: Literal["stop", "length"] | None


class TextCompletion(Wire):
    """What was written, whole or, with `stream`, a piece of it."""

    model_config = example(
        id="cmpl-4f1d2c3b4a59687766554433",
        object="text_completion",
        created=1_790_000_000,
        model="smollm2-135m-instruct",
        choices=[{"index": 0, "text": " Paris.", "logprobs": None, "finish_reason": "stop"}],
        usage={
            "prompt_tokens": 5,
            "completion_tokens": 3,
            "total_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        system_fingerprint="fp_0a1b2c3d4e",
    )

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | None = None
    system_fingerprint: str
