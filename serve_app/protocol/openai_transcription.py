"""OpenAI's form for transcriptions and translations; every field is honoured or refused."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from deployments.audio import Pcm
from deployments.errors import InvalidParameter
from deployments.languages import language_code
from deployments.messages import SpeechDetection, TranscriptionRequest
from serve_app.protocol.wire import Wire

TranscriptFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]

_Language = Annotated[str, Field(min_length=2, max_length=16)]


class ServerVad(Wire):
    """How speech is told from silence; a field left out is the engine's own."""

    type: Literal["server_vad"]
    threshold: float | None = Field(None, ge=0, le=1, description="Higher: only clearer speech.")
    silence_duration_ms: int | None = Field(
        None, ge=0, le=60_000, description="Silence that ends a stretch of speech."
    )
    prefix_padding_ms: int | None = Field(
        None, ge=0, le=10_000, description="What is kept around a stretch of speech."
    )


def _from_json(value: Any) -> Any:
    """A form holds 'auto', or the object as JSON."""
    if not isinstance(value, str) or value == "auto":
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError("must be 'auto' or a JSON object") from None


ChunkingStrategy = Annotated[
    Annotated[Literal["auto"], Tag("auto")] | Annotated[ServerVad, Tag("server_vad")],
    Discriminator(lambda value: "auto" if value == "auto" else "server_vad"),
    BeforeValidator(_from_json),
]


class TranslationFields(Wire):
    """A recording whose words are wanted in English."""

    model: str | None = Field(
        None,
        min_length=1,
        max_length=128,
        description="An id of /v1/models, or one of OpenAI's names; none: the one that is served.",
    )
    prompt: str | None = Field(
        None, max_length=4096, description="What went before, or names and terms to expect."
    )
    response_format: TranscriptFormat = "json"
    temperature: float | None = Field(
        None,
        ge=0,
        le=1,
        description="0, as when it is left out: rises by itself where the text is unlikely.",
    )
    user: str | None = Field(
        None, max_length=256, description="For the caller's own records; without effect."
    )

    def request(self, audio: Pcm) -> TranscriptionRequest:
        """What to ask of the stage."""
        return TranscriptionRequest(
            audio=audio,
            prompt=self.prompt,
            temperature=self.temperature or None,
            task="translate",
        )


class TranscriptionFields(TranslationFields):
    """A recording whose words are wanted."""

    language: _Language | None = Field(None, description="ISO 639-1; none: detected.")
    languages: list[_Language] | None = Field(
        None,
        max_length=16,
        validation_alias=AliasChoices("languages[]", "languages"),
        description="The likeliest of these is heard.",
    )
    keywords: list[Annotated[str, Field(min_length=1, max_length=64)]] | None = Field(
        None,
        max_length=64,
        validation_alias=AliasChoices("keywords[]", "keywords"),
        description="Words and phrases to expect.",
    )
    timestamp_granularities: list[Literal["word", "segment"]] | None = Field(
        None,
        max_length=4,
        validation_alias=AliasChoices("timestamp_granularities[]", "timestamp_granularities"),
        description="Only with `verbose_json`; none: segments.",
    )
    include: list[Literal["logprobs"]] | None = Field(
        None,
        max_length=4,
        validation_alias=AliasChoices("include[]", "include"),
        description="Refused: the probabilities of single tokens are not known.",
    )
    chunking_strategy: ChunkingStrategy | None = Field(
        None,
        description="Leave out silence; none: as the engine is configured. The object as JSON, or "
        "each of its fields as `chunking_strategy[field]`.",
    )
    stream: bool = Field(
        default=False, description="Server-sent events: the text of each segment as it is heard."
    )

    @model_validator(mode="before")
    @classmethod
    def _unfold(cls, fields: Any) -> Any:
        """The official clients write an object as one field for each of its own."""
        prefix = "chunking_strategy["
        if not isinstance(fields, Mapping) or "chunking_strategy" in fields:
            return fields
        inner = {name: fields[name] for name in fields if name.startswith(prefix)}
        if not inner:
            return fields
        strategy = {name[len(prefix) : -1]: value for name, value in inner.items()}
        rest = {name: value for name, value in fields.items() if name not in inner}
        return {**rest, "chunking_strategy": strategy}

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            InvalidParameter: a field cannot be honoured beside the others.
        """
        if self.include:
            raise InvalidParameter("include", "log probabilities are not offered.")
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise InvalidParameter(
                "timestamp_granularities", "it needs response_format=verbose_json."
            )
        if self.language and self.languages:
            raise InvalidParameter("languages", "it cannot be given beside 'language'.")
        if self.stream and self.response_format not in ("json", "text"):
            raise InvalidParameter("response_format", "a stream is 'json' or 'text'.")

    def request(self, audio: Pcm) -> TranscriptionRequest:
        """What to ask of the stage."""
        return TranscriptionRequest(
            audio=audio,
            language=language_code(self.language),
            prompt=self.prompt,
            temperature=self.temperature or None,
            word_timestamps=self.with_words,
            languages=tuple(filter(None, map(language_code, self.languages or ()))),
            keywords=tuple(self.keywords or ()),
            detection=_detection(self.chunking_strategy),
        )

    @property
    def with_words(self) -> bool:
        """Whether the times of words are wanted."""
        return "word" in (self.timestamp_granularities or ())

    @property
    def with_segments(self) -> bool:
        """Whether segments are wanted."""
        return "segment" in (self.timestamp_granularities or ("segment",))


def _detection(strategy: ServerVad | Literal["auto"] | None) -> SpeechDetection | None:
    match strategy:
        case None:
            return None
        case "auto":
            return SpeechDetection()
        case ServerVad():
            return SpeechDetection(
                strategy.threshold, strategy.silence_duration_ms, strategy.prefix_padding_ms
            )
