"""Remembered dialogues: look at one, forget one."""

from typing import Annotated

from fastapi import APIRouter, Path

from deployments.errors import SessionNotFound
from deployments.link import note_session
from serve_app.caller import CallerDep
from serve_app.protocol.sessions import SESSION_ID_PATTERN, SessionDeletedOut, SessionOut
from serve_app.services import ServicesDep

router = APIRouter(tags=["sessions"])

SessionPath = Annotated[
    str,
    Path(
        pattern=SESSION_ID_PATTERN,
        description="As it was given to a spoken turn, by the same key.",
        examples=["kitchen-7"],
    ),
]


@router.get("/v1/sessions/{session_id}")
async def read_session(
    services: ServicesDep, caller: CallerDep, session_id: SessionPath
) -> SessionOut:
    """What the model knows of a dialogue. Looking at it keeps it from being forgotten."""
    note_session(session_id)
    session = await services.sessions.read_session(caller.owner, session_id)
    if session is None:
        raise SessionNotFound(session_id)
    return SessionOut.of(session)


@router.delete("/v1/sessions/{session_id}")
async def delete_session(
    services: ServicesDep, caller: CallerDep, session_id: SessionPath
) -> SessionDeletedOut:
    """Forget a dialogue. A turn that is in progress begins a new one when its reply is written."""
    note_session(session_id)
    if not await services.sessions.delete_session(caller.owner, session_id):
        raise SessionNotFound(session_id)
    return SessionDeletedOut(id=session_id)
