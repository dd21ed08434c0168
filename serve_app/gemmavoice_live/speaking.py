"""`/v1/text-to-speech/ws`: texts in, audio out."""

import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from functools import partial

from deployments.audio import Pcm
from deployments.errors import InvalidParameter, TextTooLong
from deployments.sentences import is_speakable
from serve_app.caller import Caller
from serve_app.counted_speech import counted_speech
from serve_app.gemmavoice_live.manners import read_object, speech_manners
from serve_app.problems import problem_of
from serve_app.protocol.gemmavoice_sockets import CLEAR, SPEAK, SpeakMessage
from serve_app.services import Services, Voice
from serve_app.socket import Socket
from serve_app.socket_messages import read_form
from serve_app.socket_talk import Jobs
from serve_app.speech_output import SpeechOutput
from serve_app.wanted_voice import wanted_voice

MANNERS = speech_manners("text_to_speech")


class Speaking:
    """Speaks one text after the other. The pieces of a streamed text are one file when joined."""

    def __init__(self, services: Services, caller: Caller, socket: Socket, jobs: Jobs) -> None:
        self._services, self._caller = services, caller
        self._socket, self._jobs = socket, jobs

    def take(self, message: str | bytes) -> None:
        """A text to speak, or the wish that it stops."""
        fields = read_object(message)
        if fields.get("event") == "clear":
            read_form(CLEAR, fields)
            self._jobs.drop()
            self._socket.send({"event": "cleared"})
            return
        body = read_form(SPEAK, fields)
        limit = self._services.settings.limits.max_text_chars
        if len(body.text) > limit:
            raise TextTooLong("text", len(body.text), limit)
        if not is_speakable(body.text):
            raise InvalidParameter("text", "it holds nothing that can be spoken")
        self._jobs.add(partial(self._speak, body, SpeechOutput(body, self._services)))

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being worked on."""
        return self._jobs.is_idle

    async def settled(self) -> None:
        """Return when everything is spoken."""
        await self._jobs.settled()

    async def _speak(self, body: SpeakMessage, output: SpeechOutput) -> None:
        voice = await wanted_voice(self._services, self._caller, body)
        sample_rate = output.sample_rate(voice.sample_rate)
        described = output.described(sample_rate).model_dump(exclude_none=True)
        del described["audio_base64"]
        speech = output.speech(voice, body.text)
        async with aclosing(counted_speech(self._services, self._caller, speech)) as pieces:
            if body.stream:
                self._socket.send({"event": "metadata", "data": described})
                await self._stream(pieces, output, voice)
            else:
                audio = await output.whole([piece async for piece in pieces], voice.sample_rate)
                answer = output.answer(audio).model_dump(exclude_none=True)
                self._socket.send({"event": "synthesis", "data": answer})

    async def _stream(
        self, pieces: AsyncGenerator[Pcm, None], output: SpeechOutput, voice: Voice
    ) -> None:
        encoder = output.encoder(voice.sample_rate)
        async for piece in pieces:
            self._send(await output.encode(encoder, piece))
            await self._socket.room()
        self._send(encoder.flush())
        self._socket.send({"event": "done"})

    def _send(self, data: bytes) -> None:
        if data:
            encoded = base64.b64encode(data).decode()
            self._socket.send({"event": "audio_chunk", "data": {"audio_base64": encoded}})


@asynccontextmanager
async def speaking(
    services: Services, caller: Caller, socket: Socket
) -> AsyncGenerator[Speaking, None]:
    """Speak while the socket is open."""

    def failed(error: Exception) -> None:
        socket.send(MANNERS.error(problem_of(error)))

    async with Jobs(failed) as jobs:
        yield Speaking(services, caller, socket, jobs)
