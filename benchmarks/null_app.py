"""The least that Serve can do: a FastAPI ingress of constants, with and without a call by handle.

What `benchmarks.http_over_null` compares the application with.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from ray import serve
from ray.serve import Application

AUDIO = bytes(2 * int(22_050 * 0.06 * len("Hello there.")))  # as long as the fake voice's

api = FastAPI()


@serve.deployment(max_ongoing_requests=100, ray_actor_options={"num_cpus": 0.1})
class Constant:
    async def stream(self, text: str) -> AsyncGenerator[bytes, None]:
        assert text
        yield AUDIO


@serve.deployment(max_ongoing_requests=100, ray_actor_options={"num_cpus": 0.1})
@serve.ingress(api)
class NullIngress:
    def __init__(self, constant: Any) -> None:
        # By value, as the application calls its stages: the quicker of Serve's two ways.
        self._constant = constant.options(method_name="stream", stream=True, _by_reference=False)

    @api.get("/health/live")
    async def live(self) -> dict[str, str]:
        return {"status": "alive"}

    @api.post("/v1/audio/speech")
    async def speech(self, request: Request) -> StreamingResponse:
        body = await request.json()
        return StreamingResponse(self._constant.remote(body["input"]), media_type="audio/mpeg")

    @api.post("/v1/audio/speech/without-handle")
    async def bare(self, request: Request) -> StreamingResponse:
        assert await request.json()

        async def constant() -> AsyncGenerator[bytes, None]:
            await asyncio.sleep(0)
            yield AUDIO

        return StreamingResponse(constant(), media_type="audio/mpeg")


def build_app(args: dict[str, Any]) -> Application:  # noqa: ARG001 - the launcher gives settings
    return NullIngress.bind(Constant.bind())
