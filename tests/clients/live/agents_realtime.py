"""OpenAI's Agents SDK: agents_realtime.py URL WAV SCENARIO…

URL ends in `/v1/realtime`.
"""

import asyncio
import collections
import sys
from contextlib import asynccontextmanager
from typing import Any

import speech
from agents import function_tool, set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimeRunner

URL, WAV, *SCENARIOS = sys.argv[1:]
SETTINGS = {
    "model_name": "gpt-realtime",
    "turn_detection": {
        "type": "server_vad",
        "silence_duration_ms": 500,
        "interrupt_response": True,
    },
}

set_tracing_disabled(True)  # its exporter would call api.openai.com


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    return "sunny"


class Seen:
    """What the session told."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.events: collections.Counter[str] = collections.Counter()
        self.audio_s = 0.0
        self.tools: list[str] = []
        self.errors: list[str] = []
        self.microphone = speech.Microphone(session.send_audio)

    async def listen(self) -> None:
        async for event in self.session:
            self.events[event.type] += 1
            match event.type:
                case "audio":
                    self.audio_s += len(event.audio.data) / 2 / speech.RATE
                case "tool_end":
                    self.tools.append(str(event.output))
                case "error":
                    self.errors.append(str(event.error))
                case _:
                    pass

    @property
    def ends(self) -> int:
        return self.events["agent_end"]

    def result(self) -> dict[str, Any]:
        return {
            "events": dict(self.events),
            "audio_s": self.audio_s,
            "tools": self.tools,
            "errors": self.errors,
            "history": [_said(item) for item in self.session._history],
        }


def _said(item: Any) -> list[str]:
    parts = getattr(item, "content", [])
    texts = [getattr(part, "transcript", None) or getattr(part, "text", None) for part in parts]
    return [getattr(item, "role", item.type), " ".join(text or "" for text in texts)]


@asynccontextmanager
async def talking(tools: list[Any] | None = None):
    agent = RealtimeAgent(name="voice", instructions="You are brief.", tools=tools or [])
    runner = RealtimeRunner(agent, config={"tracing_disabled": True, "model_settings": SETTINGS})
    session = await runner.run(model_config={"url": f"{URL}?model=gpt-realtime", "api_key": "none"})
    async with session:
        seen = Seen(session)
        listening = asyncio.create_task(seen.listen())
        try:
            yield seen
        finally:
            listening.cancel()


async def turn() -> dict[str, Any]:
    """Write, then ask aloud, and hear both answers."""
    async with talking() as seen:
        await seen.session.send_message("Say hello.")
        await seen.microphone.wait(lambda: seen.ends >= 1)
        await seen.microphone.be_silent(seen.audio_s)
        await seen.microphone.say(speech.read(WAV))
        await seen.microphone.wait(lambda: seen.ends >= 2)
        return seen.result()


async def tools() -> dict[str, Any]:
    """Have a tool called, and hear the answer."""
    async with talking([weather]) as seen:
        await seen.session.send_message("Use weather for Paris, please.")
        await seen.microphone.wait(lambda: seen.tools and seen.audio_s)
        return seen.result()


async def main() -> None:
    known = {each.__name__: each for each in (turn, tools)}
    speech.report({name: await known[name]() for name in SCENARIOS})


asyncio.run(main())
