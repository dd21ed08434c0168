"""What one replica of the ingress knows of a stage: what it has asked of it, and how long that takes.

All of it is measured here. A stage that others keep busy, too, answers later, and so looks as slow
as it is to this replica.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal, Protocol

from deployments.errors import StageOverloaded

Lane = Literal["live", "bulk"]
LANES: tuple[Lane, Lane] = ("live", "bulk")  # somebody waits for his turn; everything else

_NEWEST = 0.2  # share of the newest request in what one is expected to take
_HALF = 0.5  # of a call under way is done, on average
_RECENT_S = 30.0  # who asked within this is reckoned with
_LOOK_S = 0.1  # a caller who stops reading, or a new replica, makes room without a word
_COMING_S = 5.0  # so long a request is expected whose body is still on its way
_SHORT_S = 0.25  # of calls as short as this, one waits in each replica: none is ever idle


@dataclass(slots=True, eq=False)
class Claim:
    """What one request asks of a stage: expected when it is let in, and then measured."""

    lane: Lane
    caller: str
    since: float = 0.0
    is_here: bool = False  # its body has come
    took_s: float = 0.0  # of a place, so far
    at_work: int = 0  # calls that the stage has, and that somebody waits for
    is_whole: bool = True  # no call failed or was given up


@dataclass(slots=True)
class Work:
    """One request, or one socket: whose it is, how urgent, and what it asks of each stage."""

    lane: Lane
    caller: str
    claims: dict[str, Claim] = field(default_factory=dict[str, Claim])

    def has_come(self) -> None:
        """All of its body has been read."""
        for claim in self.claims.values():
            claim.is_here = True


_work: ContextVar[Work | None] = ContextVar("gemmavoice_work", default=None)


@contextmanager
def working(work: Work) -> Generator[None, None, None]:
    """What this task, and those that it starts, ask of the stages is for this."""
    token = _work.set(work)
    try:
        yield
    finally:
        _work.reset(token)


class _Lane:
    """The requests of one lane."""

    def __init__(self) -> None:
        self.claims: set[Claim] = set()
        self.usual_s: float | None = None  # what a request takes of a place
        self._asked_at: dict[str, float] = {}  # caller -> when; the latest at the end
        self._most, self._most_at = 0, 0.0  # calls at once, and when

    @property
    def at_work(self) -> int:
        return sum(claim.at_work for claim in self.claims)

    def note(self, caller: str, now: float) -> None:
        self._asked_at.pop(caller, None)
        self._asked_at[caller] = now
        self._forget(now)

    def begin(self, claim: Claim, now: float) -> None:
        """One call more."""
        claim.at_work += 1
        if self.at_work >= self._most or now - self._most_at > _RECENT_S:
            self._most, self._most_at = self.at_work, now

    def needs(self, now: float) -> int:
        """How many places these requests may need at once, as far as the last ones tell."""
        if not self.claims and not self.callers(now):
            return 0
        return max(1, self._most if now - self._most_at <= _RECENT_S else 0)

    def callers(self, now: float) -> int:
        """How many callers have asked lately."""
        self._forget(now)
        return len(self._asked_at)

    def learn(self, took_s: float) -> None:
        old = took_s if self.usual_s is None else self.usual_s
        self.usual_s = old + _NEWEST * (took_s - old)

    def left_s(self, claim: Claim) -> float:
        """Seconds of a place that a request is still to take."""
        return max(0.0, (self.usual_s or 0.0) - claim.took_s)

    def ahead(self, now: float) -> list[tuple[float, bool]]:
        """What stands before one that comes now: each request's work, and whether the stage has it."""
        coming = (c for c in self.claims if c.is_here or now - c.since < _COMING_S)
        left = ((self.left_s(claim), claim.at_work > 0) for claim in coming)
        return [(seconds, is_there) for seconds, is_there in left if seconds or is_there]

    def _forget(self, now: float) -> None:
        while self._asked_at and now - next(iter(self._asked_at.values())) > _RECENT_S:
            del self._asked_at[next(iter(self._asked_at))]


class Router(Protocol):
    """Who sends calls to the replicas of a stage."""

    def replicas(self) -> int | None:
        """How many there are; None where it is not known."""
        ...

    def waiting(self, more: int) -> None:
        """One call more (1) or less (-1) waits here."""
        ...


class UnknownRouter:
    """One that knows nothing."""

    def replicas(self) -> int | None:
        """Not known."""
        return None

    def waiting(self, more: int) -> None:
        """Not told."""


class StageLoad:
    """The work of one stage.

    `each` is how many calls a replica works on at once. Where nobody knows how many replicas there are,
    nothing is predicted, and nobody waits. Other work leaves live work the places that it has
    used lately, up to `live_share` of them.
    """

    def __init__(
        self,
        stage: str,
        each: int = 1,
        router: Router | None = None,
        live_share: float = 0.5,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.stage = stage
        self._each, self._live_share, self._clock = each, live_share, clock
        self._router = router or UnknownRouter()
        self._lanes: dict[Lane, _Lane] = {lane: _Lane() for lane in LANES}
        self._line = asyncio.Lock()
        self._ended = asyncio.Event()

    @property
    def places(self) -> int:
        """Calls that the stage works on at once; 0 where it is not known."""
        return (self._router.replicas() or 0) * self._each

    def usual_s(self, lane: Lane) -> float:
        """Seconds of a place that a request takes; 0 where it is not known."""
        return self._lanes[lane].usual_s or 0.0

    def wait_s(self, lane: Lane, after_s: float = 0.0) -> float:
        """How long one that comes in `after_s` seconds would wait for a place."""
        places = self.places
        if not places:
            return 0.0
        live, bulk, now = self._lanes["live"], self._lanes["bulk"], self._clock()
        if lane == "live":
            # Other work that waits here is passed; what the stage has is not.
            before = live.ahead(now) + [each for each in bulk.ahead(now) if each[1]]
            return max(0.0, _queue_s(before, places) - after_s)
        own = self._places_of_bulk(places)
        crowd = max(1.0, (live.at_work + own) / places)
        return max(0.0, _queue_s(bulk.ahead(now), own) * crowd - after_s)

    def has_more_than_its_share(self, lane: Lane, caller: str) -> bool:
        """Whether others would get less than this caller, if all who asked lately had the same."""
        line = self._lanes[lane]
        own = sum(claim.caller == caller for claim in line.claims)
        return own * line.callers(self._clock()) > len(line.claims)

    def note(self, lane: Lane, caller: str) -> None:
        """Somebody asks, and may be let in."""
        self._lanes[lane].note(caller, self._clock())

    @contextmanager
    def claim(self, lane: Lane, caller: str) -> Generator[Claim, None, None]:
        """A request that will ask something of the stage, until it ends."""
        line = self._lanes[lane]
        claim = Claim(lane, caller, self._clock())
        line.claims.add(claim)
        try:
            yield claim
        finally:
            line.claims.discard(claim)
            if claim.is_whole and claim.took_s:
                line.learn(claim.took_s)

    @asynccontextmanager
    async def call(self, patience_s: float) -> AsyncGenerator["Call", None]:
        """One call, from the moment at which the stage may have it.

        Raises:
            StageOverloaded: that moment did not come in time.
        """
        work = _work.get() or Work("live", "")
        with ExitStack() as stack:
            claim = work.claims.get(self.stage)
            if claim is None:  # a socket asks again and again
                self.note(work.lane, work.caller)
                claim = stack.enter_context(self.claim(work.lane, work.caller))
            claim.is_here = True
            if claim.lane == "bulk":
                await self._wait_in_line(claim, patience_s)
            else:
                self._lanes["live"].begin(claim, self._clock())
            call = Call(claim, self._clock)
            # Of a place that several share, each has a part.
            sharing = max(1, sum(lane.at_work for lane in self._lanes.values()))
            part = min(1.0, (self.places or sharing) / sharing)
            try:
                yield call
            except BaseException:
                claim.is_whole = False
                raise
            finally:
                claim.at_work -= 1
                claim.took_s += call.took_s() * part
                self._ended.set()

    async def _wait_in_line(self, claim: Claim, patience_s: float) -> None:
        if not self._line.locked() and self._has_room():
            claim.at_work += 1
            return
        self._router.waiting(1)
        try:
            async with asyncio.timeout(patience_s), self._line:
                while not self._has_room():
                    self._ended.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_S):
                            await self._ended.wait()
                claim.at_work += 1
        except TimeoutError:
            raise StageOverloaded(self.stage) from None
        finally:
            self._router.waiting(-1)

    def _has_room(self) -> bool:
        """Whether the stage may have one more call of other work."""
        places = self.places
        if not places:
            return True  # Serve wakes a stage, or says that it is away
        room = self._places_of_bulk(places)
        if room == places and self.usual_s("bulk") < _SHORT_S:
            room += places // self._each
        return self._lanes["bulk"].at_work < room

    def _places_of_bulk(self, places: int) -> int:
        left = min(int(places * self._live_share), self._lanes["live"].needs(self._clock()))
        return max(1, places - left)


class Call:
    """A call while it lasts."""

    def __init__(self, claim: Claim, clock: Callable[[], float]) -> None:
        self._claim, self._clock = claim, clock
        self._began, self._away_s = clock(), 0.0

    @contextmanager
    def unread(self) -> Generator[None, None, None]:
        """Nobody waits for the stage now: it works ahead, or has done all, and its place is free."""
        left = self._clock()
        self._claim.at_work -= 1
        try:
            yield
        finally:
            self._claim.at_work += 1
            self._away_s += self._clock() - left

    def took_s(self) -> float:
        """Seconds in which somebody waited for it."""
        return self._clock() - self._began - self._away_s


def _queue_s(before: Collection[tuple[float, bool]], places: int) -> float:
    """When a place is free for one more; each call's seconds of work, and whether the stage has it."""
    if len(before) < places:
        return 0.0
    whole_s = sum(seconds for seconds, _ in before)
    at_stage = [seconds for seconds, is_there in before if is_there]
    # Of those that the stage has, as many as there are places are under way, and half done; so are
    # those that all but one of the places will have then.
    begun = min(1.0, places / len(at_stage)) if at_stage else 0.0
    done_s = _HALF * begun * sum(at_stage)
    later_s = _HALF * (places - 1) * whole_s / len(before)
    return max(0.0, whole_s - done_s - later_s) / places
