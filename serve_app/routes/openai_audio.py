"""OpenAI's audio routes: transcriptions, translations, speech, voices."""

from fastapi import APIRouter

router = APIRouter(tags=["openai"])
