"""OpenAI's custom voices, and the list of all voices."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, UploadFile

from deployments.errors import InvalidParameter, VoiceNotFound
from deployments.messages import NewVoice
from serve_app.caller import CallerDep
from serve_app.cloning import VoiceCloner
from serve_app.known_query import KNOWN_QUERY
from serve_app.protocol.openai_voices import (
    VoiceDeletedOut,
    VoiceFields,
    VoiceOut,
    VoicesOut,
)
from serve_app.services import ServicesDep, cloned_rate
from serve_app.voice_lists import listed_voices

router = APIRouter(tags=["openai"], dependencies=[KNOWN_QUERY])

_VOICES = "/v1/audio/voices"
VoicePath = Annotated[
    str,
    Path(
        min_length=1,
        max_length=64,
        description="Id of a voice.",
        examples=["voice_0a1b2c3d4e5f60718293a4b5"],
    ),
]


class VoiceForm(VoiceFields):
    """A recording of a voice to speak with."""

    audio_sample: UploadFile


@router.post(_VOICES, response_model_exclude_none=True)
async def create_voice(
    services: ServicesDep,
    caller: CallerDep,
    form: Annotated[VoiceForm, Form(media_type="multipart/form-data")],
) -> VoiceOut:
    """Clone a voice from a recording, and keep it; its id is then a `voice` on every route."""
    store, language = services.cloned.store, form.language
    if form.consent is not None:
        consent = await store.find_consent(caller.owner, form.consent)
        language = language or consent.language
    elif services.settings.voices.require_consent:
        raise InvalidParameter("consent", "a voice needs a recorded consent of its speaker")
    cloner = VoiceCloner(services, caller)
    sample = await cloner.sample(form.audio_sample.file, "audio_sample", form.text, language)
    new = NewVoice(form.name, sample.language, sample.reference, form.consent)
    voice = await store.add_voice(caller.owner, new, sample.audio)
    return VoiceOut.of(voice, cloned_rate(await services.voices()))


@router.get(_VOICES, response_model_exclude_none=True)
async def list_voices(services: ServicesDep, caller: CallerDep) -> VoicesOut:
    """All voices that the caller can name: those of the configuration, and its own cloned ones.

    OpenAI's names of voices are not among them, but mean the default.
    """
    voices = await listed_voices(services, caller.owner)
    return VoicesOut(voices=voices, data=voices)


@router.get(f"{_VOICES}/{{voice_id}}", response_model_exclude_none=True)
async def read_voice(services: ServicesDep, caller: CallerDep, voice_id: VoicePath) -> VoiceOut:
    """One of them."""
    for voice in await listed_voices(services, caller.owner):
        if voice.id == voice_id:
            return voice
    raise VoiceNotFound(voice_id)


@router.delete(f"{_VOICES}/{{voice_id}}")
async def delete_voice(
    services: ServicesDep, caller: CallerDep, voice_id: VoicePath
) -> VoiceDeletedOut:
    """Forget a cloned voice and its recording.

    Within seconds no replica speaks with it; a live session that has begun with it keeps it.
    """
    await services.cloned.store.delete_voice(caller.owner, voice_id)
    services.cloned.forget()
    return VoiceDeletedOut(id=voice_id)
