"""OpenAI's consents: recordings in which speakers allow the use of their voices."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, UploadFile

from deployments.errors import ConsentNotFound
from serve_app.caller import CallerDep
from serve_app.cloning import VoiceCloner
from serve_app.known_query import KNOWN_QUERY
from serve_app.protocol.openai_voices import (
    ConsentBody,
    ConsentDeletedOut,
    ConsentFields,
    ConsentOut,
    ConsentsOut,
)
from serve_app.services import ServicesDep

router = APIRouter(tags=["openai"], dependencies=[KNOWN_QUERY])

_CONSENTS = "/v1/audio/voice_consents"
ConsentPath = Annotated[
    str,
    Path(
        min_length=1,
        max_length=64,
        description="Id of a consent.",
        examples=["cons_0a1b2c3d4e5f60718293a4b5"],
    ),
]


class ConsentForm(ConsentFields):
    """A recording in which a speaker allows the use of their voice."""

    recording: UploadFile


@router.post(_CONSENTS)
async def create_consent(
    services: ServicesDep,
    caller: CallerDep,
    form: Annotated[ConsentForm, Form(media_type="multipart/form-data")],
) -> ConsentOut:
    """Keep a recorded consent. What is said in it is for people to judge; that somebody speaks is checked."""
    cloner = VoiceCloner(services, caller)
    recording = await cloner.consent(form.recording.file, "recording")
    return ConsentOut.of(
        await services.cloned.store.add_consent(caller.owner, form.name, form.language, recording)
    )


@router.get(_CONSENTS)
async def list_consents(
    services: ServicesDep,
    caller: CallerDep,
    after: Annotated[str | None, Query(max_length=64, description="Id before the page.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> ConsentsOut:
    """The caller's consents, newest first, page by page."""
    consents = (await services.cloned.store.list_consents(caller.owner))[::-1]
    start = 0
    if after is not None:
        ids = [consent.id for consent in consents]
        if after not in ids:
            raise ConsentNotFound(after)
        start = ids.index(after) + 1
    page = consents[start : start + limit]
    return ConsentsOut(
        data=[ConsentOut.of(consent) for consent in page],
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=start + limit < len(consents),
    )


@router.get(f"{_CONSENTS}/{{consent_id}}")
async def read_consent(
    services: ServicesDep, caller: CallerDep, consent_id: ConsentPath
) -> ConsentOut:
    """One of them."""
    return ConsentOut.of(await services.cloned.store.find_consent(caller.owner, consent_id))


@router.post(f"{_CONSENTS}/{{consent_id}}")
async def rename_consent(
    services: ServicesDep, caller: CallerDep, consent_id: ConsentPath, body: ConsentBody
) -> ConsentOut:
    """Give a consent another name."""
    return ConsentOut.of(
        await services.cloned.store.rename_consent(caller.owner, consent_id, body.name)
    )


@router.delete(f"{_CONSENTS}/{{consent_id}}")
async def delete_consent(
    services: ServicesDep, caller: CallerDep, consent_id: ConsentPath
) -> ConsentDeletedOut:
    """Forget a consent and its recording; refused while a voice needs it."""
    await services.cloned.store.delete_consent(caller.owner, consent_id)
    return ConsentDeletedOut(id=consent_id)
