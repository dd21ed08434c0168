"""LiveKit Agents' own realtime model: livekit_realtime.py URL SLOW_URL WAV FOLDER SCENARIO…

There is no room: audio is played by the clock, and when the user speaks the program does what
LiveKit's AgentSession does, `interrupt()` and `truncate()` at what was played.
"""

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import speech
from livekit import rtc
from livekit.agents import llm
from livekit.plugins.openai import realtime
from openai.types.realtime import AudioTranscription
from openai.types.realtime.realtime_audio_input_turn_detection import ServerVad

URL, SLOW_URL, WAV, FOLDER, *SCENARIOS = sys.argv[1:]
SERVER_VAD = ServerVad(
    type="server_vad",
    threshold=0.5,
    silence_duration_ms=500,
    create_response=True,
    interrupt_response=True,
)


@llm.function_tool
async def weather(city: str) -> str:
    """The weather.

    Args:
        city: where
    """
    return "sunny"


class Agent:
    """A session, a loudspeaker, and what was seen of both."""

    def __init__(self, session: realtime.RealtimeSession) -> None:
        self.session = session
        self.microphone = speech.Microphone(self._hear)
        self.transcripts: list[str] = []
        self.partial: list[str] = []
        self.errors: list[str] = []
        self.calls: list[list[str]] = []
        self.replies: list[dict[str, Any]] = []
        self.audio = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self._playing: tuple[str, float, float] | None = None  # message, its start, its end
        session.on("input_audio_transcription_completed", self._heard)
        session.on("input_speech_started", self._interrupt)
        session.on("generation_created", lambda made: self._spawn(self._play(made)))
        session.on("error", lambda event: self.errors.append(repr(event.error)))

    @property
    def over(self) -> int:
        """Replies that came to their end, or were interrupted."""
        return sum(reply["over"] for reply in self.replies)

    @property
    def remembered(self) -> list[tuple[str, str]]:
        """Who said what, as LiveKit keeps it."""
        return [
            (item.role, item.text_content or "")
            for item in self.session.chat_ctx.items
            if item.type == "message"
        ]

    async def _hear(self, pcm: bytes) -> None:
        frame = rtc.AudioFrame(
            data=pcm,
            sample_rate=speech.RATE,
            num_channels=1,
            samples_per_channel=len(pcm) // 2,
        )
        self.session.push_audio(frame)

    def _heard(self, event: Any) -> None:
        (self.transcripts if event.is_final else self.partial).append(event.transcript)

    def _spawn(self, work: Any) -> None:
        self._tasks.add(asyncio.create_task(work))

    async def _play(self, generation: Any) -> None:
        reply = {"said": "", "audio_s": 0.0, "cut_ms": None, "over": False}
        self.replies.append(reply)
        self._spawn(self._call(generation))
        async for message in generation.message_stream:
            reading = asyncio.create_task(self._read(message, reply))
            start = until = 0.0
            async for frame in message.audio_stream:
                start = start or time.monotonic()
                until = max(time.monotonic(), until) + frame.duration
                reply["audio_s"] += frame.duration
                self.audio += bytes(frame.data)
                self._playing = message.message_id, start, until
            await reading
            while self._is_playing(message.message_id) and time.monotonic() < until:
                await asyncio.sleep(0.02)
            if self._is_playing(message.message_id):
                self._playing = None
        reply["over"] = True

    async def _read(self, message: Any, reply: dict[str, Any]) -> None:
        async for part in message.text_stream:
            reply["said"] += part

    def _is_playing(self, message_id: str) -> bool:
        return self._playing is not None and self._playing[0] == message_id

    async def _call(self, generation: Any) -> None:
        async for call in generation.function_stream:
            self.calls.append([call.name, call.arguments])
            context = self.session.chat_ctx.copy()
            context.items.append(
                llm.FunctionCallOutput(
                    call_id=call.call_id, name=call.name, output='"sunny"', is_error=False
                )
            )
            await self.session.update_chat_ctx(context)
            self.session.generate_reply()

    def _interrupt(self, _: Any) -> None:
        if self._playing is None:
            return
        (message_id, start, until), self._playing = self._playing, None
        played_ms = int((min(time.monotonic(), until) - start) * 1000)
        self.session.interrupt()
        self.session.truncate(message_id=message_id, modalities=["audio"], audio_end_ms=played_ms)
        self.replies[-1]["cut_ms"] = played_ms

    async def write(self, text: str) -> None:
        """Add a message of the user, and wait until the server has it."""
        context = self.session.chat_ctx.copy()
        context.add_message(role="user", content=text)
        await self.session.update_chat_ctx(context)


@asynccontextmanager
async def agent(url: str = URL, turn_detection: ServerVad | None = SERVER_VAD):
    model = realtime.RealtimeModel(
        base_url=url,
        api_key="none",
        input_audio_transcription=AudioTranscription(model="whisper-1"),
        turn_detection=turn_detection,
    )
    session = model.session()
    made = Agent(session)
    await session.update_instructions("You are brief.")
    try:
        yield made
    finally:
        await session.aclose()
        await model.aclose()


async def turn() -> dict[str, Any]:
    """Ask aloud, with a conversation that was there before, and hear the answer."""
    async with agent() as made:
        before = llm.ChatContext()
        before.add_message(role="user", content="My name is Ann.")
        before.add_message(role="assistant", content="Hello Ann.")
        await made.session.update_chat_ctx(before)
        await made.microphone.say(speech.read(WAV))
        await made.microphone.wait(lambda: made.over >= 1)
        return {
            "transcripts": made.transcripts,
            "partial": made.partial,
            "replies": made.replies,
            "audio": speech.write(Path(FOLDER) / "livekit.wav", made.audio),
            "remembered": made.remembered,
            "errors": made.errors,
        }


async def text() -> dict[str, Any]:
    """Write, and hear the answer."""
    async with agent() as made:
        await made.write("What is the capital of France?")
        await made.session.generate_reply(instructions="Answer in one sentence.")
        await made.microphone.wait(lambda: made.over >= 1)
        return {"replies": made.replies, "remembered": made.remembered, "errors": made.errors}


async def tools() -> dict[str, Any]:
    """Have a tool called, and hear the answer."""
    async with agent() as made:
        await made.session.update_tools([weather])
        await made.write("Use weather for Paris, please.")
        await made.session.generate_reply()
        await made.microphone.wait(lambda: made.over >= 2)
        return {"calls": made.calls, "replies": made.replies, "errors": made.errors}


async def interrupt() -> dict[str, Any]:
    """Speak into a long reply, and hear the next one."""
    async with agent(SLOW_URL) as made:
        await made.microphone.say(speech.read(WAV))
        await made.microphone.wait(lambda: len(made.audio) > 2 * speech.RATE)
        await made.microphone.say(speech.read(WAV))
        await made.microphone.wait(lambda: len(made.replies) >= 2 and made.replies[1]["audio_s"])
        return {
            "transcripts": made.transcripts,
            "replies": made.replies,
            "remembered": made.remembered,
            "errors": made.errors,
        }


async def manual() -> dict[str, Any]:
    """The client says when the user has finished."""
    async with agent(turn_detection=None) as made:
        await made.microphone.say(speech.read(WAV))
        made.session.commit_audio()
        await made.session.generate_reply()
        await made.microphone.wait(lambda: made.over >= 1)
        return {
            "transcripts": made.transcripts,
            "replies": made.replies,
            "errors": made.errors,
        }


async def main() -> None:
    known = {each.__name__: each for each in (turn, text, tools, interrupt, manual)}
    speech.report({name: await known[name]() for name in SCENARIOS})


asyncio.run(main())
