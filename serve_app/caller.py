"""Who calls, and what it may use."""

from typing import Annotated, Protocol, cast

from fastapi import Depends, Request
from starlette.types import Scope

_SCOPE_KEY = "gemmavoice.caller"


class Caller(Protocol):
    """The owner of a request: a named key, or whoever comes without one."""

    @property
    def owner(self) -> str:
        """Whose sessions these are; never the key itself."""
        ...

    async def spend_audio(self, seconds: float) -> None:
        """Count audio that is about to be worked on.

        Raises:
            RateLimited: the caller has none left.
        """
        ...

    async def note_audio(self, seconds: float) -> None:
        """Count audio that was made; never refuses, and never fails."""
        ...


class Anybody:
    """A caller without limits."""

    owner = "anybody"

    async def spend_audio(self, seconds: float) -> None:
        """Nothing is counted."""

    async def note_audio(self, seconds: float) -> None:
        """Nothing is counted."""


_ANYBODY = Anybody()


def set_caller(scope: Scope, caller: Caller) -> None:
    """Say who sent the request of this scope."""
    scope[_SCOPE_KEY] = caller


def _caller(request: Request) -> Caller:
    return cast("Caller", request.scope.get(_SCOPE_KEY, _ANYBODY))


CallerDep = Annotated[Caller, Depends(_caller)]
