"""OpenAI's text completions."""

from fastapi import APIRouter

router = APIRouter(tags=["openai"])
