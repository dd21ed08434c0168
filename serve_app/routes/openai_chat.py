"""OpenAI's chat completions."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from deployments.messages import ChatMessage, GenerationRequest, Origin, SpeechRequest
from serve_app.caller import Caller, CallerDep
from serve_app.chat.answer import (
    DONE,
    Heading,
    Memory,
    StreamedAnswer,
    StreamedChoice,
    WholeChoice,
    usage_of,
)
from serve_app.chat.conversation import conversation, conversation_id
from serve_app.chat.reply import Note, all_together, speak_reply, write_reply
from serve_app.protocol.gemmavoice import SynthesisFields
from serve_app.protocol.openai_chat import ChatBody
from serve_app.protocol.openai_chat_answer import ChatCompletion
from serve_app.request_id import request_id_of
from serve_app.services import Services, ServicesDep
from serve_app.speech_output import SpeechOutput
from serve_app.sse import sse_data
from serve_app.streaming import Push, PushResponse

router = APIRouter(tags=["openai"])

_PCM16_RATE = 24_000
_STREAM: dict[str, Any] = {
    "text/event-stream": {
        "schema": {"type": "string"},
        "example": (
            sse_data(
                {
                    "id": "chatcmpl-4f1d2c3b4a59687766554433",
                    "object": "chat.completion.chunk",
                    "created": 1_790_000_000,
                    "model": "smollm2-135m-instruct",
                    "choices": [
                        {
                            "index": 0,
                            "delta": {"content": "Paris."},
                            "logprobs": None,
                            "finish_reason": None,
                        }
                    ],
                    "system_fingerprint": "fp_0a1b2c3d4e",
                }
            )
            + DONE
        ).decode(),
    }
}


@router.post(
    "/v1/chat/completions",
    response_model=ChatCompletion,
    responses={200: {"content": _STREAM}},
)
async def chat_completions(
    request: Request, services: ServicesDep, caller: CallerDep, body: ChatBody
) -> Response:
    """Continue a conversation: in text, JSON, calls of tools, or spoken.

    The model reads the request's messages, what they say aloud, and of tools and a JSON schema where
    there are any; no other instructions are added. With `stream` the answer comes in chunks as it is
    written. A voice that fails leaves the text, with a `warning` beside it.
    """
    model = services.models.resolve("llm", body.model)
    output, voice = await _voice(body, services, caller)
    messages = await conversation(body, services, caller)
    replies = _Replies(services, caller, voice, _requests(body, services, caller, messages))
    heading = Heading(body, services, model.id)
    memory = Memory(services, caller)
    if not body.stream:
        choices = [WholeChoice(output, memory) for _ in range(body.choices)]
        await replies.write([choice.note for choice in choices])
        answered = [await choice.choice(index) for index, choice in enumerate(choices)]
        answer = heading.whole(answered, usage_of([choice.written for choice in choices]))
        return JSONResponse(answer.model_dump(exclude_unset=True))

    async def produce(push: Push) -> None:
        answer = StreamedAnswer(body, heading, push)
        choices = [StreamedChoice(n, answer, output, memory) for n in range(body.choices)]
        await replies.write([choice.note for choice in choices])
        for choice in choices:
            await choice.finish()
        await answer.finish([choice.written for choice in choices])

    request_id = request_id_of(request.scope)
    return PushResponse(
        produce, lambda problem: sse_data(problem.body(request_id)), "text/event-stream"
    )


class _Replies:
    """The generations of one request, all at the same time."""

    def __init__(
        self,
        services: Services,
        caller: Caller,
        voice: SpeechRequest | None,
        requests: list[GenerationRequest],
    ) -> None:
        self._services, self._caller = services, caller
        self._voice, self._requests = voice, requests

    async def write(self, notes: list[Note]) -> None:
        await all_together(map(self._one, self._requests, notes))

    async def _one(self, request: GenerationRequest, note: Note) -> None:
        if self._voice is None:
            await write_reply(self._services, request, note)
        else:
            await speak_reply(self._services, self._caller, request, self._voice, note)


async def _voice(
    body: ChatBody, services: Services, caller: Caller
) -> tuple[SpeechOutput | None, SpeechRequest | None]:
    """How to speak; nothing where nothing is spoken.

    Raises:
        VoiceNotFound: there is no such voice.
    """
    if body.audio is None:
        return None, None
    bare = body.audio.format == "pcm16"
    wanted = (
        {"format": "pcm", "sample_rate": _PCM16_RATE} if bare else {"format": body.audio.format}
    )
    output = SpeechOutput(SynthesisFields.model_validate(wanted), services)
    voice = await services.voice_to_come(body.audio.voice_name, caller.owner)
    return output, output.speech(voice)


def _requests(
    body: ChatBody, services: Services, caller: Caller, messages: tuple[ChatMessage, ...]
) -> list[GenerationRequest]:
    settings = services.settings
    defaults = settings.spoken_sampling if body.spoken else settings.written_sampling
    held = body.output()
    origin = Origin(caller.owner, conversation_id(messages))
    return [
        GenerationRequest(
            messages,
            body.sampling(defaults, choice, held=held is not None),
            output=held,
            origin=origin,
        )
        for choice in range(body.choices)
    ]
