"""Dialogues in a Redis, bounded as those of the `state` deployment are."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Literal, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ConnectionError as RedisGone,
    RedisError,
    ResponseError,
    TimeoutError as RedisTimeout,
)
from redis.maint_notifications import MaintNotificationsConfig

from configs.settings import SessionSettings
from deployments.circuit import Circuit
from deployments.errors import MemoryUnavailable
from deployments.messages import ChatMessage, Session
from deployments.metrics import MemoryMetrics
from serve_app.session_memory import scripts, turns

logger = logging.getLogger("ray.serve")

_FIRST_PROBE_S, _PROBE_S = 0.05, 0.5  # it may have been this process that was slow
_PROBE_TIMEOUT_S = 1.0  # a probe may take longer than a request: its connection is kept
_FORGET_ALL = -1
_NOBODY = "probe"  # no dialogue has this name

_Operation = Literal["read", "append", "write", "delete"]
_SCRIPTS: dict[_Operation, str] = {
    "read": scripts.READ,
    "append": scripts.PUT,
    "write": scripts.PUT,
    "delete": scripts.DELETE,
}


class RedisSessions:
    """Dialogues by owner and id, in one Redis for all ingress replicas.

    A call takes `redis_timeout_s` at most. The first one that fails lets all others fail at once,
    until `watched` finds that Redis answers again. Every method raises `MemoryUnavailable`.
    """

    def __init__(
        self,
        settings: SessionSettings,
        metrics: MemoryMetrics,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`clock` gives Unix seconds; None: that of Redis, which all replicas share."""
        self._settings, self._metrics, self._clock = settings, metrics, clock
        self._redis = Redis.from_pool(_pool(settings))
        self._scripts = {
            operation: self._redis.register_script(text) for operation, text in _SCRIPTS.items()
        }
        self._gone = asyncio.Event()
        self._circuit = Circuit(1, math.inf, changed=self._changed)
        self._complaint = ""  # what was last told to the log

    async def read_session(self, owner: str, session_id: str) -> Session | None:
        """The dialogue; None where there is none (any more). Reading it is using it."""
        found = await self._call("read", turns.member(owner, session_id))
        try:
            return turns.read(session_id, cast("list[bytes]", found))
        except (ValueError, TypeError):
            self._complain("foreign")
            self._metrics.failed("read", "answer")
            raise MemoryUnavailable from None

    async def append_session(
        self, owner: str, session_id: str, turn: tuple[ChatMessage, ...], drop_oldest: int = 0
    ) -> None:
        """Drop the turns that hold so many of the oldest messages, then add a turn."""
        name = turns.member(owner, session_id)
        await self._call("append", name, *self._bounds(drop_oldest), turns.written(turn))

    async def write_session(
        self, owner: str, session_id: str, messages: tuple[ChatMessage, ...]
    ) -> None:
        """Keep these messages in place of what was known; the oldest of them go first."""
        name = turns.member(owner, session_id)
        each = [turns.written((message,)) for message in messages]
        await self._call("write", name, *self._bounds(_FORGET_ALL), *each)

    async def delete_session(self, owner: str, session_id: str) -> bool:
        """Forget a dialogue; whether there was one."""
        return bool(await self._call("delete", turns.member(owner, session_id)))

    @asynccontextmanager
    async def watched(self, _: object = None) -> AsyncGenerator[None, None]:
        """The application's lifespan: Redis is watched for as long, and left at the end."""
        try:
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(self._watch(), name="redis")
                yield
                watcher.cancel()
        finally:
            await self._redis.aclose()

    # ---- asking ----

    def _bounds(self, drop_oldest: int) -> tuple[int, ...]:
        settings = self._settings
        # So one dialogue alone always fits into the total.
        max_chars = min(settings.max_chars, settings.max_total_chars)
        sizes = (max_chars, settings.max_sessions, settings.max_total_chars)
        return (drop_oldest, settings.max_messages, *sizes)

    async def _call(self, operation: _Operation, name: str, *args: bytes | int) -> object:
        attempt = self._circuit.enter()
        if attempt is None:
            self._metrics.failed(operation, "circuit")
            raise MemoryUnavailable
        asked_at = time.perf_counter()
        try:
            answer = await self._ask(operation, name, args, self._settings.redis_timeout_s)
        except (RedisError, OSError) as error:
            reason = _reason(error)
            self._metrics.failed(operation, reason)
            self._complain(type(error).__name__)
            if reason == "answer":
                attempt.worked()  # it is there, and would not do this
            else:
                attempt.failed()
            raise MemoryUnavailable from None
        except BaseException:
            attempt.left()
            raise
        attempt.worked()
        self._metrics.answered(operation, time.perf_counter() - asked_at)
        return answer

    async def _ask(
        self, operation: _Operation, name: str, args: Sequence[bytes | int], timeout_s: float
    ) -> object:
        prefix = f"{self._settings.redis_prefix}:1"  # of this form of the data
        base = f"{prefix}:session:"
        now = "" if self._clock is None else f"{self._clock():.6f}"
        keys = (f"{prefix}:used", f"{prefix}:sizes", base + name)
        async with asyncio.timeout(timeout_s):
            return await self._scripts[operation](
                keys, (name, base, now, repr(self._settings.idle_s), *args)
            )

    # ---- whether it is there ----

    async def _watch(self) -> None:
        """Until cancelled: ask at once whether Redis answers, then whenever it is gone."""
        while True:
            await self._probe()
            if self._gone.is_set():
                await asyncio.sleep(_PROBE_S)
            else:
                await self._gone.wait()
                await asyncio.sleep(_FIRST_PROBE_S)

    async def _probe(self) -> None:
        attempt = self._circuit.enter()
        timeout_s = max(_PROBE_TIMEOUT_S, self._settings.redis_timeout_s)
        try:
            await self._ask("read", _NOBODY, (), timeout_s)
        except (RedisError, OSError) as error:
            if _reason(error) != "answer":
                self._complain(type(error).__name__)
                if attempt is not None:
                    attempt.failed()
                return
        self._circuit.worked()

    def _changed(self, is_open: bool) -> None:  # noqa: FBT001 - the circuit's
        self._metrics.away(is_away=is_open)
        if is_open:
            self._gone.set()
            return
        self._gone.clear()
        self._complaint = ""
        logger.info("sessions are remembered again")

    def _complain(self, reason: str) -> None:
        """Tell the log, once; the error itself may name the address."""
        if reason != self._complaint:
            self._complaint = reason
            logger.warning("Redis does not remember sessions", extra={"reason": reason})


def _pool(settings: SessionSettings) -> BlockingConnectionPool:
    """Connections that are opened when they are needed.

    A call whose connection has ended meanwhile is sent once more over a new one.
    """
    assert settings.redis_url is not None  # noqa: S101 - the caller has looked
    longest_s = max(_PROBE_TIMEOUT_S, settings.redis_timeout_s)
    return BlockingConnectionPool.from_url(
        settings.redis_url.get_secret_value(),
        max_connections=settings.redis_connections,
        timeout=longest_s,
        socket_connect_timeout=longest_s,
        socket_timeout=longest_s,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisGone,)),
        client_name="gemmavoice",
        protocol=2,
        driver_info=None,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )


def _reason(error: BaseException) -> Literal["timeout", "access", "answer", "connection"]:
    """A closed set, for metrics."""
    match error:
        case TimeoutError() | RedisTimeout():
            return "timeout"
        case AuthenticationError():
            return "access"
        case ResponseError():
            return "answer"
        case _:
            return "connection"
