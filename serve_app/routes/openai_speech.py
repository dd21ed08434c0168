"""OpenAI's speech, and the list of models that speak."""

import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Request
from fastapi.responses import Response

from deployments.audio import Pcm
from deployments.errors import InvalidParameter, TextTooLong
from deployments.sentences import is_speakable
from serve_app.caller import CallerDep
from serve_app.counted_speech import counted_speech
from serve_app.media.encode import AudioEncoder
from serve_app.problems import Problem
from serve_app.protocol.gemmavoice import SynthesisFields
from serve_app.protocol.openai_speech import (
    AudioDeltaEvent,
    AudioDoneEvent,
    SpeechBody,
    SpeechModel,
    SpeechModelsOut,
    SpokenUsage,
)
from serve_app.request_id import request_id_of
from serve_app.services import ENGINE_HEADER, ServicesDep
from serve_app.speech_output import SpeechOutput
from serve_app.sse import sse_data
from serve_app.streaming import Push, PushResponse

router = APIRouter(tags=["openai"])

_PCM_RATE = 24_000


@router.post("/v1/audio/speech")
async def create_speech(
    request: Request, services: ServicesDep, caller: CallerDep, body: SpeechBody
) -> Response:
    """Speak a text: the audio, or events that hold it (`stream_format`), as it is made."""
    services.models.resolve("tts", body.model)
    if len(body.input) > services.settings.limits.max_text_chars:
        raise TextTooLong("input", len(body.input), services.settings.limits.max_text_chars)
    if not is_speakable(body.input):
        raise InvalidParameter("input", "it holds nothing that can be spoken")
    output = SpeechOutput(_synthesis(body), services)
    voice = await services.voice(body.voice, caller.owner)
    encoder = output.encoder(voice.sample_rate)
    spoken = counted_speech(services, caller, output.speech(voice, body.input))
    headers = {"x-audio-format": output.format, "x-sample-rate": str(encoder.sample_rate)}
    if body.instructions:
        headers["x-ignored-parameters"] = "instructions"
    if body.stream_format == "sse":
        form = _Events(body.input, request_id_of(request.scope))
    else:
        form = _Bare(encoder.media_type)
    return _pushed(spoken, output, encoder, form, headers)


def _synthesis(body: SpeechBody) -> SynthesisFields:
    rate = _PCM_RATE if body.response_format == "pcm" else None
    return SynthesisFields.model_validate(
        {
            "format": body.response_format,
            "sample_rate": body.sample_rate or rate,
            "speed": body.speed,
            "seed": body.seed,
            "latency": "low",
        }
    )


class _Bare:
    """The audio itself; broken off where it fails, so that it cannot pass for whole."""

    def __init__(self, media_type: str) -> None:
        self.media_type = media_type

    def piece(self, data: bytes) -> bytes:
        return data

    def end(self, audio_s: float) -> bytes:  # noqa: ARG002
        return b""

    def error(self, problem: Problem) -> bytes | None:  # noqa: ARG002
        return None


class _Events:
    """The audio as OpenAI's events."""

    media_type = "text/event-stream"

    def __init__(self, text: str, request_id: str) -> None:
        self._text, self._request_id = text, request_id

    def piece(self, data: bytes) -> bytes:
        return sse_data(AudioDeltaEvent(audio=base64.b64encode(data).decode()).model_dump())

    def end(self, audio_s: float) -> bytes:
        return sse_data(AudioDoneEvent(usage=SpokenUsage.of(self._text, audio_s)).model_dump())

    def error(self, problem: Problem) -> bytes | None:
        return sse_data(problem.body(self._request_id))


def _pushed(
    spoken: AsyncGenerator[Pcm, None],
    output: SpeechOutput,
    encoder: AudioEncoder,
    form: _Bare | _Events,
    headers: dict[str, str],
) -> PushResponse:
    async def produce(push: Push) -> None:
        audio_s = 0.0
        async with aclosing(spoken):
            async for piece in spoken:
                response.headers[ENGINE_HEADER] = output.engine(piece)  # as the first one has it
                audio_s += piece.duration_s
                if data := await output.encode(encoder, piece):
                    await push(form.piece(data))
        if data := await output.end(encoder):
            await push(form.piece(data))
        if data := form.end(audio_s):
            await push(data)

    response = PushResponse(produce, form.error, form.media_type, headers)
    return response


@router.get("/v1/audio/models", response_model=SpeechModelsOut)
async def list_speech_models(services: ServicesDep) -> SpeechModelsOut:
    """The models that speak."""
    model = services.models.of_stage("tts")
    return SpeechModelsOut(models=[SpeechModel(id=model.id, name=model.name)])
