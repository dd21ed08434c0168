"""The official `openai` client: openai_realtime.py DIALECT URL SLOW_URL WAV FOLDER SCENARIO…

DIALECT is `ga` or `beta`; URL and SLOW_URL are base addresses that end in `/v1`.
"""

import asyncio
import base64
import sys
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import speech
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter, ValidationError

DIALECT, URL, SLOW_URL, WAV, FOLDER, *SCENARIOS = sys.argv[1:]
GA = DIALECT == "ga"
AUDIO, SPOKEN = (
    ("response.output_audio.delta", "response.output_audio_transcript.delta")
    if GA
    else ("response.audio.delta", "response.audio_transcript.delta")
)
WRITTEN = "response.output_text.delta" if GA else "response.text.delta"
HEARD = "conversation.item.input_audio_transcription.completed"
ENDED, STARTED = "response.done", "input_audio_buffer.speech_started"
TOOL = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
KNOWN = TypeAdapter[Any](RealtimeServerEvent)


class Line:
    """A connection, all that came over it, and a microphone."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.events: list[tuple[float, Any]] = []
        self.microphone = speech.Microphone(self._append)
        self.invalid: list[str] = []

    async def listen(self) -> None:
        while True:
            data = await self.connection.recv_bytes()
            self.events.append((time.monotonic(), self.connection.parse_event(data)))
            if GA:
                self._validate(data)

    def _validate(self, data: bytes) -> None:
        try:
            KNOWN.validate_json(data)
        except ValidationError as error:
            self.invalid.append(f"{data[:300]!r}: {error}")

    def of(self, *types: str) -> list[Any]:
        return [event for _, event in self.events if event.type in types]

    def text(self, *types: str) -> str:
        return "".join(event.delta for event in self.of(*types))

    @property
    def audio(self) -> bytes:
        return b"".join(base64.b64decode(event.delta) for event in self.of(AUDIO))

    @property
    def order(self) -> list[str]:
        """Types of the events; what repeats at once is told once."""
        types = [event.type for _, event in self.events]
        return [each for i, each in enumerate(types) if i == 0 or types[i - 1] != each]

    async def until(self, check: Callable[[], object], within_s: float = 60) -> None:
        async with asyncio.timeout(within_s):
            while not check():
                await asyncio.sleep(0.02)

    async def ended(self, count: int) -> Any:
        """The response that ended as the so many-th."""
        await self.until(lambda: len(self.of(ENDED)) >= count)
        return self.of(ENDED)[count - 1].response

    async def error(self, count: int) -> dict[str, Any]:
        await self.until(lambda: len(self.of("error")) >= count, 10)
        return self.of("error")[count - 1].error.model_dump()

    async def _append(self, pcm: bytes) -> None:
        await self.connection.input_audio_buffer.append(audio=base64.b64encode(pcm).decode())

    async def configure(self, **session: Any) -> None:
        before = len(self.of("session.updated"))
        await self.connection.session.update(
            session={"type": "realtime", **session} if GA else session
        )
        await self.until(lambda: len(self.of("session.updated", "error")) > before, 10)

    async def write(self, text: str) -> None:
        await self.connection.conversation.item.create(
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": text}],
            }
        )

    async def answer_in_text(self, text: str, count: int) -> str:
        """Write something, and have it answered in writing."""
        await self.write(text)
        key = "output_modalities" if GA else "modalities"
        await self.connection.response.create(response={key: ["text"]})
        before = len(self.text(WRITTEN))
        await self.ended(count)
        return self.text(WRITTEN)[before:]


@asynccontextmanager
async def line(url: str = URL):
    address = url.replace("http", "ws", 1)
    client = AsyncOpenAI(base_url=url, api_key="none", websocket_base_url=address)
    realtime = client.realtime if GA else client.beta.realtime
    async with realtime.connect(model="gpt-realtime") as connection:
        opened = Line(connection)
        listening = asyncio.create_task(opened.listen())
        try:
            await opened.until(lambda: opened.of("session.created"), 10)
            yield opened
        finally:
            listening.cancel()


async def turn() -> dict[str, Any]:
    """Ask aloud, and hear the answer."""
    async with line() as on:
        await on.microphone.say(speech.read(WAV))
        said = time.monotonic()
        await on.microphone.wait(lambda: on.of(ENDED))
        response = on.of(ENDED)[0].response
        return {
            "order": on.order,
            "transcripts": [event.transcript for event in on.of(HEARD)],
            "partial": on.text("conversation.item.input_audio_transcription.delta"),
            "said": on.text(SPOKEN),
            "audio": speech.write(Path(FOLDER) / f"{DIALECT}.wav", on.audio),
            "audio_s": len(on.audio) / 2 / speech.RATE,
            "after_s": next(at for at, event in on.events if event.type == AUDIO) - said,
            "status": response.status,
            "output_tokens": response.usage.output_tokens,
            "invalid": on.invalid,
        }


async def text() -> dict[str, Any]:
    """Write, and read the answer; then the conversation goes on aloud."""
    async with line() as on:
        answer = await on.answer_in_text("What is the capital of France?", 1)
        await on.write("And of Italy?")
        await on.connection.response.create()
        response = await on.ended(2)
        return {
            "order": on.order,
            "answer": answer,
            "said": on.text(SPOKEN),
            "audio_s": len(on.audio) / 2 / speech.RATE,
            "status": response.status,
            "invalid": on.invalid,
        }


async def tools() -> dict[str, Any]:
    """Have a tool called, give its result, and read the answer."""
    async with line() as on:
        await on.configure(tools=[TOOL], tool_choice="required")
        await on.write("How is the weather in Paris?")
        await on.connection.response.create()
        call = (await on.ended(1)).output[0]
        done = on.of("response.function_call_arguments.done")[0]
        await on.connection.conversation.item.create(
            item={"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        )
        await on.connection.response.create(response={"tool_choice": "none"})
        answered = await on.ended(2)
        return {
            "order": on.order,
            "name": call.name,
            "arguments": call.arguments,
            "streamed": on.text("response.function_call_arguments.delta"),
            "done": done.arguments,
            "same_call": done.call_id == call.call_id,
            "said": on.text(SPOKEN),
            "status": answered.status,
            "invalid": on.invalid,
        }


async def interrupt() -> dict[str, Any]:
    """Speak while a long reply is heard; then say how much of it was played."""
    async with line(SLOW_URL) as on:
        await on.write("Tell me a long story about the sea.")
        await on.connection.response.create()
        await on.microphone.wait(lambda: len(on.audio) > 2 * speech.RATE)
        await on.microphone.say(speech.read(WAV))
        await on.microphone.wait(lambda: on.of(ENDED), 10)
        response, item = on.of(ENDED)[0].response, on.of("response.output_item.done")[0].item
        told = next(at for at, event in on.events if event.type == STARTED)
        late = [
            at - told
            for at, event in on.events
            if event.type == AUDIO and event.response_id == response.id and at > told
        ]
        await on.connection.conversation.item.truncate(
            item_id=item.id, content_index=0, audio_end_ms=100
        )
        await on.until(lambda: on.of("conversation.item.truncated"), 10)
        await on.connection.conversation.item.retrieve(item_id=item.id)
        await on.until(lambda: on.of("conversation.item.retrieved"), 10)
        kept = on.of("conversation.item.retrieved")[0].item.content[0].transcript
        return {
            "order": on.order,
            "status": response.status,
            "details": response.status_details.model_dump(),
            "item_status": item.status,
            "late_s": max(late, default=0.0),
            "whole": on.text(SPOKEN),
            "kept": kept,
            "errors": [event.error.message for event in on.of("error")],
            "invalid": on.invalid,
        }


async def errors() -> dict[str, Any]:
    """Do what cannot be done; the session goes on."""
    async with line() as on:
        connection, told = on.connection, []
        await connection.response.cancel(event_id="cancel_1")
        told.append(await on.error(1))
        await connection.conversation.item.delete(item_id="item_none", event_id="delete_1")
        told.append(await on.error(2))
        await connection.input_audio_buffer.commit(event_id="commit_1")
        told.append(await on.error(3))
        await connection.send({"type": "input_audio_buffer.append", "audio": "*", "event_id": "a"})
        told.append(await on.error(4))
        await connection.send({"type": "no.such.event", "event_id": "unknown_1"})
        told.append(await on.error(5))
        await connection.send({"type": "response.create", "response": 7, "event_id": "form_1"})
        told.append(await on.error(6))
        answer = await on.answer_in_text("What is the capital of France?", 1)
        return {"told": told, "answer": answer, "invalid": on.invalid}


async def main() -> None:
    known = {each.__name__: each for each in (turn, text, tools, interrupt, errors)}
    speech.report({name: await known[name]() for name in SCENARIOS})


asyncio.run(main())
