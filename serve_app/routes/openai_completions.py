"""OpenAI's text completions."""

import secrets
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from deployments.errors import TextTooLong
from deployments.messages import (
    FinishReason,
    GenerationEnd,
    GenerationRequest,
    Origin,
    TextDelta,
)
from serve_app.caller import Caller, CallerDep
from serve_app.chat.answer import DONE
from serve_app.chat.reply import all_together
from serve_app.protocol.openai_completions import CompletionBody, TextChoice, TextCompletion
from serve_app.protocol.openai_generation import Usage, system_fingerprint, unix_time
from serve_app.request_id import request_id_of
from serve_app.services import Services, ServicesDep
from serve_app.sse import sse_data
from serve_app.streaming import Push, PushResponse

router = APIRouter(tags=["openai"])

_STREAM: dict[str, Any] = {
    "text/event-stream": {
        "schema": {"type": "string"},
        "example": (
            sse_data(
                {
                    "id": "cmpl-4f1d2c3b4a59687766554433",
                    "object": "text_completion",
                    "created": 1_790_000_000,
                    "model": "smollm2-135m-instruct",
                    "choices": [
                        {"index": 0, "text": " Paris", "logprobs": None, "finish_reason": None}
                    ],
                    "system_fingerprint": "fp_0a1b2c3d4e",
                }
            )
            + DONE
        ).decode(),
    }
}


@dataclass(slots=True)
class _Text:
    """One text that is written."""

    index: int
    request: GenerationRequest
    written: str = ""
    finish_reason: FinishReason = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0


@router.post(
    "/v1/completions", response_model=TextCompletion, responses={200: {"content": _STREAM}}
)
async def completions(
    request: Request, services: ServicesDep, caller: CallerDep, body: CompletionBody
) -> Response:
    """Go on with a text, as it is; with `stream` in pieces as they are written."""
    model = services.models.resolve("llm", body.model)
    texts = _texts(body, services, caller)
    heading = TextCompletion(
        id=f"cmpl-{secrets.token_hex(12)}",
        object="text_completion",
        created=unix_time(),
        model=model.id,
        choices=[],
        system_fingerprint=system_fingerprint(services.settings.llm),
    )
    if not body.stream:
        await all_together(_written(services, text, None) for text in texts)
        heading.choices = [_choice(text, _echoed(body, text) + text.written) for text in texts]
        heading.usage = _usage(body, texts)
        return JSONResponse(heading.model_dump(exclude_unset=True))

    async def produce(push: Push) -> None:
        sent = _Chunks(body, heading, push)
        await all_together(_written(services, text, sent) for text in texts)
        if body.include_usage:
            usage = heading.model_copy(update={"usage": _usage(body, texts)})
            await push(sse_data(usage.model_dump(exclude_unset=True)))
        await push(DONE)

    request_id = request_id_of(request.scope)
    return PushResponse(
        produce, lambda problem: sse_data(problem.body(request_id)), "text/event-stream"
    )


def _texts(body: CompletionBody, services: Services, caller: Caller) -> list[_Text]:
    settings = services.settings
    chars = sum(map(len, body.prompts))
    if chars > settings.limits.max_prompt_chars:
        raise TextTooLong("prompt", chars, settings.limits.max_prompt_chars)
    samplings = [body.sampling(settings.written_sampling, choice) for choice in range(body.choices)]
    requests = [
        GenerationRequest(sampling=sampling, prompt=prompt, origin=Origin(caller.owner))
        for prompt in body.prompts
        for sampling in samplings
    ]
    return [_Text(index, request) for index, request in enumerate(requests)]


class _Chunks:
    """Sends each piece as a chunk."""

    def __init__(self, body: CompletionBody, heading: TextCompletion, push: Push) -> None:
        self._body, self._heading, self._push = body, heading, push

    async def begin(self, text: _Text) -> None:
        if echo := _echoed(self._body, text):
            await self.send(text, echo)

    async def send(
        self, text: _Text, piece: str, finish_reason: FinishReason | None = None
    ) -> None:
        choice = _choice(text, piece)
        choice.finish_reason = finish_reason
        chunk = self._heading.model_copy(update={"choices": [choice]})
        if self._body.include_usage:
            chunk.usage = None
        await self._push(sse_data(chunk.model_dump(exclude_unset=True)))


async def _written(services: Services, text: _Text, sent: _Chunks | None) -> None:
    """Write one text, and send it piece by piece where there is somebody to send it to."""
    began = False
    async with aclosing(services.llm.generate(text.request)) as events:
        async for event in events:
            if sent and not began:
                await sent.begin(text)
            began = True
            match event:
                case TextDelta(text=piece):
                    if sent:
                        await sent.send(text, piece)
                    else:
                        text.written += piece
                case GenerationEnd():
                    text.finish_reason = event.finish_reason
                    text.prompt_tokens = event.prompt_tokens
                    text.completion_tokens = event.completion_tokens
    if sent:
        await sent.send(text, "", text.finish_reason)


def _echoed(body: CompletionBody, text: _Text) -> str:
    return (text.request.prompt or "") if body.echo else ""


def _choice(text: _Text, words: str) -> TextChoice:
    return TextChoice(index=text.index, text=words, logprobs=None, finish_reason=text.finish_reason)


def _usage(body: CompletionBody, texts: list[_Text]) -> Usage:
    """A prompt counts once, however many texts it has."""
    first_of_each = texts[:: body.choices]
    return Usage.of(
        sum(text.prompt_tokens for text in first_of_each),
        sum(text.completion_tokens for text in texts),
    )
