"""OpenAI's chat completions."""

from fastapi import APIRouter

router = APIRouter(tags=["openai"])
