"""Deployment handles with a typed face: errors named, work cancelled, time bounded.

The only place that knows how Ray passes values, fails and cancels. Calls go by value (gRPC, half
the latency of an actor call) unless their payload could pass Serve's 4 MiB message limit.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast
from uuid import uuid4

from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    RayError,
    RayTaskError,
    TaskCancelledError,
)
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
)
from ray.serve.handle import DeploymentHandle

from configs.settings import TimeoutSettings
from deployments.audio import Pcm
from deployments.errors import (
    SpeechError,
    StageFailed,
    StageOverloaded,
    StageTimeout,
    StageUnavailable,
)
from deployments.link import current_link
from deployments.messages import (
    Allowance,
    ChatMessage,
    GenerationEvent,
    GenerationRequest,
    KeyLimits,
    LibraryVoice,
    NewVoice,
    Segment,
    Session,
    SpeechRequest,
    TextDelta,
    Ticket,
    Transcript,
    TranscriptionRequest,
    VoiceCatalog,
    VoiceConsent,
    VoiceReference,
)
from deployments.tracing import Span, span
from serve_app.stage_load import StageLoad

logger = logging.getLogger("ray.serve")

_BY_VALUE_LIMIT_BYTES = 3 * 1024 * 1024
_BUSY_S = 10.0
_LOST = (RayActorError, NodeDiedError, ObjectLostError)  # the replica, or its node
_RESUMES = 2  # so often a reply may lose its replica
_ATTEMPTS = 2  # a call whose replica dies or broke before its first output goes to another one


class _Stage:
    """One deployment of the graph; `load` keeps the account of its work."""

    def __init__(
        self, stage: str, handle: DeploymentHandle[Any], load: StageLoad | None = None
    ) -> None:
        self._stage = stage
        self._handle = handle
        self._load = load or StageLoad(stage)
        self._configured: dict[tuple[str, bool, bool], DeploymentHandle[Any]] = {}
        self._answered_at: float | None = None

    async def ping(self, timeout_s: float) -> None:
        """Return when a replica answers. Raises `SpeechError`.

        A ping queues behind the work of a busy stage, so a stage that gave a result in the last
        seconds counts as answering; one whose replica was lost does not.
        """
        try:
            await self._call("ping", timeout_s=timeout_s)
        except (StageOverloaded, StageTimeout):
            if not self._answered_within(_BUSY_S):
                raise

    def _answered_within(self, seconds: float) -> bool:
        last = self._answered_at
        return last is not None and time.perf_counter() - last < seconds

    async def _call(
        self, method: str, *args: object, timeout_s: float, by_reference: bool = False
    ) -> Any:
        with span(f"{self._stage}.{method}", "client") as one:
            handle = self._to(method, by_reference=by_reference)
            linked = tuple(_linked(each, one) for each in args)
            return await self._answer(handle, linked, timeout_s)

    async def _answer(
        self, handle: DeploymentHandle[Any], args: tuple[object, ...], timeout_s: float
    ) -> Any:
        for attempt in range(1, _ATTEMPTS + 1):
            response = handle.remote(*args)
            ended = False
            try:
                async with asyncio.timeout(timeout_s):
                    result = await response
                ended = True
            except _LOST:
                self._answered_at = None
                if attempt == _ATTEMPTS:
                    raise StageUnavailable(self._stage) from None
            except (RayError, RayServeException, TimeoutError) as error:
                raise self._named(error) from None
            else:
                self._answered_at = time.perf_counter()
                return result
            finally:
                if not ended:
                    response.cancel()
        raise AssertionError  # pragma: no cover - the loop returns or raises

    async def _stream(
        self,
        method: str,
        request: object,
        *,
        first_s: float,
        total_s: float,
        session: str = "",
        moves: bool = False,
    ) -> AsyncGenerator[Any, None]:
        """The items of a stream; one that `moves` leaves a replica that says it is broken."""
        handle = self._to(method, stream=True, session=session)
        with span(f"{self._stage}.{method}", "client") as one:
            linked = _linked(request, one)
            started = ended = False
            for attempt in range(1, _ATTEMPTS + 1):
                items: Any = handle.remote(linked)
                try:
                    async for item in self._items(items, first_s, total_s):
                        if not started:
                            one.event("first output")
                        started = True
                        yield item
                except (*_LOST, RayError, RayServeException, TimeoutError) as error:
                    failure, lost = self._failure(error, moves=moves, had_begun=started)
                    if not lost or started or attempt == _ATTEMPTS:
                        raise failure from None
                    if not isinstance(error, _LOST):
                        # A broken replica is idle, and its sessions' first one: another session leads away.
                        handle = handle.options(session_id=uuid4().hex)
                else:
                    ended = True
                    return
                finally:
                    if not ended:
                        items.cancel()

    async def _work(
        self, method: str, request: object, *, first_s: float, **options: Any
    ) -> AsyncGenerator[Any, None]:
        """The same once it is this call's turn, in the account of the stage's work."""
        async with (
            self._load.call(first_s) as call,
            aclosing(self._stream(method, request, first_s=first_s, **options)) as items,
        ):
            async for item in items:
                with call.unread():
                    yield item

    async def _items(self, items: Any, first_s: float, total_s: float) -> AsyncGenerator[Any, None]:
        """The items, each within its time; what the caller takes is not counted."""
        left_s, wait_s = total_s, min(first_s, total_s)
        while True:
            asked_at = time.perf_counter()
            async with asyncio.timeout(max(wait_s, 0.001)):
                item = await anext(items, _END)
            self._answered_at = time.perf_counter()
            wait_s = left_s = left_s - (self._answered_at - asked_at)
            if item is _END:
                return
            yield item

    def _failure(
        self, error: Exception, *, moves: bool, had_begun: bool
    ) -> tuple[SpeechError, bool]:
        """The error in our words, and whether it is the replica's alone."""
        failure: SpeechError = StageUnavailable(self._stage)
        if isinstance(error, _LOST):
            self._answered_at = None
        else:
            failure = self._named(error)
            if not (moves and isinstance(error, RayTaskError)):
                return failure, False
        if not isinstance(failure, StageUnavailable):
            return failure, False
        failure.had_begun = had_begun
        return failure, True

    def _to(
        self, method: str, *, stream: bool = False, by_reference: bool = False, session: str = ""
    ) -> DeploymentHandle[Any]:
        """The handle for a method; Serve takes its time to make one."""
        kind = method, stream, by_reference
        if kind not in self._configured:
            self._configured[kind] = self._handle.options(
                method_name=method, stream=stream, _by_reference=by_reference
            )
        handle = self._configured[kind]
        return handle.options(session_id=session) if session else handle

    def _named(self, error: BaseException) -> SpeechError:
        cause = error.cause if isinstance(error, RayTaskError) else error
        match cause:
            case SpeechError():
                return cause
            case BackPressureError():
                return StageOverloaded(self._stage)
            case DeploymentUnavailableError() | TaskCancelledError():
                return StageUnavailable(self._stage)
            case TimeoutError():
                return StageTimeout(self._stage)
            case _:
                logger.error("stage failed", exc_info=error, extra={"stage": self._stage})
                return StageFailed(self._stage)


_END = object()


def _linked(request: object, one: Span) -> object:
    """What goes to the stage, with what ties it to the request that it is for."""
    if not isinstance(request, _LINKED):
        return request
    link = current_link()
    return replace(request, link=replace(link, traceparent=one.traceparent or link.traceparent))


_LINKED = (TranscriptionRequest, GenerationRequest, SpeechRequest)


class SttHandle(_Stage):
    """The `stt` deployment as a `SpeechToText`."""

    def __init__(
        self,
        handle: DeploymentHandle[Any],
        timeouts: TimeoutSettings,
        load: StageLoad | None = None,
    ) -> None:
        super().__init__("stt", handle, load)
        self._timeout_s = timeouts.stt_s

    async def transcribe(self, request: TranscriptionRequest) -> Transcript:
        """Text of one utterance."""
        large = len(request.audio.samples) > _BY_VALUE_LIMIT_BYTES
        async with self._load.call(self._timeout_s):
            transcript = await self._call(
                "transcribe", request, timeout_s=self._timeout_s, by_reference=large
            )
        return cast("Transcript", transcript)

    def transcribe_stream(
        self, request: TranscriptionRequest
    ) -> AsyncGenerator[Segment | Transcript, None]:
        """Each segment as it is heard, then the whole transcript."""
        return self._work(
            "transcribe_stream", request, first_s=self._timeout_s, total_s=self._timeout_s
        )


class LlmHandle(_Stage):
    """The `llm` deployment as a `LanguageModel`."""

    def __init__(
        self,
        handle: DeploymentHandle[Any],
        timeouts: TimeoutSettings,
        load: StageLoad | None = None,
    ) -> None:
        super().__init__("llm", handle, load)
        self._first_s, self._total_s = timeouts.llm_first_token_s, timeouts.llm_s

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """The reply as it is written; where its replica is lost, another one goes on with it."""
        text, tokens, resumes = "", 0, 0
        while True:
            try:
                async with aclosing(self._written(request)) as events:
                    async for event in events:
                        if isinstance(event, TextDelta):
                            text, tokens = text + event.text, tokens + event.tokens
                        yield event
                    return
            except StageUnavailable as failure:
                resumes += 1
                if not (failure.had_begun and text) or resumes > _RESUMES:
                    raise
                request = replace(request, written=TextDelta(text, tokens))

    def _written(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        origin = request.origin
        session = f"{origin.owner}/{origin.session}" if origin.session else ""
        return self._work(
            "generate",
            request,
            first_s=self._first_s,
            total_s=self._total_s,
            session=session,
            moves=True,
        )


class TtsHandle(_Stage):
    """The `tts` deployment as a `TextToSpeech`."""

    def __init__(
        self,
        handle: DeploymentHandle[Any],
        timeouts: TimeoutSettings,
        load: StageLoad | None = None,
    ) -> None:
        super().__init__("tts", handle, load)
        self._first_s, self._total_s = timeouts.tts_first_audio_s, timeouts.tts_s
        # The first thing that is asked of a stage, so of one that sleeps too.
        self._voices_s = self._encode_s = timeouts.tts_first_audio_s

    def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Pcm, None]:
        """The audio as it is made."""
        return self._work("synthesize", request, first_s=self._first_s, total_s=self._total_s)

    async def voices(self) -> VoiceCatalog:
        """The voices that a request may name."""
        return cast("VoiceCatalog", await self._call("voices", timeout_s=self._voices_s))

    async def encode_voice(self, audio: Pcm, text: str) -> VoiceReference:
        """A recording of a voice, encoded to speak with it."""
        encoded = await self._call("encode_voice", audio, text, timeout_s=self._encode_s)
        return cast("VoiceReference", encoded)


class StateHandle(_Stage):
    """The `state` deployment as a `StateStore`."""

    def __init__(self, handle: DeploymentHandle[Any], timeouts: TimeoutSettings) -> None:
        super().__init__("state", handle)
        self._timeout_s = timeouts.state_s

    async def admit(self, caller: str, limits: KeyLimits, lease: str) -> Allowance:
        """Count one request."""
        return cast("Allowance", await self._ask("admit", caller, limits, lease))

    async def release(self, caller: str, lease: str) -> None:
        """A request is over."""
        await self._ask("release", caller, lease)

    async def renew(self, leases: tuple[tuple[str, str], ...]) -> None:
        """Requests that are still in progress."""
        await self._ask("renew", leases)

    async def charge(
        self, caller: str, limits: KeyLimits, audio_s: float, *, afterwards: bool
    ) -> Allowance:
        """Count seconds of audio."""
        return cast("Allowance", await self._ask("charge", caller, limits, audio_s, afterwards))

    async def read_session(self, owner: str, session_id: str) -> Session | None:
        """A remembered dialogue."""
        return cast("Session | None", await self._ask("read_session", owner, session_id))

    async def append_session(
        self, owner: str, session_id: str, turn: tuple[ChatMessage, ...], drop_oldest: int = 0
    ) -> None:
        """Remember a turn."""
        await self._ask("append_session", owner, session_id, turn, drop_oldest)

    async def write_session(
        self, owner: str, session_id: str, messages: tuple[ChatMessage, ...]
    ) -> None:
        """Remember a dialogue as it is now."""
        await self._ask("write_session", owner, session_id, messages)

    async def issue_ticket(self, digest: bytes, ticket: Ticket) -> None:
        """Let a short-lived key in."""
        await self._ask("issue_ticket", digest, ticket)

    async def find_ticket(self, digest: bytes) -> Ticket | None:
        """What a short-lived key opens."""
        return cast("Ticket | None", await self._ask("find_ticket", digest))

    async def delete_session(self, owner: str, session_id: str) -> bool:
        """Forget a dialogue; whether there was one."""
        return bool(await self._ask("delete_session", owner, session_id))

    async def _ask(self, method: str, *args: object) -> Any:
        return await self._call(method, *args, timeout_s=self._timeout_s)


class LibraryHandle(_Stage):
    """The `state` deployment as a `VoiceStore`."""

    def __init__(self, handle: DeploymentHandle[Any], timeouts: TimeoutSettings) -> None:
        super().__init__("state", handle)
        self._timeout_s = timeouts.library_s

    async def add_voice(self, owner: str, new: NewVoice, sample: Pcm) -> LibraryVoice:
        """Keep a voice."""
        return cast("LibraryVoice", await self._ask("add_voice", owner, new, sample))

    async def find_voice(self, owner: str, name: str) -> LibraryVoice | None:
        """A voice by its id or its name."""
        return cast("LibraryVoice | None", await self._ask("find_voice", owner, name))

    async def list_voices(self, owner: str) -> tuple[LibraryVoice, ...]:
        """All voices of an owner, without their codes."""
        return cast("tuple[LibraryVoice, ...]", await self._ask("list_voices", owner))

    async def read_sample(self, owner: str, voice_id: str) -> Pcm:
        """What a voice was encoded from."""
        return cast("Pcm", await self._ask("read_sample", owner, voice_id))

    async def encode_again(self, owner: str, voice_id: str, reference: VoiceReference) -> None:
        """Keep how another encoder has encoded the sample."""
        await self._ask("encode_again", owner, voice_id, reference)

    async def delete_voice(self, owner: str, voice_id: str) -> None:
        """Forget a voice."""
        await self._ask("delete_voice", owner, voice_id)

    async def add_consent(
        self, owner: str, name: str, language: str, recording: Pcm
    ) -> VoiceConsent:
        """Keep a consent."""
        return cast(
            "VoiceConsent", await self._ask("add_consent", owner, name, language, recording)
        )

    async def find_consent(self, owner: str, consent_id: str) -> VoiceConsent:
        """A consent by its id."""
        return cast("VoiceConsent", await self._ask("find_consent", owner, consent_id))

    async def list_consents(self, owner: str) -> tuple[VoiceConsent, ...]:
        """All consents of an owner."""
        return cast("tuple[VoiceConsent, ...]", await self._ask("list_consents", owner))

    async def rename_consent(self, owner: str, consent_id: str, name: str) -> VoiceConsent:
        """Keep another name of a consent."""
        return cast("VoiceConsent", await self._ask("rename_consent", owner, consent_id, name))

    async def delete_consent(self, owner: str, consent_id: str) -> None:
        """Forget a consent."""
        await self._ask("delete_consent", owner, consent_id)

    async def _ask(self, method: str, *args: object) -> Any:
        return await self._call(method, *args, timeout_s=self._timeout_s)
