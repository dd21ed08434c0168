"""Another machine's HTTP API, asked from a blocking engine: bounded, retried, stopped at once."""

import asyncio
import concurrent.futures
import logging
import random
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import httpx2

from configs.settings import RemoteSettings
from deployments.errors import (
    RequestRefused,
    SpeechError,
    StageFailed,
    StageOverloaded,
    StageTimeout,
    StageUnavailable,
)

logger = logging.getLogger("ray.serve")

_STOP_POLL_S = 0.02
_BACKOFF_S = (0.25, 4.0)  # the first wait, and the longest
_ERROR_BYTES = 64 * 1024
_PROBE_S = 1.5  # less than the ingress waits for a stage's health
_ANSWERED_S = 10.0
_OK, _OVERLOADED = 200, 429
_TRANSIENT = {_OVERLOADED, 502, 503, 504}
_KEY_REFUSED = {401, 403}


@runtime_checkable
class Reachable(Protocol):
    """An engine on another machine, which may be away while its replica is here."""

    def is_up(self) -> bool:
        """Whether it answers, as far as can be said within two seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: what to send, what may come back, and how long it may take.

    `first_s` is until more than `head_bytes` of the answer are there, retries included; `total_s` for
    all of it. What the reader takes is not counted. `explain` reads the body of a 4xx.
    """

    path: str
    content: Mapping[str, Any]
    media_types: tuple[str, ...]
    max_bytes: int
    first_s: float
    total_s: float
    head_bytes: int = 0
    explain: Callable[[bytes], SpeechError | None] = field(default=lambda _: None)


class RemoteApi:
    """One server. Its connections live on an event loop in a thread of its own."""

    def __init__(
        self, stage: str, base_url: str, health_path: str, settings: RemoteSettings
    ) -> None:
        self._stage, self._health_path = stage, health_path
        self._max_retries = settings.max_retries
        key = settings.api_key
        self._client = httpx2.AsyncClient(
            base_url=base_url.rstrip("/"),
            headers={
                "Accept-Encoding": "identity",
                **({"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}),
            },
            timeout=httpx2.Timeout(None, connect=settings.connect_s),
            limits=httpx2.Limits(max_connections=settings.workers + 1),
            follow_redirects=False,  # the key is for this server alone
            trust_env=False,
        )
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name=f"{stage}-remote", daemon=True).start()
        weakref.finalize(self, _end, self._loop)
        # Touched on the loop alone.
        self._in_progress = 0
        self._answered_at = -_ANSWERED_S
        self._silent = False

    def body(self, ask: Ask, stop: threading.Event) -> Generator[bytes, None, None]:
        """The pieces of an answer as they come; blocking. `stop` closes the connection at once.

        Raises:
            StageUnavailable: there is no connection, or it broke.
            StageOverloaded: the server has no room.
            StageTimeout: it took too long.
            RequestRefused: the server would not take this request.
            StageFailed: it answered what it should not.
        """
        pieces = self._counted(ask)
        step: concurrent.futures.Future[bytes | None] | None = None
        try:
            while not stop.is_set():
                step = asyncio.run_coroutine_threadsafe(_next(pieces), self._loop)
                while not _is_done(step):
                    if stop.is_set():
                        return
                piece = step.result()
                if piece is None:
                    return
                yield piece
        finally:
            if step is not None and not step.cancel():  # cancelled, it closes what it holds itself
                asyncio.run_coroutine_threadsafe(pieces.aclose(), self._loop)

    def is_up(self) -> bool:
        """Whether the server answers; one that works for us just now counts as answering."""
        asked = asyncio.run_coroutine_threadsafe(self._answers(), self._loop)
        return asked.result()

    async def _answers(self) -> bool:
        if self._silent:
            recently = False
        else:
            recently = self._in_progress > 0 or time.monotonic() - self._answered_at < _ANSWERED_S
        return recently or await self._probe()

    async def _probe(self) -> bool:
        """Ask for its health.

        A server that takes the connection and says nothing is busy, unless it let a request of ours
        run out of time, too, and nothing came since: fish-speech's answers nothing else while it
        speaks.
        """
        try:
            async with (
                asyncio.timeout(_PROBE_S),
                self._client.stream("GET", self._health_path) as response,
            ):
                return response.status_code < 500 and response.status_code not in _KEY_REFUSED
        except TimeoutError:
            return not self._silent
        except httpx2.HTTPError:
            return False

    async def _counted(self, ask: Ask) -> AsyncGenerator[bytes, None]:
        self._in_progress += 1
        heard_at = time.monotonic()
        try:
            async with aclosing(self._attempts(ask)) as pieces:
                async for piece in pieces:
                    heard_at = self._heard()
                    yield piece
            self._heard()
        except StageTimeout:
            # What another request heard meanwhile tells that this one only had to wait.
            self._silent = self._answered_at <= heard_at
            raise
        finally:
            self._in_progress -= 1

    def _heard(self) -> float:
        self._silent = False
        self._answered_at = time.monotonic()
        return self._answered_at

    async def _attempts(self, ask: Ask) -> AsyncGenerator[bytes, None]:
        clock = _Clock(ask.first_s, ask.total_s)
        for attempt in range(self._max_retries + 1):
            given = False
            try:
                async with aclosing(self._attempt(ask, clock)) as pieces:
                    async for piece in pieces:
                        given = True
                        yield piece
            except _MayPass as failure:
                wait_s = max(_backoff_s(attempt), failure.retry_after_s)
                if given or attempt == self._max_retries or wait_s >= clock.left_s:
                    self._log(failure.reason)
                    raise failure.error from None
                async with clock.counted():
                    await asyncio.sleep(wait_s)
            except TimeoutError:
                self._log("it took too long")
                raise StageTimeout(self._stage) from None
            else:
                return

    async def _attempt(self, ask: Ask, clock: "_Clock") -> AsyncGenerator[bytes, None]:
        response: httpx2.Response | None = None
        received = 0
        try:
            async with clock.counted():
                request = self._client.build_request("POST", ask.path, **ask.content)
                response = await self._client.send(request, stream=True)
                await self._check(response, ask)
            pieces = response.aiter_raw()
            while True:
                async with clock.counted():
                    piece = await anext(pieces, None)
                if piece is None:
                    return
                received += len(piece)
                if received > ask.max_bytes:
                    raise self._failed("its answer is too long")
                clock.is_first = received <= ask.head_bytes
                yield piece
        except httpx2.TransportError as error:
            # Nothing has been given out where this is tried again, and speech costs work alone.
            raise _MayPass(StageUnavailable(self._stage), type(error).__name__) from None
        except httpx2.HTTPError as error:
            raise self._failed(type(error).__name__) from None
        finally:
            if response is not None:
                await response.aclose()

    async def _check(self, response: httpx2.Response, ask: Ask) -> None:
        status = response.status_code
        if status in _TRANSIENT:
            kind = StageOverloaded if status == _OVERLOADED else StageUnavailable
            raise _MayPass(kind(self._stage), f"status {status}", _retry_after_s(response))
        if status in _KEY_REFUSED:
            raise self._failed(f"it refused the key (status {status})")
        if 400 <= status < 500:
            self._log(f"status {status}")
            raise ask.explain(await _head(response)) or RequestRefused(self._stage)
        if status != _OK:
            raise self._failed(f"status {status}")
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in ask.media_types:
            raise self._failed("its answer is of the wrong type")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise self._failed("its answer is compressed")

    def _failed(self, reason: str) -> StageFailed:
        self._log(reason)
        return StageFailed(self._stage)

    def _log(self, reason: str) -> None:
        """Never what the server says: it echoes what it was sent."""
        logger.warning("remote engine: %s", reason, extra={"stage": self._stage})


class _Clock:
    """The time that is left; only what is waited for is counted."""

    def __init__(self, first_s: float, total_s: float) -> None:
        self._first_s, self._total_s = first_s, total_s
        self._spent_s = 0.0
        self.is_first = True

    @property
    def left_s(self) -> float:
        """Until the first output, or until the end."""
        limit_s = min(self._first_s, self._total_s) if self.is_first else self._total_s
        return limit_s - self._spent_s

    @asynccontextmanager
    async def counted(self) -> AsyncGenerator[None, None]:
        """Count what is inside; TimeoutError once nothing is left."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(max(self.left_s, 0.001)):
                yield
        finally:
            self._spent_s += time.monotonic() - began


class _MayPass(Exception):
    """A failure after which another attempt may succeed."""

    def __init__(self, error: SpeechError, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.error, self.reason, self.retry_after_s = error, reason, retry_after_s


def _backoff_s(attempt: int) -> float:
    first_s, longest_s = _BACKOFF_S
    return min(longest_s, first_s * 2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311


def _retry_after_s(response: httpx2.Response) -> float:
    """Seconds; a date counts as none."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0


async def _head(response: httpx2.Response) -> bytes:
    head = b""
    async for piece in response.aiter_raw():
        head += piece
        if len(head) >= _ERROR_BYTES:
            break
    return head[:_ERROR_BYTES]


async def _next(pieces: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(pieces, None)


def _is_done(step: "concurrent.futures.Future[Any]") -> bool:
    concurrent.futures.wait((step,), timeout=_STOP_POLL_S)
    return step.done()


def _end(loop: asyncio.AbstractEventLoop) -> None:
    def stop() -> None:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.call_soon(loop.stop)

    loop.call_soon_threadsafe(stop)
