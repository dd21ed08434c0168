"""Tokens for a LiveKit server's rooms."""

import secrets
import time
from typing import Any

import jwt
from fastapi import APIRouter

from configs.settings import LiveKitSettings
from deployments.errors import NotConfigured
from serve_app.protocol.gemmavoice import LiveKitStatusOut, RoomTokenBody, RoomTokenOut
from serve_app.services import ServicesDep

router = APIRouter(prefix="/v1/livekit", tags=["livekit"])

_ALLOWED = {"roomJoin": True, "canPublish": True, "canSubscribe": True, "canPublishData": True}
# Seen by the others in the room: what a hidden participant says is not heard.
_ALLOWED_TO_AGENTS = {**_ALLOWED, "canUpdateOwnMetadata": True, "agent": True, "hidden": False}


@router.get("/status")
async def status(services: ServicesDep) -> LiveKitStatusOut:
    """Whether there are tokens, for which server, and the room where none is asked for."""
    livekit = services.settings.livekit
    enabled = bool(livekit.url and livekit.api_key and livekit.api_secret)
    return LiveKitStatusOut(enabled=enabled, url=livekit.url, default_room=livekit.room)


@router.post("/token")
async def token(services: ServicesDep, body: RoomTokenBody) -> RoomTokenOut:
    """Let a person join a room."""
    return _admission(services.settings.livekit, body, "user", {"video": _ALLOWED})


@router.post("/agent-token")
async def agent_token(services: ServicesDep, body: RoomTokenBody) -> RoomTokenOut:
    """Let an agent join a room."""
    claims = {"video": _ALLOWED_TO_AGENTS, "kind": "agent"}
    return _admission(services.settings.livekit, body, "agent", claims)


def _admission(
    livekit: LiveKitSettings, body: RoomTokenBody, kind: str, claims: dict[str, Any]
) -> RoomTokenOut:
    if not (livekit.url and livekit.api_key and livekit.api_secret):
        raise NotConfigured("LiveKit", "livekit.url, livekit.api_key and livekit.api_secret")
    identity = body.participant_identity or f"{kind}-{secrets.token_hex(8)}"
    room = body.room_name or livekit.room
    now = int(time.time())  # noqa: TID251 - a date that the LiveKit server reads
    payload = {
        **claims,
        "iss": livekit.api_key,
        "sub": identity,
        "name": body.participant_name or identity,
        "nbf": now,
        "exp": now + livekit.token_ttl_s,
        "video": {**claims["video"], "room": room},
    }
    signed = jwt.encode(payload, livekit.api_secret.get_secret_value(), algorithm="HS256")
    return RoomTokenOut(
        token=signed, url=livekit.url, room_name=room, participant_identity=identity
    )
