"""`/v1/speech-to-text/ws`: audio in, a transcript whenever it is asked for."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

from serve_app.caller import Caller
from serve_app.gemmavoice_live.inbox import Inbox, Recording, pcm_rate
from serve_app.gemmavoice_live.manners import read_object, speech_manners
from serve_app.gemmavoice_live.transcribing import Ears, transcript_fields
from serve_app.problems import problem_of
from serve_app.protocol.gemmavoice_sockets import CLEAR, COMMIT, CommitMessage
from serve_app.services import Services
from serve_app.socket import Socket
from serve_app.socket_messages import read_base64, read_form
from serve_app.socket_talk import Jobs

MANNERS = speech_manners("speech_to_text")


class Hearing:
    """Hears one recording after the other."""

    def __init__(self, ears: Ears, socket: Socket, jobs: Jobs) -> None:
        self._ears, self._socket, self._jobs = ears, socket, jobs
        self._limit = ears.services.settings.audio.max_upload_bytes
        self._inbox = Inbox(self._limit)

    def take(self, message: str | bytes) -> None:
        """A piece of audio, or what to do with all of it."""
        if isinstance(message, bytes):
            self._inbox.add(message)
            self._socket.send({"event": "received", "bytes": len(message)})
            return
        fields = read_object(message)
        if fields.get("event") == "clear":
            read_form(CLEAR, fields)
            self._inbox.clear()
            self._socket.send({"event": "cleared"})
        elif "audio_base64" in fields or fields.get("event") == "commit":
            self._commit(read_form(COMMIT, fields))
        else:
            # The event is not known, and neither are its fields.
            read_form(CLEAR, {"event": fields.get("event")})

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being worked on."""
        return self._jobs.is_idle

    async def settled(self) -> None:
        """Return when everything that was committed is heard."""
        await self._jobs.settled()

    def _commit(self, how: CommitMessage) -> None:
        rate = pcm_rate(how.format, how.sample_rate, how.content_type, how.filename)
        if how.audio_base64:
            audio = read_base64("audio_base64", how.audio_base64, self._limit)
            self._inbox.check(len(audio))
            recording = self._inbox.work_on(Recording((audio,), rate))
        else:
            recording = self._inbox.take(rate)
        if not recording.size:
            self._socket.send({"event": "warning", "detail": "No audio to transcribe"})
            return
        try:
            self._jobs.add(partial(self._hear, recording, how))
        except BaseException:
            self._inbox.done(recording)
            raise

    async def _hear(self, recording: Recording, how: CommitMessage) -> None:
        try:
            audio = await self._ears.decode(recording)
        finally:
            self._inbox.done(recording)
        await self._ears.caller.spend_audio(audio.duration_s)
        words = how.response_format == "verbose_json"
        transcript = await self._ears.hear(audio, how, words=words)
        fields = transcript_fields(transcript, how.response_format)
        self._socket.send({"event": "transcript", "data": fields})


@asynccontextmanager
async def hearing(
    services: Services, caller: Caller, socket: Socket
) -> AsyncGenerator[Hearing, None]:
    """Hear while the socket is open."""

    def failed(error: Exception) -> None:
        socket.send(MANNERS.error(problem_of(error)))

    async with Jobs(failed) as jobs:
        yield Hearing(Ears(services, caller), socket, jobs)
