"""OpenAI's messages -> the conversation that the model continues.

Audio is heard first: its transcript stands in its place. Tools, calls and what came of them are
written as text.
"""

import asyncio
import base64
import binascii
import hashlib
import io
from collections.abc import Sequence

from deployments.errors import InvalidParameter, InvalidRequest, TextTooLong
from deployments.messages import ChatMessage, TranscriptionRequest
from serve_app.caller import Caller
from serve_app.media.sniff import sniff_demuxer
from serve_app.protocol.openai_chat import (
    AssistantMessage,
    AudioPart,
    ChatBody,
    InputAudio,
    RefusalPart,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
)
from serve_app.protocol.tool_calls import written_call, written_result
from serve_app.services import Services

_BASE64_LETTERS, _BASE64_BYTES = 4, 3
_AUDIO_OWNER = "audio:"


def audio_owner(caller: Caller) -> str:
    """Under whose name spoken answers are remembered: no session of the caller's has it."""
    return _AUDIO_OWNER + caller.owner


def conversation_id(messages: tuple[ChatMessage, ...]) -> str:
    """What all requests of one conversation have in common: how it began."""
    first = next((message.content for message in messages if message.role == "user"), "")
    return hashlib.blake2b(first.encode("utf-8", "replace"), digest_size=16).hexdigest()


async def conversation(
    body: ChatBody, services: Services, caller: Caller
) -> tuple[ChatMessage, ...]:
    """What the model reads.

    Raises:
        SpeechError: a message cannot be read, or a stage failed at it.
    """
    _check_audio_size(body, services.settings.limits.max_inline_audio_bytes)
    reader = _Reader(services, caller)
    instructions = body.instructions()
    reader.count(instructions)
    messages = [ChatMessage("system", instructions)] if instructions else []
    for index, message in enumerate(body.messages):
        place = f"messages.{index}"
        match message:
            case SystemMessage():
                read = ChatMessage("system", reader.named(message, reader.text(message.content)))
            case UserMessage():
                text = await reader.heard(message, place)
                read = ChatMessage("user", reader.named(message, text))
            case AssistantMessage():
                text = await reader.answered(message, place)
                read = ChatMessage("assistant", reader.named(message, text))
            case ToolMessage():
                read = ChatMessage("user", reader.result(message, place))
        reader.count(read.content)
        messages.append(read)
    return _system_first(messages, instructed=bool(instructions))


def _system_first(messages: list[ChatMessage], *, instructed: bool) -> tuple[ChatMessage, ...]:
    """What the client says first comes before what it says of tools."""
    if instructed and len(messages) > 1 and messages[1].role == "system":
        messages[0], messages[1] = messages[1], messages[0]
    return tuple(messages)


def _check_audio_size(body: ChatBody, limit: int) -> None:
    """Refuse audio that is too large before any of it is worked on."""
    left = limit
    for index, message in enumerate(body.messages):
        if not isinstance(message, UserMessage) or isinstance(message.content, str):
            continue
        for at, part in enumerate(message.content):
            if isinstance(part, AudioPart):
                left -= len(part.input_audio.data) // _BASE64_LETTERS * _BASE64_BYTES
            if left < 0:
                place = f"messages.{index}.content.{at}"
                raise InvalidParameter(place, f"the audio is larger than {limit} bytes in all")


class _Reader:
    """Reads message after message."""

    def __init__(self, services: Services, caller: Caller) -> None:
        self._services, self._caller = services, caller
        self._limit = services.settings.limits.max_prompt_chars
        self._chars = 0
        self._called: dict[str, str] = {}

    def count(self, text: str) -> None:
        """Refuse a conversation that is too long.

        Raises:
            TextTooLong: this text is too much.
        """
        self._chars += len(text)
        if self._chars > self._limit:
            raise TextTooLong("messages", self._chars, self._limit)

    def named(self, message: SystemMessage | UserMessage | AssistantMessage, text: str) -> str:
        """The text with the speaker's name before it, where there is one."""
        return f"{message.name}: {text}" if message.name else text

    def text(self, content: str | Sequence[TextPart | RefusalPart] | None) -> str:
        """The text of a content without audio."""
        if content is None or isinstance(content, str):
            return content or ""
        return "\n".join(
            part.text if isinstance(part, TextPart) else part.refusal for part in content
        )

    async def heard(self, message: UserMessage, place: str) -> str:
        """What the user wrote and said.

        Raises:
            InvalidParameter: the audio cannot be read, or there is nothing but silence.
        """
        if isinstance(message.content, str):
            return message.content
        texts: list[str] = []
        silent = ""
        for at, part in enumerate(message.content):
            if isinstance(part, TextPart):
                texts.append(part.text)
                continue
            here = f"{place}.content.{at}"
            text = await self._transcribed(part.input_audio, here)
            silent = silent or ("" if text else here)
            texts.append(text)
        if silent and not any(texts):
            raise InvalidParameter(silent, "nobody speaks in the audio")
        return "\n".join(text for text in texts if text)

    async def _transcribed(self, audio: InputAudio, place: str) -> str:
        try:
            file = io.BytesIO(await asyncio.to_thread(base64.b64decode, audio.data, validate=True))
        except (binascii.Error, ValueError):
            raise InvalidParameter(f"{place}.input_audio.data", "it is not base64") from None
        try:
            found = sniff_demuxer(file)
            samples = await self._services.decoder.decode(file)
        except InvalidRequest as error:
            raise InvalidParameter(place, error.message) from None
        if found != audio.format:
            reason = f"the data is not {audio.format}, it looks like {found}"
            raise InvalidParameter(f"{place}.input_audio.format", reason)
        await self._caller.spend_audio(samples.duration_s)
        transcript = await self._services.stt.transcribe(TranscriptionRequest(samples))
        return transcript.text

    async def answered(self, message: AssistantMessage, place: str) -> str:
        """What the assistant wrote, said or called.

        Raises:
            InvalidParameter: there is nothing, or the spoken answer is not known (any more).
        """
        said = self.text(message.content) or message.refusal or ""
        if message.audio is not None and not said:
            said = await self._remembered(message.audio.id, f"{place}.audio")
        calls = message.tool_calls or []
        self._called.update({call.id: call.function.name for call in calls})
        if not calls and message.content is message.refusal is message.audio is None:
            raise InvalidParameter(f"{place}.content", "the message is empty")
        return said + "".join(
            written_call(call.function.name, call.function.arguments) for call in calls
        )

    async def _remembered(self, audio_id: str, place: str) -> str:
        session = await self._services.sessions.read_session(audio_owner(self._caller), audio_id)
        if session is None or not session.messages:
            raise InvalidParameter(place, f"the audio '{audio_id}' is not known, or has expired")
        return session.messages[-1].content

    def result(self, message: ToolMessage, place: str) -> str:
        """What a tool gave back.

        Raises:
            InvalidParameter: no earlier message holds the call.
        """
        name = self._called.get(message.tool_call_id)
        if name is None:
            raise InvalidParameter(
                f"{place}.tool_call_id", "no earlier message has a tool call with this id"
            )
        return written_result(name, self.text(message.content))
