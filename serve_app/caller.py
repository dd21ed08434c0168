"""Who calls, and what it may use."""

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection
from starlette.types import Scope

from deployments.errors import RateLimited
from deployments.messages import Allowance, KeyLimits
from serve_app.shares import Shares

_SCOPE_KEY = "gemmavoice.caller"


class Caller:
    """The owner of a request: a named key, or whoever comes without one."""

    def __init__(
        self, owner: str, limits: KeyLimits, shares: Shares, counted_as: str | None = None
    ) -> None:
        self.owner = owner  # whose sessions these are; never the key itself
        self.limits = limits
        self.allowance = Allowance()  # as far as is known
        self.session = ""  # how a short-lived key wants its live session, as JSON
        self._shares = shares
        self.name = owner if counted_as is None else counted_as  # whose share is used

    @property
    def is_limited(self) -> bool:
        """Whether anything is counted."""
        limits = self.limits
        return not (limits.requests is limits.audio_s is limits.concurrent is None)

    async def admit(self, lease: str) -> None:
        """Count this request, and hold the lease until it is released.

        Raises:
            RateLimited: the caller has used up its share.
        """
        self._heed(await self._shares.admit(self.name, self.limits, lease))

    async def spend_audio(self, seconds: float) -> None:
        """Count audio that is about to be worked on.

        Raises:
            RateLimited: the caller has none left.
        """
        if self.limits.audio_s is not None:
            self._heed(await self._shares.charge(self.name, self.limits, seconds))

    async def note_audio(self, seconds: float) -> None:
        """Count audio that was made; never refuses, and never fails."""
        if self.limits.audio_s is not None and seconds > 0:
            self._shares.note(self.name, self.limits, seconds)

    def _heed(self, allowance: Allowance) -> None:
        self.allowance = allowance
        if allowance.refused is not None:
            raise RateLimited(allowance.refused, allowance.retry_after_s)


def set_caller(scope: Scope, caller: Caller) -> None:
    """Say who sent the request of this scope."""
    scope[_SCOPE_KEY] = caller


def caller_of(scope: Scope) -> Caller | None:
    """Who sent the request of this scope; None on a route that asks nobody."""
    return cast("Caller | None", scope.get(_SCOPE_KEY))


async def _caller(connection: HTTPConnection) -> Caller:  # else FastAPI starts a thread
    caller = caller_of(connection.scope)
    if caller is None:
        raise RuntimeError("this route asks nobody who calls")
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]
