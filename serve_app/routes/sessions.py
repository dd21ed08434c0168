"""Remembered dialogues: look at one, forget one."""

from fastapi import APIRouter

router = APIRouter(tags=["sessions"])
