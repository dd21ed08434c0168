"""pipecat's own realtime service: pipecat_realtime.py URL SLOW_URL WAV FOLDER SCENARIO…

The pipeline is that of pipecat's example: user aggregator, realtime service, assistant aggregator; a
loudspeaker stands in the place of the transport's output. URL ends in `/v1/realtime`.
"""

import asyncio
import sys
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import speech
from loguru import logger
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMRunFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner

URL, SLOW_URL, WAV, FOLDER, *SCENARIOS = sys.argv[1:]
GAP_S = 0.25  # a transport waits so long for more, before it says that the voice has stopped
TOLD = (
    InterruptionFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    LLMFullResponseStartFrame,
    LLMFullResponseEndFrame,
)

logger.remove()
logger.add(sys.stderr, level="WARNING")


@dataclass
class Seen:
    """What went through the pipeline."""

    frames: list[str] = field(default_factory=list)
    transcripts: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    said: str = ""
    audio: bytes = b""

    @property
    def ends(self) -> int:
        return self.frames.count("BotStoppedSpeaking")


class Transcripts(FrameProcessor):
    """Between the user aggregator, which swallows them, and the service, which sends them upstream."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self._seen = seen

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case TranscriptionFrame():
                self._seen.transcripts.append(frame.text)
            case InterimTranscriptionFrame():
                self._seen.partial.append(frame.text)
            case ErrorFrame():
                self._seen.errors.append(str(frame.error))
            case _:
                pass
        await self.push_frame(frame, direction)


class Loudspeaker(FrameProcessor):
    """Plays by the clock, and says when the voice starts and stops, as a transport does."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self._seen = seen
        self._until = 0.0
        self._playing: Any = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case TTSAudioRawFrame():
                self._seen.audio += frame.audio
                seconds = len(frame.audio) / 2 / speech.RATE
                self._until = max(time.monotonic(), self._until) + seconds
                if self._playing is None:
                    self._playing = self.create_task(self._play())
            case TTSTextFrame():
                self._seen.said += frame.text
            case InterruptionFrame() if self._playing is not None:
                self._until, task, self._playing = 0.0, self._playing, None
                await self.cancel_task(task)
                await self._stopped()
            case _:
                pass
        if isinstance(frame, TOLD):
            self._seen.frames.append(type(frame).__name__.removesuffix("Frame"))
        await self.push_frame(frame, direction)

    async def _play(self) -> None:
        await self.push_frame(BotStartedSpeakingFrame(), FrameDirection.UPSTREAM)
        while (left := self._until - time.monotonic()) > -GAP_S:
            await asyncio.sleep(max(0.02, left))
        self._playing = None
        await self._stopped()

    async def _stopped(self) -> None:
        self._seen.frames.append("BotStoppedSpeaking")
        await self.push_frame(BotStoppedSpeakingFrame(), FrameDirection.UPSTREAM)


class Bot:
    """A pipeline that runs."""

    def __init__(self, url: str, messages: list[Any], tools: ToolsSchema | None) -> None:
        self.seen = Seen()
        hearing = events.AudioInput(
            transcription=events.InputAudioTranscription(),
            turn_detection=events.TurnDetection(silence_duration_ms=500),
        )
        self.service = OpenAIRealtimeLLMService(
            api_key="none",
            base_url=url,
            settings=OpenAIRealtimeLLMService.Settings(
                model="gpt-realtime",
                system_instruction="You are brief.",
                session_properties=events.SessionProperties(
                    audio=events.AudioConfiguration(input=hearing)
                ),
            ),
        )
        self.context = LLMContext(messages, **({"tools": tools} if tools else {}))
        pair = LLMContextAggregatorPair(self.context)
        stages = [
            pair.user(),
            Transcripts(self.seen),
            self.service,
            Loudspeaker(self.seen),
            pair.assistant(),
        ]
        self.worker = PipelineWorker(
            Pipeline(stages),
            params=PipelineParams(
                audio_in_sample_rate=speech.RATE, audio_out_sample_rate=speech.RATE
            ),
            idle_timeout_secs=None,
            enable_rtvi=False,
        )
        self.microphone = speech.Microphone(self._hear)

    async def _hear(self, pcm: bytes) -> None:
        frame = InputAudioRawFrame(audio=pcm, sample_rate=speech.RATE, num_channels=1)
        await self.worker.queue_frame(frame)

    @property
    def remembered(self) -> list[tuple[str, str]]:
        """Who said what, as pipecat keeps it."""
        return [
            (message["role"], str(message.get("content")))
            for message in self.context.get_messages()
            if isinstance(message, dict)
        ]


@asynccontextmanager
async def bot(url: str = URL, messages: list[Any] | None = None, tools: ToolsSchema | None = None):
    made = Bot(url, messages or [], tools)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(made.worker)
    running = asyncio.create_task(runner.run())
    await asyncio.sleep(1)
    try:
        yield made
    finally:
        await made.worker.queue_frame(EndFrame())
        with suppress(TimeoutError):
            await asyncio.wait_for(running, 10)


async def turn() -> dict[str, Any]:
    """Ask aloud twice, and hear both answers."""
    async with bot() as made:
        seen, microphone = made.seen, made.microphone
        for ends in (1, 2):
            await microphone.say(speech.read(WAV))
            await microphone.wait(lambda ends=ends: seen.ends >= ends)
        return {
            "frames": seen.frames,
            "transcripts": seen.transcripts,
            "partial": seen.partial,
            "said": seen.said,
            "audio": speech.write(Path(FOLDER) / "pipecat.wav", seen.audio),
            "audio_s": len(seen.audio) / 2 / speech.RATE,
            "remembered": made.remembered,
            "errors": seen.errors,
        }


async def interrupt() -> dict[str, Any]:
    """Speak into a long reply, and hear the next one."""
    async with bot(SLOW_URL) as made:
        seen, microphone = made.seen, made.microphone
        await microphone.say(speech.read(WAV))
        await microphone.wait(lambda: len(seen.audio) > 2 * speech.RATE)
        await microphone.say(speech.read(WAV))
        await microphone.wait(lambda: seen.ends >= 1, 5)
        audio_s = len(seen.audio) / 2 / speech.RATE
        await microphone.wait(lambda: len(seen.audio) / 2 / speech.RATE > audio_s + 0.5)
        return {
            "frames": seen.frames,
            "transcripts": seen.transcripts,
            "audio_s": audio_s,
            "next_audio_s": len(seen.audio) / 2 / speech.RATE - audio_s,
            "errors": seen.errors,
        }


async def tools() -> dict[str, Any]:
    """Have a tool called, and hear the answer."""
    parameters = {"city": {"type": "string", "enum": ["Paris"]}}
    weather = FunctionSchema(
        name="weather", description="The weather.", properties=parameters, required=["city"]
    )
    asked = [{"role": "user", "content": "Use weather, please."}]
    async with bot(messages=asked, tools=ToolsSchema(standard_tools=[weather])) as made:

        async def look(params: Any) -> None:
            made.seen.calls.append(dict(params.arguments))
            await params.result_callback({"sky": "sunny"})

        made.service.register_function("weather", look)
        await made.worker.queue_frames([LLMRunFrame()])
        await made.microphone.wait(lambda: made.seen.ends >= 1)
        return {
            "calls": made.seen.calls,
            "said": made.seen.said,
            "audio_s": len(made.seen.audio) / 2 / speech.RATE,
            "errors": made.seen.errors,
        }


async def main() -> None:
    known = {each.__name__: each for each in (turn, interrupt, tools)}
    speech.report({name: await known[name]() for name in SCENARIOS})


asyncio.run(main())
