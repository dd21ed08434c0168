"""The `state` deployment: one replica, so that every ingress replica sees the same."""

from configs.settings import SessionSettings
from deployments.messages import Allowance, ChatMessage, KeyLimits, Session
from deployments.state.limits import Limits
from deployments.state.sessions import Sessions


class StateServer:
    """Rate limits and sessions in memory. Every method is quick and runs on one event loop."""

    def __init__(self, sessions: SessionSettings) -> None:
        self._limits = Limits()
        self._sessions = Sessions(sessions)

    async def admit(self, caller: str, limits: KeyLimits, lease: str) -> Allowance:
        """See `Limits.admit`."""
        return self._limits.admit(caller, limits, lease)

    async def release(self, caller: str, lease: str) -> None:
        """See `Limits.release`."""
        self._limits.release(caller, lease)

    async def renew(self, leases: tuple[tuple[str, str], ...]) -> None:
        """See `Limits.renew`."""
        self._limits.renew(leases)

    async def charge(
        self,
        caller: str,
        limits: KeyLimits,
        audio_s: float,
        afterwards: bool,  # noqa: FBT001 - Ray passes it by position
    ) -> Allowance:
        """See `Limits.charge`."""
        return self._limits.charge(caller, limits, audio_s, afterwards=afterwards)

    async def read_session(self, owner: str, session_id: str) -> Session | None:
        """See `Sessions.read`."""
        return self._sessions.read(owner, session_id)

    async def append_session(
        self, owner: str, session_id: str, turn: tuple[ChatMessage, ...], drop_oldest: int
    ) -> None:
        """See `Sessions.append`."""
        self._sessions.append(owner, session_id, turn, drop_oldest)

    async def delete_session(self, owner: str, session_id: str) -> bool:
        """See `Sessions.delete`."""
        return self._sessions.delete(owner, session_id)

    async def ping(self) -> None:
        """Answer, so that the caller knows a replica is there."""

    async def check_health(self) -> None:
        """Called by Serve; a replica whose loop still turns is healthy."""
