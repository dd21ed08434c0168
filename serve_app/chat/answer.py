"""What is written and spoken -> OpenAI's answer: whole, or in chunks as it happens."""

import asyncio
import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from deployments.audio import Pcm
from deployments.errors import SpeechError
from deployments.messages import ChatMessage
from serve_app.caller import Caller
from serve_app.chat.conversation import audio_owner
from serve_app.chat.reply import ReplyEvent
from serve_app.dialogue.events import ReplyDelta, ReplyWritten, Spoken, VoiceFailed
from serve_app.media.encode import AudioEncoder
from serve_app.protocol.openai_chat import ChatBody
from serve_app.protocol.openai_chat_answer import (
    AnswerMessage,
    AudioDelta,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChoiceDelta,
    Delta,
    FunctionCall,
    FunctionDelta,
    SpokenAudio,
    ToolCall,
    ToolCallDelta,
    Warned,
)
from serve_app.protocol.openai_generation import (
    FinishReason,
    Usage,
    system_fingerprint,
    unix_time,
)
from serve_app.protocol.tool_calls import ArgumentsPiece, CallBegan
from serve_app.services import Services
from serve_app.speech_output import SpeechOutput
from serve_app.sse import sse_data
from serve_app.streaming import Push

DONE = b"data: [DONE]\n\n"
_NOTHING_TO_SAY = Warned(
    code="nothing_to_say", message="The answer holds nothing that can be spoken."
)
_GROUP_BYTES = 3  # four letters of base64


def new_id(kind: str) -> str:
    """An id that nobody can guess."""
    return f"{kind}{secrets.token_hex(12)}"


class Heading:
    """What every piece of an answer begins with."""

    def __init__(self, body: ChatBody, services: Services, model: str) -> None:
        self.id, self.created, self.model = new_id("chatcmpl-"), unix_time(), model
        self.system_fingerprint = system_fingerprint(services.settings.llm)
        self._tier = body.service_tier

    def whole(self, choices: list[Choice], usage: Usage) -> ChatCompletion:
        """The whole answer."""
        answer = ChatCompletion(
            id=self.id,
            object="chat.completion",
            created=self.created,
            model=self.model,
            choices=choices,
            usage=usage,
            system_fingerprint=self.system_fingerprint,
        )
        if self._tier:
            answer.service_tier = "default"
        return answer

    def chunk(self, choices: list[ChoiceDelta]) -> ChatCompletionChunk:
        """A piece of the answer."""
        chunk = ChatCompletionChunk(
            id=self.id,
            object="chat.completion.chunk",
            created=self.created,
            model=self.model,
            choices=choices,
            system_fingerprint=self.system_fingerprint,
        )
        if self._tier:
            chunk.service_tier = "default"
        return chunk


class Memory:
    """Remembers spoken answers, so that a later request can name them."""

    def __init__(self, services: Services, caller: Caller) -> None:
        self._services, self._owner = services, audio_owner(caller)

    async def keep(self, audio_id: str, transcript: str) -> int:
        """Remember an answer; until when, in Unix seconds."""
        said = ChatMessage("assistant", transcript)
        try:
            await self._services.sessions.append_session(self._owner, audio_id, (said,), 0)
        except SpeechError:
            return unix_time()  # the answer itself is whole
        return unix_time() + int(self._services.settings.sessions.idle_s)


@dataclass(slots=True)
class Written:
    """What is known of one reply."""

    finish: FinishReason = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    calls: int = 0
    spoken: bool = False
    warning: Warned | None = None
    words: list[str] = field(default_factory=list[str])

    def note(self, event: ReplyEvent) -> None:
        """Take one event."""
        match event:
            case ReplyDelta(text=text):
                self.words.append(text)
            case CallBegan():
                self.calls += 1
            case ReplyWritten():
                self.finish = event.finish_reason
                self.prompt_tokens = event.prompt_tokens
                self.completion_tokens = event.completion_tokens
            case Spoken():
                self.spoken = True
            case VoiceFailed(code=code, message=message):
                self.warning = Warned(code=code, message=message)
            case ArgumentsPiece():
                pass

    @property
    def text(self) -> str:
        """The words so far."""
        return "".join(self.words)

    @property
    def finish_reason(self) -> FinishReason:
        """Why the reply ended."""
        return "tool_calls" if self.calls and self.finish == "stop" else self.finish

    def warned(self, *, speaking: bool) -> Warned | None:
        """What there is to say of the voice, at the end."""
        silent = speaking and not self.spoken and not self.calls
        return self.warning or (_NOTHING_TO_SAY if silent else None)


def usage_of(replies: Sequence[Written]) -> Usage:
    """The tokens of all replies to one prompt."""
    return Usage.of(
        max(reply.prompt_tokens for reply in replies),
        sum(reply.completion_tokens for reply in replies),
    )


# ---- whole --------------------------------------------------------------------------------------


class WholeChoice:
    """Collects one reply and answers once."""

    def __init__(self, output: SpeechOutput | None, memory: Memory) -> None:
        self.written = Written()
        self._output, self._memory = output, memory
        self._pieces: list[Pcm] = []
        self._calls: list[ToolCall] = []

    async def note(self, event: ReplyEvent) -> None:
        """Take one event."""
        self.written.note(event)
        match event:
            case CallBegan(name=name):
                function = FunctionCall(name=name, arguments="")
                self._calls.append(ToolCall(id=new_id("call_"), type="function", function=function))
            case ArgumentsPiece(index=index, text=text):
                self._calls[index].function.arguments += text
            case Spoken(audio=audio):
                self._pieces.append(audio)
            case _:
                pass

    async def choice(self, index: int) -> Choice:
        """The reply; call it after the last event."""
        text = self.written.text
        message = AnswerMessage(role="assistant", content=text or None, refusal=None)
        if not text and not self._calls:
            message.content = ""
        if self._calls:
            message.tool_calls = self._calls
        if self._output is not None:
            message.audio = await self._audio(self._output, text)
            if message.audio:
                message.content = None
        choice = Choice(
            index=index, message=message, logprobs=None, finish_reason=self.written.finish_reason
        )
        if warning := self.written.warned(speaking=self._output is not None):
            choice.warning = warning
        return choice

    async def _audio(self, output: SpeechOutput, text: str) -> SpokenAudio | None:
        if not self._pieces:
            return None
        audio = await output.whole(self._pieces, self._pieces[0].sample_rate)
        audio_id = new_id("audio_")
        return SpokenAudio(
            id=audio_id,
            data=(await asyncio.to_thread(base64.b64encode, audio.data)).decode(),
            expires_at=await self._memory.keep(audio_id, text),
            transcript=text,
        )


# ---- in chunks ----------------------------------------------------------------------------------


class StreamedAnswer:
    """Sends chunks: the role of every choice first, at the end their usage where it is asked for."""

    def __init__(self, body: ChatBody, heading: Heading, push: Push) -> None:
        self._heading, self._push = heading, push
        self._usage = body.include_usage
        self._choices = body.choices
        # Whether it will be a text is not known.
        self._content = None if body.spoken or body.callable_tools else ""
        self._lock = asyncio.Lock()
        self._began = False

    async def begin(self) -> None:
        """Send the roles, once; with the first word, so that an earlier error has its own status."""
        async with self._lock:
            if self._began:
                return
            for index in range(self._choices):
                delta = Delta(role="assistant", content=self._content, refusal=None)
                await self._send(ChoiceDelta(index=index, delta=delta))
            self._began = True

    async def send(self, choice: ChoiceDelta) -> None:
        """Send what is new of a choice."""
        await self.begin()
        await self._send(choice)

    async def finish(self, replies: Sequence[Written]) -> None:
        """Send the usage and the end."""
        if self._usage:
            chunk = self._heading.chunk([])
            chunk.usage = usage_of(replies)
            await self._push(sse_data(chunk.model_dump(exclude_unset=True)))
        await self._push(DONE)

    async def _send(self, choice: ChoiceDelta) -> None:
        # Null, not left out.
        choice.logprobs, choice.finish_reason = None, choice.finish_reason
        chunk = self._heading.chunk([choice])
        if self._usage:
            chunk.usage = None
        await self._push(sse_data(chunk.model_dump(exclude_unset=True)))


class StreamedChoice:
    """Sends one reply as it is written and spoken."""

    def __init__(
        self, index: int, answer: StreamedAnswer, output: SpeechOutput | None, memory: Memory
    ) -> None:
        self.written = Written()
        self._index, self._answer = index, answer
        self._output, self._memory = output, memory
        self._voice = _StreamedVoice(output) if output else None
        self._audio_id = ""

    async def note(self, event: ReplyEvent) -> None:
        """Send one event."""
        self.written.note(event)
        match event:
            case ReplyDelta(text=text):
                if self._voice:
                    await self._send_audio(AudioDelta(transcript=text))
                else:
                    await self._send(Delta(content=text))
            case CallBegan(index=index, name=name):
                function = FunctionDelta(name=name, arguments="")
                call = ToolCallDelta(
                    index=index, id=new_id("call_"), type="function", function=function
                )
                await self._send(Delta(tool_calls=[call]))
            case ArgumentsPiece(index=index, text=text):
                call = ToolCallDelta(index=index, function=FunctionDelta(arguments=text))
                await self._send(Delta(tool_calls=[call]))
            case Spoken(audio=audio):
                if self._voice and (data := await self._voice.encode(audio)):
                    await self._send_audio(AudioDelta(data=data))
            case ReplyWritten() | VoiceFailed():
                pass

    async def finish(self) -> None:
        """Send the end of the reply; call it after the last event."""
        if self._voice and (data := await self._voice.end()):
            await self._send_audio(AudioDelta(data=data))
        if self._audio_id:
            expires_at = await self._memory.keep(self._audio_id, self.written.text)
            await self._send_audio(AudioDelta(expires_at=expires_at))
        last = ChoiceDelta(
            index=self._index, delta=Delta(), finish_reason=self.written.finish_reason
        )
        if warning := self.written.warned(speaking=self._voice is not None):
            last.warning = warning
        await self._answer.send(last)

    async def _send(self, delta: Delta) -> None:
        await self._answer.send(ChoiceDelta(index=self._index, delta=delta))

    async def _send_audio(self, delta: AudioDelta) -> None:
        if not self._audio_id:
            self._audio_id = delta.id = new_id("audio_")
        await self._send(Delta(audio=delta))


class _StreamedVoice:
    """Pieces of audio as base64 that joins to one text."""

    def __init__(self, output: SpeechOutput) -> None:
        self._output = output
        self._encoder: AudioEncoder | None = None
        self._rest = b""

    async def encode(self, piece: Pcm) -> str:
        self._encoder = self._encoder or self._output.encoder(piece.sample_rate)
        return self._letters(await self._output.encode(self._encoder, piece), whole=False)

    async def end(self) -> str:
        end = await self._output.end(self._encoder) if self._encoder else b""
        return self._letters(end, whole=True)

    def _letters(self, data: bytes, *, whole: bool) -> str:
        data = self._rest + data
        cut = len(data) if whole else len(data) - len(data) % _GROUP_BYTES
        self._rest = data[cut:]
        return base64.b64encode(data[:cut]).decode()
