"""The models that are served."""

from fastapi import APIRouter

router = APIRouter(tags=["models"])
