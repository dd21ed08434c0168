"""OpenAI's transcriptions and translations."""

from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Form, Request, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from deployments.messages import Transcript, TranscriptionRequest
from serve_app.caller import CallerDep
from serve_app.known_query import KNOWN_QUERY
from serve_app.protocol.openai_transcript import (
    DurationUsage,
    HeardUsage,
    TextDeltaEvent,
    TextDoneEvent,
    TextOut,
    VerboseTextOut,
)
from serve_app.protocol.openai_transcription import TranscriptionFields, TranslationFields
from serve_app.request_id import request_id_of
from serve_app.services import ENGINE_HEADER, Services, ServicesDep
from serve_app.sse import sse_data
from serve_app.streaming import Push, PushResponse
from serve_app.subtitles import to_srt, to_vtt

router = APIRouter(tags=["openai"], dependencies=[KNOWN_QUERY])


class TranscriptionForm(TranscriptionFields):
    """A recording whose words are wanted."""

    file: UploadFile


class TranslationForm(TranslationFields):
    """A recording whose words are wanted in English."""

    file: UploadFile


@router.post("/v1/audio/transcriptions", response_model=TextOut | VerboseTextOut)
async def create_transcription(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    form: Annotated[TranscriptionForm, Form(media_type="multipart/form-data")],
) -> Response:
    """The words of a recording, whole or (`stream`) as they are heard."""
    services.models.resolve("stt", form.model)
    form.check()
    audio = await services.decoder.decode(form.file.file)
    await caller.spend_audio(audio.duration_s)
    wanted = form.request(audio)
    if form.stream:
        return _streamed(services, wanted, request_id_of(request.scope))
    return _whole(await services.stt.transcribe(wanted), form, services)


@router.post("/v1/audio/translations", response_model=TextOut | VerboseTextOut)
async def create_translation(
    services: ServicesDep,
    caller: CallerDep,
    form: Annotated[TranslationForm, Form(media_type="multipart/form-data")],
) -> Response:
    """The words of a recording in English, if the model that is served can translate."""
    services.models.resolve("stt", form.model)
    audio = await services.decoder.decode(form.file.file)
    await caller.spend_audio(audio.duration_s)
    return _whole(await services.stt.transcribe(form.request(audio)), form, services)


def _whole(transcript: Transcript, fields: TranslationFields, services: Services) -> Response:
    answer = _written(transcript, fields)
    answer.headers[ENGINE_HEADER] = transcript.engine or services.settings.stt.engine
    return answer


def _written(transcript: Transcript, fields: TranslationFields) -> Response:
    match fields.response_format:
        case "text":
            return PlainTextResponse(transcript.text + "\n")
        case "srt":
            return PlainTextResponse(to_srt(transcript))
        case "vtt":
            return PlainTextResponse(to_vtt(transcript), media_type="text/vtt")
        case "json":
            answer = TextOut(text=transcript.text, usage=DurationUsage.of(transcript))
            return JSONResponse(answer.model_dump())
        case "verbose_json":
            verbose = VerboseTextOut.of(transcript, fields)
            return JSONResponse(verbose.model_dump(exclude_none=True))


def _streamed(services: Services, wanted: TranscriptionRequest, request_id: str) -> Response:
    async def produce(push: Push) -> None:
        heard = said = ""
        async with aclosing(services.stt.transcribe_stream(wanted)) as items:
            async for item in items:
                if isinstance(item, Transcript):
                    done = TextDoneEvent(text=item.text, usage=HeardUsage.of(item))
                    await push(sse_data(done.model_dump()))
                    continue
                heard += item.text
                # As the whole text will have it: what may prove to be its end has no space yet.
                text = heard.strip()
                if delta := text[len(said) :]:
                    said = text
                    await push(sse_data(TextDeltaEvent(delta=delta).model_dump()))

    return PushResponse(
        produce, lambda problem: sse_data(problem.body(request_id)), "text/event-stream"
    )
