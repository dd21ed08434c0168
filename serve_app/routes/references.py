"""Voice references, as GemmaVoice encodes them."""

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Form, UploadFile
from fastapi.responses import Response

from serve_app.audio_answer import json_answer
from serve_app.caller import CallerDep
from serve_app.cloning import VoiceCloner
from serve_app.known_query import KNOWN_QUERY
from serve_app.protocol.gemmavoice import ReferenceOut
from serve_app.protocol.wire import Wire
from serve_app.services import ServicesDep

router = APIRouter(tags=["references"], dependencies=[KNOWN_QUERY])

_SLICE_BYTES = 192 * 1024


class ReferenceForm(Wire):
    """A recording of a voice."""

    file: UploadFile


@router.post("/v1/encode-reference", response_model=ReferenceOut)
async def encode_reference(
    services: ServicesDep,
    caller: CallerDep,
    form: Annotated[ReferenceForm, Form(media_type="multipart/form-data")],
) -> Response:
    """A recording in base64, as `references` has it; its bytes are the upload's own.

    It must be audio that can be decoded, and no longer than a voice can be cloned from.
    """
    await VoiceCloner(services, caller).recording(form.file.file, "file")
    return json_answer(ReferenceOut(reference_base64=""), "reference_base64", _slices(form.file))


async def _slices(file: UploadFile) -> AsyncGenerator[bytes, None]:
    await file.seek(0)
    while data := await file.read(_SLICE_BYTES):
        yield data
