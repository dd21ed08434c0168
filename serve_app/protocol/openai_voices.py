"""OpenAI's custom voices and the consents of their speakers on the wire; every field is honoured."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from deployments.messages import LibraryVoice, VoiceConsent
from serve_app.protocol.wire import Wire, example

_EXAMPLE_VOICE = "voice_0a1b2c3d4e5f60718293a4b5"
_EXAMPLE_CONSENT = "cons_0a1b2c3d4e5f60718293a4b5"

LABEL_PATTERN = r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$"
Label = Annotated[str, Field(min_length=1, max_length=64, pattern=LABEL_PATTERN)]
LanguageTag = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,3}$",
        max_length=32,
        description="BCP 47, such as en-US or id-ID.",
        examples=["id-ID"],
    ),
]


_JOE: dict[str, JsonValue] = {
    "id": "joe",
    "object": "audio.voice",
    "name": "joe",
    "language": "en",
    "sample_rate": 22_050,
    "default": True,
}
_CLONED: dict[str, JsonValue] = {
    "id": _EXAMPLE_VOICE,
    "object": "audio.voice",
    "name": "Ada",
    "language": "id-ID",
    "sample_rate": 44_100,
    "default": False,
    "created_at": 1_795_345_200,
    "type": "audio_sample",
    "consent": _EXAMPLE_CONSENT,
    "text": "Selamat pagi, nama saya Ada.",
}


class VoiceFields(Wire):
    """A recording of a voice to speak with."""

    name: Label = Field(description="May stand for the id, while no other voice has it.")
    consent: str | None = Field(
        None, max_length=64, description="Id of the speaker's consent; see voices.require_consent."
    )
    type: Literal["audio_sample"] = "audio_sample"
    text: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="What is said in the recording, an addition to OpenAI's fields; none: what "
        "speech to text hears in it.",
    )
    language: LanguageTag | None = Field(
        None, description="Of the voice, an addition; none: the consent's, or what was heard."
    )


class VoiceOut(Wire):
    """A voice; `sample_rate` in Hz is what it speaks at."""

    model_config = example(**_CLONED)

    id: str
    object: Literal["audio.voice"] = "audio.voice"
    name: str
    language: str
    sample_rate: int
    default: bool = Field(description="Speaks where no voice is asked for.")
    created_at: int | None = Field(
        default=None, description="In Unix seconds; only of cloned voices."
    )
    type: Literal["audio_sample"] | None = Field(default=None, description="Only of cloned voices.")
    consent: str | None = Field(default=None, description="Id of the speaker's consent.")
    text: str | None = Field(default=None, description="What is said in the recording.")

    @classmethod
    def of(cls, voice: LibraryVoice, sample_rate: int) -> "VoiceOut":
        """The wire form of a cloned voice."""
        return cls(
            id=voice.id,
            name=voice.name,
            language=voice.language,
            sample_rate=sample_rate,
            default=False,
            created_at=int(voice.created_at),
            type="audio_sample",
            consent=voice.consent_id,
            text=voice.reference.text,
        )


class VoicesOut(Wire):
    """All voices: `voices` as Open WebUI reads them, and the same as OpenAI's `data`."""

    model_config = example(object="list", voices=[_JOE, _CLONED], data=[_JOE, _CLONED])

    object: Literal["list"] = "list"
    voices: list[VoiceOut]
    data: list[VoiceOut]


class VoiceDeletedOut(Wire):
    """A voice that is gone."""

    model_config = example(id=_EXAMPLE_VOICE, object="audio.voice.deleted", deleted=True)

    id: str
    object: Literal["audio.voice.deleted"] = "audio.voice.deleted"
    deleted: Literal[True] = True


class ConsentFields(Wire):
    """A recording in which a speaker allows the use of their voice."""

    name: Label
    language: LanguageTag


class ConsentBody(Wire):
    """Another name of a consent."""

    model_config = example(name="Ada, 2026")

    name: Label


class ConsentOut(Wire):
    """A speaker's recorded permission."""

    model_config = example(
        id=_EXAMPLE_CONSENT,
        object="audio.voice_consent",
        created_at=1_795_345_200,
        name="Ada",
        language="en-US",
    )

    id: str
    object: Literal["audio.voice_consent"] = "audio.voice_consent"
    created_at: int
    name: str
    language: str

    @classmethod
    def of(cls, consent: VoiceConsent) -> "ConsentOut":
        """The wire form of a consent."""
        return cls(
            id=consent.id,
            created_at=int(consent.created_at),
            name=consent.name,
            language=consent.language,
        )


class ConsentsOut(Wire):
    """A page of consents, newest first."""

    model_config = example(
        object="list",
        data=[
            {
                "id": _EXAMPLE_CONSENT,
                "object": "audio.voice_consent",
                "created_at": 1_795_345_200,
                "name": "Ada",
                "language": "en-US",
            }
        ],
        first_id=_EXAMPLE_CONSENT,
        last_id=_EXAMPLE_CONSENT,
        has_more=False,
    )

    object: Literal["list"] = "list"
    data: list[ConsentOut]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ConsentDeletedOut(Wire):
    """A consent that is gone."""

    model_config = example(id=_EXAMPLE_CONSENT, object="audio.voice_consent", deleted=True)

    id: str
    object: Literal["audio.voice_consent"] = "audio.voice_consent"
    deleted: Literal[True] = True
