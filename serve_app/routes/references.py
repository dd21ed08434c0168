"""Voice references, as GemmaVoice encodes them."""

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Form, UploadFile
from fastapi.responses import Response

from serve_app.audio_answer import json_answer
from serve_app.caller import CallerDep
from serve_app.protocol.gemmavoice import ReferenceOut
from serve_app.protocol.wire import Wire
from serve_app.services import ServicesDep

router = APIRouter(tags=["references"])

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

    It must be audio that can be decoded. No voice that is served here can be cloned with it.
    """
    audio = await services.decoder.decode(form.file.file)
    await caller.spend_audio(audio.duration_s)
    return json_answer(ReferenceOut(reference_base64=""), "reference_base64", _slices(form.file))


async def _slices(file: UploadFile) -> AsyncGenerator[bytes, None]:
    await file.seek(0)
    while data := await file.read(_SLICE_BYTES):
        yield data
