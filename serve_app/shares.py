"""The share of every caller: counted by the `state` deployment, by this replica while that is away."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TypeVar

from deployments.errors import SpeechError
from deployments.messages import Allowance, KeyLimits
from deployments.metrics import HttpMetrics
from deployments.state.limits import Limits
from serve_app.services import StateStore

logger = logging.getLogger("ray.serve")

T = TypeVar("T")

_RENEW_S = 15.0
_AWAY_S = 5.0  # before the state is asked again


class Shares:
    """What callers may still use. No request fails or waits for long because the state is away."""

    def __init__(
        self,
        state: StateStore,
        metrics: HttpMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state, self._metrics, self._clock = state, metrics, clock
        self._alone = Limits(clock)
        self._away_until: float | None = None
        self._held: dict[str, str] = {}  # lease -> caller
        self._over: list[tuple[str, str]] = []  # (caller, lease)
        self._noted: dict[tuple[str, KeyLimits], float] = {}
        self._news = asyncio.Event()

    async def admit(self, caller: str, limits: KeyLimits, lease: str) -> Allowance:
        """Count one request, or say which limit refuses it; the lease is held until it is over."""
        if limits.concurrent is not None:
            self._held[lease] = caller
        return await self._decided(
            lambda: self._state.admit(caller, limits, lease),
            lambda: self._alone.admit(caller, limits, lease),
        )

    async def release(self, lease: str) -> None:
        """The request of this lease is over: when this returns, there is room for another."""
        if caller := self._held.get(lease):
            await self._give_back(caller, lease)
            self._held.pop(lease, None)

    def abandon(self, lease: str) -> None:
        """The request of this lease broke off, if it is not over. Does not wait: it is cancelled."""
        if caller := self._held.pop(lease, None):
            self._over.append((caller, lease))
            self._news.set()

    async def charge(self, caller: str, limits: KeyLimits, audio_s: float) -> Allowance:
        """Count seconds of audio, or refuse them."""
        return await self._decided(
            lambda: self._state.charge(caller, limits, audio_s, afterwards=False),
            lambda: self._alone.charge(caller, limits, audio_s, afterwards=False),
        )

    def note(self, caller: str, limits: KeyLimits, audio_s: float) -> None:
        """Count seconds of audio that were made. Does not wait: the request may be cancelled."""
        self._noted[caller, limits] = self._noted.get((caller, limits), 0.0) + audio_s
        self._news.set()

    async def keep(self) -> None:
        """Until cancelled: tell the state what is over, and renew the leases of what is not."""
        renewed_at = self._clock()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RENEW_S):
                    await self._news.wait()
            self._news.clear()
            await self._tell()
            if self._held and self._clock() - renewed_at >= _RENEW_S:
                renewed_at = self._clock()
                await self._renew()

    async def _tell(self) -> None:
        over, self._over = self._over, []
        noted, self._noted = self._noted, {}
        async with asyncio.TaskGroup() as group:
            for caller, lease in over:
                group.create_task(self._give_back(caller, lease))
            for (caller, limits), audio_s in noted.items():
                group.create_task(self._charge_afterwards(caller, limits, audio_s))

    async def _give_back(self, caller: str, lease: str) -> None:
        self._alone.release(caller, lease)
        await self._shared(lambda: self._state.release(caller, lease))  # else it is lost in time

    async def _charge_afterwards(self, caller: str, limits: KeyLimits, audio_s: float) -> None:
        await self._decided(
            lambda: self._state.charge(caller, limits, audio_s, afterwards=True),
            lambda: self._alone.charge(caller, limits, audio_s, afterwards=True),
        )

    async def _renew(self) -> None:
        leases = tuple((caller, lease) for lease, caller in self._held.items())
        self._alone.renew(leases)
        await self._shared(lambda: self._state.renew(leases))

    async def _decided(
        self, shared: Callable[[], Awaitable[Allowance]], alone: Callable[[], Allowance]
    ) -> Allowance:
        allowance = await self._shared(shared)
        if allowance is None:
            self._metrics.decided_alone()
            allowance = alone()
        if allowance.refused is not None:
            self._metrics.refused(allowance.refused)
        return allowance

    async def _shared(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        """What the state says; None while it is away."""
        if self._away_until is not None and self._clock() < self._away_until:
            return None
        try:
            answer = await ask()
        except SpeechError as error:
            if self._away_until is None:
                logger.warning(
                    "limits are counted by this replica alone", extra={"code": error.code}
                )
            self._away_until = self._clock() + _AWAY_S
            return None
        if self._away_until is not None:
            logger.info("limits are shared again")
            self._away_until = None
        return answer


def keeping(shares: Shares) -> Callable[[object], AbstractAsyncContextManager[None]]:
    """The application's lifespan: the state hears of ends and renewals for as long as it lasts."""

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncGenerator[None, None]:
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(shares.keep(), name="shares")
            yield
            keeper.cancel()

    return lifespan
