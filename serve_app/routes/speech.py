"""Speech to text, and text to speech."""

import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Form, Header, Request, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from deployments.audio import Pcm
from deployments.errors import InvalidParameter, TextTooLong
from deployments.languages import language_code
from deployments.messages import Transcript, TranscriptionRequest
from deployments.sentences import is_speakable
from serve_app.audio_answer import file_answer, json_answer
from serve_app.caller import CallerDep
from serve_app.counted_speech import counted_speech
from serve_app.known_query import KNOWN_QUERY
from serve_app.media.encode import AudioEncoder
from serve_app.media.formats import MEDIA_TYPES
from serve_app.protocol.gemmavoice import (
    AudioOut,
    HearingFields,
    SynthesisBody,
    TranscriptionOut,
)
from serve_app.request_id import request_id_of
from serve_app.services import ENGINE_HEADER, ServicesDep
from serve_app.speech_output import SpeechOutput
from serve_app.sse import sse
from serve_app.streaming import Push, PushResponse
from serve_app.subtitles import to_srt, to_vtt
from serve_app.wanted_voice import wanted_voice

router = APIRouter(tags=["speech"], dependencies=[KNOWN_QUERY])


class HearingForm(HearingFields):
    """A recording whose words are wanted, and how."""

    file: UploadFile


_TRANSCRIPTS: dict[str, Any] = {
    "text/plain": {"schema": {"type": "string"}, "example": "What is it?\n"},
    "application/x-subrip": {
        "schema": {"type": "string"},
        "example": "1\n00:00:00,000 --> 00:00:02,100\nWhat is it?\n",
    },
    "text/vtt": {
        "schema": {"type": "string"},
        "example": "WEBVTT\n\n00:00:00.000 --> 00:00:02.100\nWhat is it?\n",
    },
}
_SPEECH: dict[str, Any] = {
    **{name: {"schema": {"type": "string", "format": "binary"}} for name in MEDIA_TYPES},
    "text/event-stream": {
        "schema": {"type": "string"},
        "example": (sse("audio_chunk", "AAAA") + sse("done", {"status": "complete"})).decode(),
    },
}


@router.post(
    "/v1/speech-to-text",
    response_model=TranscriptionOut,
    responses={200: {"content": _TRANSCRIPTS}},
)
async def speech_to_text(
    services: ServicesDep,
    caller: CallerDep,
    form: Annotated[HearingForm, Form(media_type="multipart/form-data")],
) -> Response:
    """Transcribe an upload, or translate it to English."""
    audio = await services.decoder.decode(form.file.file)
    await caller.spend_audio(audio.duration_s)
    request = TranscriptionRequest(
        audio=audio,
        language=language_code(form.language),
        prompt=form.prompt,
        temperature=form.temperature,
        task=form.task,
        word_timestamps=form.word_timestamps or form.response_format == "verbose_json",
    )
    transcript = await services.stt.transcribe(request)
    answer = _transcribed(transcript, form)
    answer.headers[ENGINE_HEADER] = transcript.engine or services.settings.stt.engine
    return answer


def _transcribed(transcript: Transcript, form: HearingForm) -> Response:
    match form.response_format:
        case "text":
            return PlainTextResponse(transcript.text + "\n")
        case "srt":
            return PlainTextResponse(to_srt(transcript), media_type="application/x-subrip")
        case "vtt":
            return PlainTextResponse(to_vtt(transcript), media_type="text/vtt")
        case "json" | "verbose_json":
            return JSONResponse(TranscriptionOut.of(transcript).model_dump(exclude_none=True))


@router.post("/v1/text-to-speech", response_model=AudioOut, responses={200: {"content": _SPEECH}})
async def text_to_speech(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    body: SynthesisBody,
    accept: Annotated[str, Header(include_in_schema=False)] = "*/*",
) -> Response:
    """Speak a text: JSON with base64, or the audio itself (`Accept: audio/*`), whole or streamed."""
    if len(body.text) > services.settings.limits.max_text_chars:
        raise TextTooLong("text", len(body.text), services.settings.limits.max_text_chars)
    if not is_speakable(body.text):
        raise InvalidParameter("text", "it holds nothing that can be spoken")
    output = SpeechOutput(body, services)
    voice = await wanted_voice(services, caller, body)
    sample_rate = output.sample_rate(voice.sample_rate)
    headers = _audio_headers(output, sample_rate)
    binary = "audio/" in accept
    spoken = counted_speech(services, caller, output.speech(voice, body.text))
    if body.stream:
        encoder = output.encoder(voice.sample_rate)
        return _streamed(
            spoken, output, encoder, headers, request_id_of(request.scope), binary=binary
        )
    async with aclosing(spoken):
        pieces = [piece async for piece in spoken]
    if pieces:
        headers[ENGINE_HEADER] = output.engine(pieces[0])
    slices = output.slices(pieces, voice.sample_rate)
    if binary:
        return file_answer(slices, output.media_type, headers)
    return json_answer(output.described(sample_rate), "audio_base64", slices, headers)


def _audio_headers(output: SpeechOutput, sample_rate: int) -> dict[str, str]:
    headers = {"x-audio-format": output.format, "x-sample-rate": str(sample_rate)}
    if output.reference_id:
        headers["x-reference-id"] = output.reference_id
    return headers


def _streamed(
    spoken: AsyncGenerator[Pcm, None],
    output: SpeechOutput,
    encoder: AudioEncoder,
    headers: dict[str, str],
    request_id: str,
    *,
    binary: bool,
) -> Response:
    def framed(data: bytes) -> bytes:
        return data if binary else sse("audio_chunk", base64.b64encode(data).decode())

    async def produce(push: Push) -> None:
        async with aclosing(spoken):
            async for piece in spoken:
                response.headers[ENGINE_HEADER] = output.engine(piece)  # as the first one has it
                if data := await output.encode(encoder, piece):
                    await push(framed(data))
        if data := await output.end(encoder):
            await push(framed(data))
        if not binary:
            await push(sse("done", {"status": "complete"}))

    response = PushResponse(
        produce,
        lambda problem: None if binary else sse("error", problem.body(request_id)),
        encoder.media_type if binary else "text/event-stream",
        headers,
    )
    return response
