"""Short-lived keys, which a browser may hold: hashes of them, and whose they are."""

import time
from collections import OrderedDict
from collections.abc import Callable

from deployments.messages import Ticket

_TICKETS = 10_000


class Tickets:
    """Tickets by the hash of their key; the oldest are forgotten first."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:  # noqa: TID251 - shown as dates
        self._clock = clock
        self._tickets: OrderedDict[bytes, Ticket] = OrderedDict()

    def issue(self, digest: bytes, ticket: Ticket) -> None:
        """Let this key in until it expires."""
        self._tickets[digest] = ticket
        while len(self._tickets) > _TICKETS:
            self._tickets.popitem(last=False)

    def find(self, digest: bytes) -> Ticket | None:
        """Whose key this is; None where it is not known, or has expired."""
        ticket = self._tickets.get(digest)
        if ticket is None:
            return None
        if ticket.expires_at <= self._clock():
            del self._tickets[digest]
            return None
        return ticket
