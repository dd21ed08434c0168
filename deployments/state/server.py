"""The `state` deployment: one replica, so that every ingress replica sees the same."""

from configs.settings import SessionSettings
from deployments.messages import Allowance, ChatMessage, KeyLimits, Session, Ticket
from deployments.state.limits import Limits
from deployments.state.sessions import Sessions
from deployments.state.tickets import Tickets


class StateServer:
    """Rate limits, sessions and short-lived keys in memory. Every method is quick and runs on one event loop."""

    def __init__(self, sessions: SessionSettings) -> None:
        self._limits = Limits()
        self._sessions = Sessions(sessions)
        self._tickets = Tickets()

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

    async def write_session(
        self, owner: str, session_id: str, messages: tuple[ChatMessage, ...]
    ) -> None:
        """See `Sessions.write`."""
        self._sessions.write(owner, session_id, messages)

    async def issue_ticket(self, digest: bytes, ticket: Ticket) -> None:
        """See `Tickets.issue`."""
        self._tickets.issue(digest, ticket)

    async def find_ticket(self, digest: bytes) -> Ticket | None:
        """See `Tickets.find`."""
        return self._tickets.find(digest)

    async def delete_session(self, owner: str, session_id: str) -> bool:
        """See `Sessions.delete`."""
        return self._sessions.delete(owner, session_id)

    async def ping(self) -> None:
        """Answer, so that the caller knows a replica is there."""

    async def check_health(self) -> None:
        """Called by Serve; a replica whose loop still turns is healthy."""
