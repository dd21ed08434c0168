"""Speech to text, and text to speech."""

import base64
from contextlib import aclosing
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Header, Request, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from deployments.audio import Pcm
from deployments.errors import InvalidParameter, TextTooLong
from deployments.messages import SpeechRequest, Transcript, TranscriptionRequest
from deployments.sentences import is_speakable
from serve_app.protocol.gemmavoice import AudioOut, SynthesisBody, TranscriptionOut
from serve_app.request_id import request_id_of
from serve_app.services import Services, ServicesDep
from serve_app.speech_output import SpeechOutput
from serve_app.sse import sse
from serve_app.streaming import Push, PushResponse
from serve_app.subtitles import to_srt, to_vtt

router = APIRouter(tags=["speech"])

LanguageField = Annotated[str | None, Form(max_length=16, description="ISO 639-1; none: detected.")]
PromptField = Annotated[str | None, Form(max_length=4096, description="Names and terms to expect.")]
TranscriptFormat = Literal["json", "verbose_json", "text", "srt", "vtt"]


@router.post("/v1/speech-to-text", response_model=TranscriptionOut)
async def speech_to_text(  # noqa: PLR0913 - one argument a form field
    services: ServicesDep,
    file: UploadFile,
    language: LanguageField = None,
    prompt: PromptField = None,
    response_format: Annotated[TranscriptFormat, Form()] = "json",
    temperature: Annotated[float | None, Form(ge=0, le=1)] = None,
    task: Annotated[Literal["transcribe", "translate"], Form()] = "transcribe",
    word_timestamps: Annotated[bool, Form()] = False,
) -> Response:
    """Transcribe an upload, or translate it to English."""
    audio = await services.decoder.decode(file.file)
    request = TranscriptionRequest(
        audio=audio,
        language=language_code(language),
        prompt=prompt,
        temperature=temperature,
        task=task,
        word_timestamps=word_timestamps or response_format == "verbose_json",
    )
    return _transcript_response(await services.stt.transcribe(request), response_format)


def language_code(language: str | None) -> str | None:
    """Whisper's code for a language tag such as 'en-US'."""
    return language.split("-")[0].split("_")[0].lower() if language else None


def _transcript_response(transcript: Transcript, response_format: TranscriptFormat) -> Response:
    match response_format:
        case "text":
            return PlainTextResponse(transcript.text + "\n")
        case "srt":
            return PlainTextResponse(to_srt(transcript), media_type="application/x-subrip")
        case "vtt":
            return PlainTextResponse(to_vtt(transcript), media_type="text/vtt")
        case "json" | "verbose_json":
            return JSONResponse(TranscriptionOut.of(transcript).model_dump(exclude_none=True))


@router.post("/v1/text-to-speech", response_model=AudioOut)
async def text_to_speech(
    request: Request,
    services: ServicesDep,
    body: SynthesisBody,
    accept: Annotated[str, Header()] = "*/*",
) -> Response:
    """Speak a text: JSON with base64, or the audio itself (`Accept: audio/*`), whole or streamed."""
    if len(body.text) > services.settings.limits.max_text_chars:
        raise TextTooLong("text", len(body.text), services.settings.limits.max_text_chars)
    if not is_speakable(body.text):
        raise InvalidParameter("text", "it holds nothing that can be spoken")
    output = SpeechOutput(body, services)
    voice = await services.voice(body.reference_id)
    speech = SpeechRequest(body.text, voice.name, body.speed)
    binary = "audio/" in accept
    if body.stream:
        return _streamed(services, speech, output, voice.sample_rate, request, binary=binary)
    pieces = await _all_pieces(services, speech)
    audio = await output.whole(pieces, voice.sample_rate)
    headers = _audio_headers(output, audio.sample_rate)
    if binary:
        return Response(audio.data, media_type=audio.media_type, headers=headers)
    return JSONResponse(output.answer(audio).model_dump(exclude_none=True), headers=headers)


async def _all_pieces(services: Services, speech: SpeechRequest) -> list[Pcm]:
    async with aclosing(services.tts.synthesize(speech)) as pieces:
        return [piece async for piece in pieces]


def _audio_headers(output: SpeechOutput, sample_rate: int) -> dict[str, str]:
    headers = {"x-audio-format": output.format, "x-sample-rate": str(sample_rate)}
    if output.reference_id:
        headers["x-reference-id"] = output.reference_id
    return headers


def _streamed(
    services: Services,
    speech: SpeechRequest,
    output: SpeechOutput,
    voice_rate: int,
    request: Request,
    *,
    binary: bool,
) -> Response:
    encoder = output.encoder(voice_rate)

    def framed(data: bytes) -> bytes:
        return data if binary else sse("audio_chunk", base64.b64encode(data).decode())

    async def produce(push: Push) -> None:
        async with aclosing(services.tts.synthesize(speech)) as pieces:
            async for piece in pieces:
                if data := await output.encode(encoder, piece):
                    await push(framed(data))
        if data := encoder.flush():
            await push(framed(data))
        if not binary:
            await push(sse("done", {"status": "complete"}))

    request_id = request_id_of(request.scope)
    return PushResponse(
        produce,
        lambda problem: None if binary else sse("error", problem.body(request_id)),
        encoder.media_type if binary else "text/event-stream",
        _audio_headers(output, encoder.sample_rate),
    )
