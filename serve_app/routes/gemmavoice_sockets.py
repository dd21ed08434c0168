"""GemmaVoice's sockets."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, WebSocket

from deployments.errors import InvalidParameter
from serve_app.caller import CallerDep
from serve_app.denial import deny
from serve_app.gemmavoice_live import conversation, hearing, speaking, streaming, writing
from serve_app.live_desk import LiveDeskDep
from serve_app.problems import problem_of
from serve_app.protocol.gemmavoice_sockets import is_session_id
from serve_app.services import ServicesDep
from serve_app.socket_talk import hold_talk

router = APIRouter()


@router.websocket("/v1/text-to-speech/ws")
@router.websocket("/ws/tts")
async def text_to_speech(
    websocket: WebSocket, services: ServicesDep, caller: CallerDep, desk: LiveDeskDep
) -> None:
    """Texts in, audio out."""
    opening = partial(speaking.speaking, services, caller)
    await hold_talk(websocket, desk, speaking.MANNERS, services.settings.live, opening)


@router.websocket("/v1/speech-to-text/ws")
@router.websocket("/ws/stt")
async def speech_to_text(
    websocket: WebSocket, services: ServicesDep, caller: CallerDep, desk: LiveDeskDep
) -> None:
    """Audio in, a transcript whenever it is asked for."""
    opening = partial(hearing.hearing, services, caller)
    await hold_talk(websocket, desk, hearing.MANNERS, services.settings.live, opening)


@router.websocket("/v1/speech-to-text/stream")
async def speech_to_text_stream(
    websocket: WebSocket, services: ServicesDep, caller: CallerDep, desk: LiveDeskDep
) -> None:
    """Audio in, the words so far while it comes."""
    opening = partial(streaming.streaming, services, caller)
    await hold_talk(websocket, desk, streaming.MANNERS, services.settings.live, opening)


@router.websocket("/v1/generate_ws")
async def generate(
    websocket: WebSocket, services: ServicesDep, caller: CallerDep, desk: LiveDeskDep
) -> None:
    """Prompts in, tokens out."""
    opening = partial(writing.writing, services, caller)
    await hold_talk(websocket, desk, writing.MANNERS, services.settings.live, opening)


@router.websocket("/v1/conversation/ws")
async def converse(
    websocket: WebSocket,
    services: ServicesDep,
    caller: CallerDep,
    desk: LiveDeskDep,
    session_id: Annotated[str | None, Query()] = None,
) -> None:
    """A conversation by voice, or by typing."""
    if session_id is not None and not is_session_id(session_id):
        problem = problem_of(InvalidParameter("session_id", "it is none."))
        await deny(problem, websocket.scope, websocket.receive, websocket.send)
        return
    opening = partial(conversation.conversing, services, caller, desk, session_id)
    await hold_talk(websocket, desk, conversation.MANNERS, services.settings.live, opening)
