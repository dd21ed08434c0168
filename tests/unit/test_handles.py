"""Ray's failures in our words."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from ray.exceptions import NodeDiedError, OwnerDiedError, RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from configs.settings import TimeoutSettings
from deployments.audio import Pcm
from deployments.errors import (
    SpeechError,
    StageFailed,
    StageOverloaded,
    StageTimeout,
    StageUnavailable,
    VoiceNotFound,
)
from deployments.messages import (
    GenerationRequest,
    Origin,
    SpeechRequest,
    TextDelta,
    TranscriptionRequest,
)
from serve_app.handles import LlmHandle, SttHandle, TtsHandle

UTTERANCE = TranscriptionRequest(Pcm(b"\0\0" * 160, 16_000))
TIMEOUTS = TimeoutSettings(stt_s=0.2, llm_first_token_s=0.2, llm_s=0.4, health_s=0.1)


class Call:
    """One remote call: awaited, or iterated."""

    def __init__(self, behave: Callable[[], Any]) -> None:
        self._behave = behave
        self.cancelled = False

    def __await__(self) -> Any:
        return self._behave().__await__()

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        if not hasattr(self, "_items"):
            self._items = self._behave()
        return await anext(self._items)

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """A deployment handle whose calls behave one after the other as told."""

    def __init__(self, *behaviours: Callable[[], Any]) -> None:
        self._behaviours = list(behaviours)
        self.calls: list[Call] = []
        self.options_seen: list[dict[str, Any]] = []

    def options(self, **options: Any) -> "Handle":
        self.options_seen.append(options)
        return self

    def remote(self, *_: Any) -> Call:
        self.calls.append(Call(self._behaviours.pop(0)))
        return self.calls[-1]


def failing(error: BaseException) -> Callable[[], Any]:
    async def behave() -> Any:
        raise error

    return behave


def answering(value: Any) -> Callable[[], Any]:
    async def behave() -> Any:
        return value

    return behave


async def never() -> Any:
    await asyncio.Event().wait()


def streaming(*items: Any, then: BaseException | None = None) -> Callable[[], Any]:
    async def behave() -> AsyncGenerator[Any, None]:
        for item in items:
            yield item
        if then is not None:
            raise then

    return behave


def remote(cause: Exception) -> RayTaskError:
    """An error as Ray brings it from another process."""
    return RayTaskError("transcribe", "remote traceback", cause).as_instanceof_cause()


@pytest.mark.parametrize(
    ("behaviours", "expected"),
    [
        ([failing(remote(VoiceNotFound("x")))], VoiceNotFound),
        ([failing(remote(KeyError("secret")))], StageFailed),
        ([failing(BackPressureError(1, 1))], StageOverloaded),
        ([failing(DeploymentUnavailableError("stt"))], StageUnavailable),
        ([failing(RayActorError())] * 2, StageUnavailable),
        ([never], StageTimeout),
    ],
)
async def test_a_failure_is_named_and_the_call_is_cancelled(
    behaviours: list[Any], expected: type[SpeechError]
) -> None:
    handle = Handle(*behaviours)
    with pytest.raises(SpeechError) as failure:
        await SttHandle(handle, TIMEOUTS).transcribe(UTTERANCE)  # type: ignore[arg-type]
    assert type(failure.value) is expected
    assert "secret" not in failure.value.message
    assert all(call.cancelled for call in handle.calls)


@pytest.mark.parametrize(
    "lost", [RayActorError(), NodeDiedError("gone"), OwnerDiedError("0" * 56, None, "")]
)
async def test_a_replica_that_dies_before_it_answers_costs_one_retry(lost: Exception) -> None:
    handle = Handle(failing(lost), answering("heard"))
    assert await SttHandle(handle, TIMEOUTS).transcribe(UTTERANCE) == "heard"  # type: ignore[arg-type]


async def test_a_stream_is_tried_again_only_before_its_first_item() -> None:
    handle = Handle(streaming(then=RayActorError()), streaming("a", then=RayActorError()))
    items: list[Any] = []
    with pytest.raises(StageUnavailable) as failure:
        async for item in LlmHandle(handle, TIMEOUTS).generate(GenerationRequest(())):  # type: ignore[arg-type]
            items.append(item)  # noqa: PERF401 - it ends with an error
    assert items == ["a"]
    assert failure.value.had_begun
    assert len(handle.calls) == 2


async def test_a_stream_whose_replica_broke_goes_to_any_replica_once() -> None:
    broken = remote(StageUnavailable("llm"))
    handle = Handle(streaming(then=broken), streaming("a"))
    request = GenerationRequest((), origin=Origin("ada", "s1"))
    assert [item async for item in LlmHandle(handle, TIMEOUTS).generate(request)] == ["a"]  # type: ignore[arg-type]
    first, second = [seen["session_id"] for seen in handle.options_seen if "session_id" in seen]
    assert (first, second != first) == ("ada/s1", True)
    handle = Handle(streaming(then=broken), streaming(then=broken))
    with pytest.raises(StageUnavailable):
        await anext(LlmHandle(handle, TIMEOUTS).generate(request))  # type: ignore[arg-type]
    assert all(call.cancelled for call in handle.calls)


async def test_a_reply_that_was_begun_ends_with_the_error_of_its_replica() -> None:
    handle = Handle(streaming("a", then=remote(StageUnavailable("llm"))))
    stream = LlmHandle(handle, TIMEOUTS).generate(GenerationRequest(()))  # type: ignore[arg-type]
    assert await anext(stream) == "a"
    with pytest.raises(StageUnavailable):
        await anext(stream)


class Asked(Handle):
    """A handle that notes what it is asked for."""

    def __init__(self, *behaviours: Callable[[], Any]) -> None:
        super().__init__(*behaviours)
        self.requests: list[Any] = []

    def remote(self, *arguments: Any) -> Call:
        self.requests += arguments
        return super().remote()


@pytest.mark.parametrize("loss", [RayActorError(), remote(StageUnavailable("llm"))])
async def test_a_reply_whose_replica_is_lost_is_written_on_by_another(loss: Exception) -> None:
    handle = Asked(
        streaming(TextDelta("One", 1), TextDelta(" two", 2), then=loss),
        streaming(TextDelta(" three", 1), then=loss),
        streaming(TextDelta(" four", 1)),
    )
    request = GenerationRequest((), origin=Origin("ada", "s1"))
    stream = LlmHandle(handle, TIMEOUTS).generate(request)  # type: ignore[arg-type]
    assert "".join([item.text async for item in stream]) == "One two three four"  # type: ignore[union-attr]
    assert [asked.written for asked in handle.requests] == [
        None,
        TextDelta("One two", 3),
        TextDelta("One two three", 4),
    ]


async def test_a_reply_that_loses_replica_after_replica_ends_with_an_error() -> None:
    handle = Handle(*[streaming(TextDelta("a", 1), then=RayActorError())] * 4)
    stream = LlmHandle(handle, TIMEOUTS).generate(GenerationRequest(()))  # type: ignore[arg-type]
    received: list[Any] = []
    with pytest.raises(StageUnavailable):
        async for item in stream:
            received.append(item)  # noqa: PERF401 - it ends with an error
    assert len(received) == len(handle.calls) == 3


async def test_a_full_queue_of_the_voice_is_a_typed_error_of_its_stream() -> None:
    handle = Handle(streaming(then=BackPressureError(1, 1)))
    with pytest.raises(StageOverloaded):
        await anext(TtsHandle(handle, TIMEOUTS).synthesize(SpeechRequest("Hello.")))  # type: ignore[arg-type]


async def test_closing_a_stream_cancels_the_remote_one() -> None:
    handle = Handle(streaming(TextDelta("a", 1), TextDelta("b", 1)))
    stream = LlmHandle(handle, TIMEOUTS).generate(GenerationRequest(()))  # type: ignore[arg-type]
    await anext(stream)
    await stream.aclose()
    assert handle.calls[0].cancelled


async def test_a_slow_reader_is_not_charged_to_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    allowed: list[float] = []
    timeout = asyncio.timeout

    def recorded(delay: float) -> asyncio.Timeout:
        allowed.append(delay)
        return timeout(delay)

    monkeypatch.setattr("serve_app.handles.time.perf_counter", lambda: now)
    monkeypatch.setattr("serve_app.handles.asyncio.timeout", recorded)
    handle = Handle(streaming("a", "b", "c"))
    async for _ in LlmHandle(handle, TIMEOUTS).generate(GenerationRequest(())):  # type: ignore[arg-type]
        now += 10 * TIMEOUTS.llm_s  # the reader takes its time
    assert allowed == [TIMEOUTS.llm_first_token_s, *[TIMEOUTS.llm_s] * 3]


async def test_long_audio_goes_by_reference() -> None:
    handle = Handle(answering(None), answering(None))
    stt = SttHandle(handle, TIMEOUTS)  # type: ignore[arg-type]
    await stt.transcribe(UTTERANCE)
    await stt.transcribe(TranscriptionRequest(Pcm(bytes(4 * 2**20), 16_000)))
    assert [seen["_by_reference"] for seen in handle.options_seen] == [False, True]


async def test_a_busy_stage_is_there_and_a_lost_one_is_not() -> None:
    handle = Handle(
        answering("heard"), never, failing(BackPressureError(1, 1)), failing(RayActorError()), never
    )
    stt = SttHandle(handle, TIMEOUTS)  # type: ignore[arg-type]
    await stt.transcribe(UTTERANCE)
    await stt.ping(0.05)
    await stt.ping(0.05)
    with pytest.raises(StageTimeout):
        await stt.ping(0.05)
