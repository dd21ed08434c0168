"""When people arrive: open-loop, so that a slow server does not slow the load down."""

import random
from dataclasses import dataclass

MOST_ARRIVALS = 1_000_000


@dataclass(frozen=True, slots=True)
class Arrival:
    """Somebody comes `at_s` seconds after the beginning; `live`: for a conversation, else one turn."""

    at_s: float
    live: bool


def schedule(rate_per_s: float, duration_s: float, live_share: float, seed: int) -> list[Arrival]:
    """Poisson arrivals at a constant rate: known before the first one, the same for a seed.

    Raises:
        ValueError: a figure is out of its range, or there would be too many arrivals, or none.
    """
    if rate_per_s <= 0 or duration_s <= 0 or not 0 <= live_share <= 1:
        raise ValueError("rate and duration must be positive, the share from 0 to 1")
    if rate_per_s * duration_s > MOST_ARRIVALS:
        raise ValueError(f"more than {MOST_ARRIVALS} arrivals")
    chance = random.Random(seed)
    arrivals: list[Arrival] = []
    at_s = chance.expovariate(rate_per_s)
    while at_s < duration_s:
        arrivals.append(Arrival(at_s, chance.random() < live_share))
        at_s += chance.expovariate(rate_per_s)
    if not arrivals:
        raise ValueError("nobody arrives: raise the rate, the duration or the seed")
    return arrivals
