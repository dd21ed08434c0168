"""Refuses what a request asks for in its address and no route reads."""

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute


async def _known_query(request: Request) -> None:  # else FastAPI starts a thread
    route: APIRoute = request.scope["route"]
    known = {each.alias for each in route.dependant.query_params}
    for name in request.query_params:
        if name not in known:
            raise RequestValidationError(
                [{"type": "extra_forbidden", "loc": ("query", name), "msg": "Unknown parameter"}]
            )


KNOWN_QUERY = Depends(_known_query)
"""A dependency of routes that take a form: its fields are easily put into the address."""
