"""Text in, text out."""

from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, Response

from deployments.messages import GenerationEnd, GenerationRequest, TextDelta
from serve_app.caller import CallerDep
from serve_app.protocol.gemmavoice import GenerationBody, GenerationOut
from serve_app.request_id import request_id_of
from serve_app.services import Services, ServicesDep
from serve_app.sse import json_line, sse
from serve_app.streaming import Push, PushResponse
from serve_app.written_request import written_request

router = APIRouter(tags=["text"])

_NDJSON = "application/x-ndjson"


def _usage(end: GenerationEnd) -> dict[str, int | str]:
    return {
        "prompt_tokens": end.prompt_tokens,
        "completion_tokens": end.completion_tokens,
        "total_tokens": end.prompt_tokens + end.completion_tokens,
        "finish_reason": end.finish_reason,
    }


_STREAMS: dict[str, Any] = {
    "text/event-stream": {
        "schema": {"type": "string"},
        "example": (
            sse("text", {"text": "Paris."})
            + sse("usage", _usage(GenerationEnd("stop", 14, 2)))
            + sse("done", {})
        ).decode(),
    },
    _NDJSON: {
        "schema": {"type": "string"},
        "example": (
            json_line({"generated_text": "The"}) + json_line({"generated_text": "The capital"})
        ).decode(),
    },
}


@router.post("/v1/generate", response_model=GenerationOut)
async def generate(services: ServicesDep, caller: CallerDep, body: GenerationBody) -> Response:
    """Answer a prompt."""
    async with aclosing(services.llm.generate(written_request(body, services, caller))) as events:
        pieces = [event.text async for event in events if isinstance(event, TextDelta)]
    return JSONResponse({"generated_text": "".join(pieces).strip()})


@router.post(
    "/v1/generate_stream",
    response_class=Response,  # without a media type of its own
    responses={200: {"content": _STREAMS}},
)
async def generate_stream(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    body: GenerationBody,
    accept: Annotated[str, Header(include_in_schema=False)] = "*/*",
) -> Response:
    """Answer a prompt as it is written: server-sent events `text`…, `usage`, `done`.

    With `Accept: application/x-ndjson` each line is `{"generated_text"}`, the reply so far.
    """
    generation = written_request(body, services, caller)
    if _NDJSON in accept:
        return _lines(request, services, generation)
    return _events(request, services, generation)


def _events(request: Request, services: Services, generation: GenerationRequest) -> Response:

    async def produce(push: Push) -> None:
        async with aclosing(services.llm.generate(generation)) as events:
            async for event in events:
                match event:
                    case TextDelta(text=text):
                        await push(sse("text", {"text": text}))
                    case GenerationEnd():
                        await push(sse("usage", _usage(event)))
        await push(sse("done", {}))

    request_id = request_id_of(request.scope)
    return PushResponse(
        produce, lambda problem: sse("error", problem.body(request_id)), "text/event-stream"
    )


def _lines(request: Request, services: Services, generation: GenerationRequest) -> Response:
    async def produce(push: Push) -> None:
        written = ""
        async with aclosing(services.llm.generate(generation)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    written += event.text
                    await push(json_line({"generated_text": written.strip()}))

    request_id = request_id_of(request.scope)
    return PushResponse(produce, lambda problem: json_line(problem.body(request_id)), _NDJSON)
