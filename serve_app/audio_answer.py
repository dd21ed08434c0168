"""Whole files as answers that are written slice by slice: bare, or as base64 inside JSON.

A file, its base64 and the text around it are never in memory together.
"""

import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing

from pydantic import BaseModel

from serve_app.problems import Problem
from serve_app.streaming import Push, PushResponse

_GROUP_BYTES = 3  # four letters of base64

Slices = AsyncGenerator[bytes, None]


def file_answer(
    slices: Slices, media_type: str, headers: dict[str, str] | None = None
) -> PushResponse:
    """The file itself."""

    async def produce(push: Push) -> None:
        async with aclosing(slices):
            async for data in slices:
                await push(data)

    return PushResponse(produce, _break_off, media_type, headers)


def json_answer(
    body: BaseModel, field: str, slices: Slices, headers: dict[str, str] | None = None
) -> PushResponse:
    """`body` as JSON, with the file in base64 in its `field`, which is an empty text there."""
    # Not in any text: there the quotation marks are escaped.
    head, gap, tail = body.model_dump_json(exclude_none=True).partition(f'"{field}":""')
    assert gap  # noqa: S101 - the field is there, and empty

    async def produce(push: Push) -> None:
        before, rest = f'{head}"{field}":"'.encode(), b""
        async with aclosing(slices):
            async for data in slices:
                rest += data
                whole = len(rest) - len(rest) % _GROUP_BYTES
                await push(before + base64.b64encode(rest[:whole]))
                before, rest = b"", rest[whole:]
        await push(before + base64.b64encode(rest) + f'"{tail}'.encode())

    return PushResponse(produce, _break_off, "application/json", headers)


def _break_off(problem: Problem) -> None:
    """Half a file must not pass for whole."""
