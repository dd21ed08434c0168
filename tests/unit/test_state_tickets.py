"""Short-lived keys, bounded in age, number and size."""

from dataclasses import dataclass

from deployments.messages import KeyLimits, Ticket
from deployments.state.tickets import Tickets


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def ticket(expires_at: float = 200.0, session: str = "") -> Ticket:
    return Ticket("ada", KeyLimits(), expires_at, session)


def test_a_key_opens_until_it_expires() -> None:
    clock = Clock()
    tickets = Tickets(clock)
    tickets.issue(b"a", ticket())
    assert tickets.find(b"a") == ticket()
    assert tickets.find(b"b") is None
    clock.now = 200.0
    assert tickets.find(b"a") is None


def test_the_oldest_go_first_where_there_are_too_many() -> None:
    tickets = Tickets(Clock())
    for number in range(10_001):
        tickets.issue(number.to_bytes(4), ticket())
    assert tickets.find((0).to_bytes(4)) is None
    assert tickets.find((1).to_bytes(4)) is not None


def test_their_sessions_are_bounded_together_and_what_expired_takes_no_room() -> None:
    clock = Clock()
    tickets = Tickets(clock)
    large = "x" * 6_000_000
    tickets.issue(b"old", ticket(150.0, large))
    tickets.issue(b"a", ticket(900.0, large))
    clock.now = 151.0
    tickets.issue(b"b", ticket(900.0, large))
    assert tickets.find(b"a") is not None
    tickets.issue(b"c", ticket(900.0, large))
    assert tickets.find(b"a") is None
    assert tickets.find(b"c") is not None
