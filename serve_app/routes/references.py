"""Voice references, as GemmaVoice encodes them."""

from fastapi import APIRouter

router = APIRouter(tags=["references"])
