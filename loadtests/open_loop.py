"""Lets Locust's users arrive by a schedule, whether or not the ones before were served."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gevent
from locust.env import Environment

from loadtests.arrivals import Arrival
from loadtests.locustfile import Conversations, SpokenTurns, Visitor
from loadtests.visits import Kind, Visit

LAST_S = 150.0  # how long those who came last are waited for
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Load:
    """Who arrives when, where, and how many of them are there at the same time at most."""

    host: str
    headers: Mapping[str, str]
    arrivals: Sequence[Arrival]
    most_users: int
    turns: int
    interrupting_share: float


def run(load: Load) -> list[Visit]:
    """All visits, in the order of their arrivals; one that has not ended in time has failed."""
    SpokenTurns.host = Conversations.host = load.host
    environment = Environment(user_classes=[SpokenTurns, Conversations])
    runner = environment.create_local_runner()
    visits: list[Visit] = []
    began_at = time.perf_counter()
    for arrival in load.arrivals:
        visit = Visit(Kind.CONVERSATION if arrival.live else Kind.ONE_SHOT, arrival.at_s)
        visits.append(visit)
        due_at = began_at + arrival.at_s
        gevent.sleep(max(0.0, due_at - time.perf_counter()))
        if runner.user_count >= load.most_users:
            visit.not_sent()
            continue
        user_class = Conversations if arrival.live else SpokenTurns
        (user,) = runner.spawn_users({user_class.__name__: 1})
        _prepare(user, load, visit, due_at)  # it has not begun: nothing has waited since
    deadline = time.perf_counter() + LAST_S
    while runner.user_count and time.perf_counter() < deadline:
        gevent.sleep(_POLL_S)
    runner.quit()
    return visits


def _prepare(user: object, load: Load, visit: Visit, due_at: float) -> None:
    assert isinstance(user, Visitor)
    user.arrival, user.headers = (visit, due_at), load.headers
    if isinstance(user, Conversations):
        user.turns, user.interrupting_share = load.turns, load.interrupting_share
