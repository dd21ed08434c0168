"""The form of a spoken turn; every field is honoured or refused."""

from pydantic import Field

from serve_app.protocol.sessions import SESSION_ID_PATTERN
from serve_app.protocol.wire import Wire

_LONGEST_CONFIG = 65_536
_LONGEST_WITH_AUDIO = 1_000_000  # what a field of a form may hold


class DialogueFields(Wire):
    """An utterance to answer, and how."""

    instructions: str | None = Field(
        None,
        max_length=1_000_000,
        description="Replaces the system prompt. At most limits.max_prompt_chars of the "
        "configuration (32768).",
    )
    generation_config: str | None = Field(
        None,
        max_length=_LONGEST_CONFIG,
        description="A JSON object: the fields of /v1/generate but for `prompt`.",
    )
    synthesis_config: str | None = Field(
        None,
        max_length=_LONGEST_WITH_AUDIO,
        description="A JSON object: the fields of /v1/text-to-speech but for `text` and `stream`.",
    )
    stream_audio: bool = Field(default=False, description="Send the turn as NDJSON, as it happens.")
    language: str | None = Field(None, max_length=16, description="ISO 639-1; none: detected.")
    session_id: str | None = Field(
        None,
        pattern=SESSION_ID_PATTERN,
        description="Gives the dialogue a memory: turns with the same id and key know of each "
        "other; an empty field is none. The oldest turns are forgotten where the model's context is too small. Turns at the "
        "same time are answered from the same history, and each is remembered.",
    )
