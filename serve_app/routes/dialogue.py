"""A whole spoken turn over HTTP."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, TypeVar

from fastapi import APIRouter, Form, Request, UploadFile
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError

from deployments.errors import InvalidParameter, SpeechError, TextTooLong
from deployments.languages import language_code
from deployments.link import note_session
from deployments.messages import TranscriptionRequest
from serve_app.asked_by import AskedBy
from serve_app.caller import Caller, CallerDep
from serve_app.dialogue.events import (
    Emit,
    Spoken,
    TurnEvent,
    TurnFinished,
    TurnTimings,
    VoiceFailed,
)
from serve_app.dialogue.memory import Memory
from serve_app.dialogue.together import both
from serve_app.dialogue.turn import Turn, TurnRequest
from serve_app.known_query import KNOWN_QUERY
from serve_app.protocol.dialogue import DialogueFields
from serve_app.protocol.gemmavoice import DialogueGeneration, DialogueOut, SynthesisFields
from serve_app.request_id import request_id_of
from serve_app.sampling import sampling_of
from serve_app.services import Services, ServicesDep, Voice
from serve_app.speech_output import SpeechOutput
from serve_app.sse import ndjson
from serve_app.streaming import Push, PushResponse
from serve_app.turn_output import StreamedTurn, WholeTurn, memory_headers
from serve_app.wanted_voice import wanted_voice_to_come

router = APIRouter(tags=["dialogue"], dependencies=[KNOWN_QUERY])

Config = TypeVar("Config", bound=BaseModel)
_PIPELINE = "speech_dialogue"


class DialogueForm(DialogueFields):
    """An utterance to answer, and how."""

    file: UploadFile


@router.post("/v1/dialogue", response_model=DialogueOut, summary="Spoken Turn")
@router.post(
    "/v1/conversation/dialogue",
    response_model=DialogueOut,
    summary="Spoken Turn (GemmaVoice's path)",
)
async def dialogue(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    form: Annotated[DialogueForm, Form(media_type="multipart/form-data")],
) -> Response:
    """Hear an utterance, answer it, speak the answer; `stream_audio` sends NDJSON as it happens."""
    start = time.perf_counter()
    generation = _config("generation_config", form.generation_config, DialogueGeneration)
    synthesis = _config("synthesis_config", form.synthesis_config, SynthesisFields)
    output = SpeechOutput(synthesis, services)
    instructions = _instructions(services, form, generation)
    voice = await wanted_voice_to_come(services, caller, synthesis, "synthesis_config.")
    voice_rate = None
    if isinstance(voice, Voice):
        voice_rate = voice.sample_rate
        output.encoder(voice_rate)  # refuses what the format cannot hold
    memory = Memory(services.sessions, caller.owner, form.session_id)
    note_session(form.session_id)
    audio, history = await both(services.decoder.decode(form.file.file), memory.recall())
    await caller.spend_audio(audio.duration_s)
    turn_request = TurnRequest(
        utterance=TranscriptionRequest(audio, language=language_code(form.language)),
        instructions=instructions,
        prompt_template=services.settings.prompts.spoken_template,
        sampling=sampling_of(generation, services.settings.spoken_sampling),
        voice=output.speech(voice),
        history=history,
    )
    timings = TurnTimings(start, decode_s=round(time.perf_counter() - start, 4))
    run = _runner(services, caller, memory, turn_request, timings)
    if not form.stream_audio:
        whole = WholeTurn(output, memory)
        await run(whole.note)
        return whole.answer()

    async def produce(push: Push) -> None:
        streamed = StreamedTurn(output, voice_rate, memory, push)
        await streamed.begin()
        await run(streamed.note)

    request_id = request_id_of(request.scope)
    return PushResponse(
        produce,
        lambda problem: ndjson("error", problem.body(request_id)),
        "application/x-ndjson",
        memory_headers(memory),
    )


def _runner(
    services: Services,
    caller: Caller,
    memory: Memory,
    request: TurnRequest,
    timings: TurnTimings,
) -> Callable[[Emit], Awaitable[None]]:
    """The turn, with what it does recorded, remembered and counted for its caller."""
    metrics = services.turn_metrics
    llm = AskedBy(services.llm, caller.owner, memory.session_id or "", live=True)

    async def run(emit: Emit) -> None:
        spoken_s = 0.0

        async def record(event: TurnEvent) -> None:
            nonlocal spoken_s
            match event:
                case Spoken(audio=audio):
                    spoken_s += audio.duration_s
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

        listen = memory.listening(request, record)
        try:
            await Turn(services.stt, llm, services.tts, listen, timings).run(request)
        except SpeechError as error:
            metrics.failed(_PIPELINE, error.code)
            raise
        finally:
            if spoken_s:
                await caller.note_audio(spoken_s)

    return run


def _config(name: str, text: str | None, model: type[Config]) -> Config:
    try:
        return model.model_validate_json(text or "{}")
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join([name, *(str(part) for part in first["loc"])])[:128]
        raise InvalidParameter(place, first["msg"]) from None


def _instructions(services: Services, form: DialogueFields, generation: DialogueGeneration) -> str:
    limit = services.settings.limits.max_prompt_chars
    name, chosen = "instructions", form.instructions
    if chosen is None:
        name, chosen = "generation_config.system_prompt", generation.system_prompt
    if chosen is None:
        return services.settings.prompts.spoken
    if len(chosen) > limit:
        raise TextTooLong(name, len(chosen), limit)
    return chosen
