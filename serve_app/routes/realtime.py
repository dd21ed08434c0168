"""OpenAI's realtime API: the socket, and short-lived keys for it."""

from fastapi import APIRouter, Request, WebSocket
from fastapi.responses import JSONResponse, Response

from serve_app.caller import Caller, CallerDep
from serve_app.live_desk import LiveDeskDep
from serve_app.protocol.realtime_secrets import (
    BetaSecretWish,
    BetaSessionBody,
    BetaSessionOut,
    BetaTranscriptionBody,
    BetaTranscriptionOut,
    SecretBody,
    SecretOut,
)
from serve_app.protocol.realtime_session import RealtimeSessionUpdate
from serve_app.realtime.beta_writer import beta_session
from serve_app.realtime.line import hold_session
from serve_app.realtime.opening import Reception
from serve_app.realtime.refusal import Refused
from serve_app.realtime.session_state import Changes
from serve_app.request_id import request_id_of
from serve_app.services import Services, ServicesDep

router = APIRouter(prefix="/v1/realtime", tags=["openai"])


@router.websocket("")
async def realtime(
    websocket: WebSocket, services: ServicesDep, caller: CallerDep, desk: LiveDeskDep
) -> None:
    """A live conversation, or with `intent=transcription` only what is said."""
    await hold_session(websocket, services, caller, desk)


@router.post("/client_secrets", response_model=SecretOut)
async def client_secrets(
    request: Request, services: ServicesDep, caller: CallerDep, body: SecretBody
) -> Response:
    """A key that opens nothing but live sessions of the caller, and begins them as asked.

    It may be handed to a browser.
    """
    changes = body.session or RealtimeSessionUpdate(type="realtime")
    seconds = body.expires_after.seconds if body.expires_after else None
    try:
        value, expires_at, session = await Reception(services, caller).secret(changes, seconds)
    except Refused as refused:
        return refused.problem.response(request_id_of(request.scope))
    answer = SecretOut(value=value, expires_at=expires_at, session=session)
    return JSONResponse(answer.model_dump())


@router.post("/sessions", response_model=BetaSessionOut)
async def beta_sessions(
    request: Request, services: ServicesDep, caller: CallerDep, body: BetaSessionBody
) -> Response:
    """The same as the beta has it."""
    return await _beta(request, services, caller, body.update(), body.client_secret)


@router.post("/transcription_sessions", response_model=BetaTranscriptionOut)
async def beta_transcription_sessions(
    request: Request, services: ServicesDep, caller: CallerDep, body: BetaTranscriptionBody
) -> Response:
    """The same for sessions that only hear."""
    changes = body.transcription_update()
    return await _beta(request, services, caller, changes, body.client_secret)


async def _beta(
    request: Request,
    services: Services,
    caller: Caller,
    changes: Changes,
    wish: BetaSecretWish | None,
) -> Response:
    seconds = wish.seconds if wish else None
    try:
        value, expires_at, session = await Reception(services, caller).secret(changes, seconds)
    except Refused as refused:
        return refused.problem.response(request_id_of(request.scope))
    secret = {"value": value, "expires_at": expires_at}
    return JSONResponse({**beta_session(session), "client_secret": secret})
