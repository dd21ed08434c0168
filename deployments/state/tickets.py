"""Short-lived keys, which a browser may hold: hashes of them, and whose they are."""

import time
from collections import OrderedDict
from collections.abc import Callable

from deployments.messages import Ticket

_TICKETS = 10_000
_CHARS = 16_000_000  # of all sessions that they begin with


class Tickets:
    """Tickets by the hash of their key, bounded in number and size; the oldest are forgotten first."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:  # noqa: TID251 - shown as dates
        self._clock = clock
        self._tickets: OrderedDict[bytes, Ticket] = OrderedDict()
        self._chars = 0

    def issue(self, digest: bytes, ticket: Ticket) -> None:
        """Let this key in until it expires."""
        now = self._clock()
        for known in [key for key, kept in self._tickets.items() if kept.expires_at <= now]:
            self._forget(known)
        self._tickets[digest] = ticket
        self._chars += len(ticket.session)
        while len(self._tickets) > _TICKETS or self._chars > _CHARS:
            self._forget(next(iter(self._tickets)))

    def find(self, digest: bytes) -> Ticket | None:
        """Whose key this is; None where it is not known, or has expired."""
        ticket = self._tickets.get(digest)
        if ticket is None:
            return None
        if ticket.expires_at <= self._clock():
            self._forget(digest)
            return None
        return ticket

    def _forget(self, digest: bytes) -> None:
        self._chars -= len(self._tickets.pop(digest).session)
