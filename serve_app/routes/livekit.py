"""Tokens for a LiveKit server's rooms."""

from fastapi import APIRouter

router = APIRouter(tags=["livekit"])
