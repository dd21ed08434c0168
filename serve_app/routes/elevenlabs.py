"""Text to speech as ElevenLabs' clients ask for it."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response

from deployments.audio import Pcm
from deployments.errors import InvalidParameter, SpeechError, TextTooLong
from deployments.sentences import is_speakable
from serve_app.caller import Caller, CallerDep
from serve_app.counted_speech import counted_speech
from serve_app.denial import deny
from serve_app.elevenlabs.context import Setting
from serve_app.elevenlabs.output import Output
from serve_app.elevenlabs.speech import chosen_voice, plain_speech, speech_with
from serve_app.elevenlabs.talk import MANNERS, StreamInput, stream_input
from serve_app.live_desk import LiveDesk, LiveDeskDep
from serve_app.media.formats import MEDIA_TYPES
from serve_app.problems import Problem, problem_of
from serve_app.protocol.elevenlabs import (
    QUERY,
    OutputFormat,
    SpeechBody,
    StreamQuery,
    VoiceOut,
    VoicesOut,
)
from serve_app.services import Services, ServicesDep, Voice
from serve_app.socket import Socket
from serve_app.socket_messages import read_form
from serve_app.socket_talk import hold_talk
from serve_app.streaming import Push, PushResponse
from serve_app.voice_lists import listed_voices

router = APIRouter(tags=["elevenlabs"])

_PATH = "/v1/text-to-speech/{voice_id}"
_AUDIO: dict[str, Any] = {
    name: {"schema": {"type": "string", "format": "binary"}}
    for name in (*MEDIA_TYPES, "audio/basic")
}
VoicePath = Annotated[
    str, Path(description="Name of a voice, or another name of it.", examples=["joe"])
]
FormatQuery = Annotated[OutputFormat, Query()]
LatencyQuery = Annotated[
    int, Query(ge=0, le=4, description="Above 0 the first clause is spoken by itself.")
]
LoggingQuery = Annotated[bool, Query(description="No text is logged in either case.")]


@router.post(_PATH, response_class=Response, responses={200: {"content": _AUDIO}})
@router.post(
    f"{_PATH}/stream",
    response_class=Response,
    responses={200: {"content": _AUDIO}},
    summary="Speak (ElevenLabs), Streamed",
)
async def speak(  # noqa: PLR0913 - one argument a parameter
    services: ServicesDep,
    caller: CallerDep,
    voice_id: VoicePath,
    body: SpeechBody,
    output_format: FormatQuery = "mp3_44100_128",
    optimize_streaming_latency: LatencyQuery = 0,
    enable_logging: LoggingQuery = True,  # noqa: ARG001
) -> Response:
    """Speak a text; the audio is sent as it is made, on both paths."""
    limit = services.settings.limits.max_text_chars
    if len(body.text) > limit:
        raise TextTooLong("text", len(body.text), limit)
    if not is_speakable(body.text):
        raise InvalidParameter("text", "it holds nothing that can be spoken")
    output = Output.of(output_format)
    voice = await chosen_voice(services, caller.owner, voice_id, body.model_id, body.language_code)
    speech = plain_speech(services, voice, early=optimize_streaming_latency > 0, seed=body.seed)
    speech = replace(speech_with(speech, body.voice_settings), text=body.text)
    return _streamed(counted_speech(services, caller, speech), output, voice)


@router.get("/v1/voices", response_model=VoicesOut, summary="Voices (ElevenLabs)")
async def voices(services: ServicesDep, caller: CallerDep) -> VoicesOut:
    """The voices that can be named in a path, the caller's own among them."""
    listed = await listed_voices(services, caller.owner)
    return VoicesOut(
        voices=[
            VoiceOut(
                voice_id=each.id,
                name=each.name,
                category="cloned" if each.created_at else "premade",
                labels={"language": each.language},
            )
            for each in listed
        ]
    )


def _streamed(spoken: AsyncGenerator[Pcm, None], output: Output, voice: Voice) -> Response:
    encoder = output.encoder(voice.sample_rate)

    async def produce(push: Push) -> None:
        async with aclosing(spoken):
            async for piece in spoken:
                if data := await encoder.encode(piece.samples):
                    await push(data)
        if data := encoder.flush():
            await push(data)

    return PushResponse(produce, _break_off, output.media_type)


def _break_off(_: Problem) -> None:
    """Half of a text must not pass for all of it."""


@router.websocket(f"{_PATH}/stream-input")
async def stream_one(
    websocket: WebSocket,
    services: ServicesDep,
    caller: CallerDep,
    desk: LiveDeskDep,
    voice_id: str,
) -> None:
    """Text in as it is written, audio out as it is spoken."""
    await _Opening(websocket, services, caller, desk).serve(voice_id, multi=False)


@router.websocket(f"{_PATH}/multi-stream-input")
async def stream_many(
    websocket: WebSocket,
    services: ServicesDep,
    caller: CallerDep,
    desk: LiveDeskDep,
    voice_id: str,
) -> None:
    """The same for several texts at a time."""
    await _Opening(websocket, services, caller, desk).serve(voice_id, multi=True)


class _Opening:
    """Reads what a socket is told when it is opened, and opens it, or refuses it over HTTP."""

    def __init__(
        self, websocket: WebSocket, services: Services, caller: Caller, desk: LiveDesk
    ) -> None:
        self._websocket, self._services = websocket, services
        self._caller, self._desk = caller, desk

    async def serve(self, voice_id: str, *, multi: bool) -> None:
        """Serve the socket to its end."""
        websocket, live = self._websocket, self._services.settings.live
        try:
            query = read_form(QUERY, dict(websocket.query_params))
            voice = await chosen_voice(
                self._services, self._caller.owner, voice_id, query.model_id, query.language_code
            )
            output = Output.of(query.output_format)
        except (SpeechError, RequestValidationError) as error:
            await deny(problem_of(error), websocket.scope, websocket.receive, websocket.send)
            return
        if query.inactivity_timeout is not None:
            live = live.model_copy(update={"idle_s": min(live.idle_s, query.inactivity_timeout)})
        opening = partial(self._talk, query, voice, output, multi=multi)
        await hold_talk(websocket, self._desk, MANNERS, live, opening)

    def _talk(
        self, query: StreamQuery, voice: Voice, output: Output, socket: Socket, *, multi: bool
    ) -> AbstractAsyncContextManager[StreamInput]:
        early = query.optimize_streaming_latency > 0
        setting = Setting(
            self._services,
            self._caller,
            socket,
            voice,
            output,
            plain_speech(self._services, voice, early=early, seed=query.seed),
            query.sync_alignment,
        )
        return stream_input(setting, multi=multi)
