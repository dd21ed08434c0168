"""A whole spoken turn over HTTP."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, TypeVar

from fastapi import APIRouter, Form, Request, UploadFile
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ValidationError

from deployments.errors import InvalidParameter, SpeechError, TextTooLong, VoiceNotFound
from deployments.messages import SpeechRequest, TranscriptionRequest, VoiceInfo
from serve_app.dialogue.events import Emit, TurnEvent, TurnFinished, TurnTimings, VoiceFailed
from serve_app.dialogue.turn import Turn, TurnRequest
from serve_app.protocol.gemmavoice import DialogueGeneration, DialogueOut, SynthesisFields
from serve_app.request_id import request_id_of
from serve_app.routes.speech import LanguageField, language_code
from serve_app.sampling import sampling_of
from serve_app.services import Services, ServicesDep
from serve_app.speech_output import SpeechOutput
from serve_app.sse import ndjson
from serve_app.streaming import Push, PushResponse
from serve_app.turn_output import StreamedTurn, WholeTurn

router = APIRouter(tags=["dialogue"])

Config = TypeVar("Config", bound=BaseModel)
JsonField = Annotated[str | None, Form(max_length=65_536, description="A JSON object.")]
_PIPELINE = "speech_dialogue"


@router.post("/v1/dialogue", response_model=DialogueOut)
@router.post("/v1/conversation/dialogue", response_model=DialogueOut)
async def dialogue(  # noqa: PLR0913 - one argument a form field
    request: Request,
    services: ServicesDep,
    file: UploadFile,
    instructions: Annotated[str | None, Form(description="Replaces the system prompt.")] = None,
    generation_config: JsonField = None,
    synthesis_config: JsonField = None,
    stream_audio: Annotated[bool, Form()] = False,
    language: LanguageField = None,
) -> Response:
    """Hear an utterance, answer it, speak the answer; `stream_audio` sends NDJSON as it happens."""
    start = time.perf_counter()
    generation = _config("generation_config", generation_config, DialogueGeneration)
    synthesis = _config("synthesis_config", synthesis_config, SynthesisFields)
    output = SpeechOutput(synthesis, services)
    instructions = _instructions(services, instructions, generation)
    voice = await _voice(services, synthesis, output)
    voice_rate = voice.sample_rate if voice else None
    audio = await services.decoder.decode(file.file)
    turn_request = TurnRequest(
        utterance=TranscriptionRequest(audio, language=language_code(language)),
        instructions=instructions,
        prompt_template=services.settings.prompts.spoken_template,
        sampling=sampling_of(generation, services.settings.spoken_sampling),
        voice=SpeechRequest("", voice.name if voice else None, synthesis.speed),
    )
    timings = TurnTimings(start, decode_s=round(time.perf_counter() - start, 4))
    run = _runner(services, turn_request, timings)
    if not stream_audio:
        whole = WholeTurn(output)
        await run(whole.note)
        return JSONResponse((await whole.answer()).model_dump(exclude_none=True))

    async def produce(push: Push) -> None:
        streamed = StreamedTurn(output, voice_rate, push)
        await streamed.begin()
        await run(streamed.note)

    request_id = request_id_of(request.scope)
    return PushResponse(
        produce, lambda problem: ndjson("error", problem.body(request_id)), "application/x-ndjson"
    )


def _runner(
    services: Services, request: TurnRequest, timings: TurnTimings
) -> Callable[[Emit], Awaitable[None]]:
    """The turn, with what it does recorded."""
    metrics = services.turn_metrics

    async def run(emit: Emit) -> None:
        async def record(event: TurnEvent) -> None:
            match event:
                case TurnFinished(timings=finished):
                    phases = {k: v for k, v in asdict(finished).items() if v and k != "start"}
                    for phase, seconds in phases.items():
                        metrics.phase(phase.removesuffix("_s"), seconds)
                    metrics.finished(_PIPELINE, finished.total_s or 0.0)
                case VoiceFailed(code=code):
                    metrics.failed(_PIPELINE, code)
                case _:
                    pass
            await emit(event)

        try:
            await Turn(services.stt, services.llm, services.tts, record, timings).run(request)
        except SpeechError as error:
            metrics.failed(_PIPELINE, error.code)
            raise

    return run


def _config(name: str, text: str | None, model: type[Config]) -> Config:
    try:
        return model.model_validate_json(text or "{}")
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join([name, *(str(part) for part in first["loc"])])[:128]
        raise InvalidParameter(place, first["msg"]) from None


def _instructions(
    services: Services, instructions: str | None, generation: DialogueGeneration
) -> str:
    limit = services.settings.limits.max_prompt_chars
    chosen = instructions if instructions is not None else generation.system_prompt
    if chosen is None:
        return services.settings.prompts.spoken
    if len(chosen) > limit:
        raise TextTooLong("instructions", len(chosen), limit)
    return chosen


async def _voice(
    services: Services, synthesis: SynthesisFields, output: SpeechOutput
) -> VoiceInfo | None:
    """The voice; None while the voice does not answer (the turn goes on as text).

    Raises:
        VoiceNotFound: there is no such voice.
        InvalidParameter: the format cannot have the rate that was asked for.
    """
    try:
        voice = await services.voice(synthesis.reference_id)
    except VoiceNotFound:
        raise
    except SpeechError:
        return None
    output.encoder(voice.sample_rate)
    return voice
