"""What of a reply's audio was sent, and what of it can have been heard."""

import time
from collections.abc import Callable
from dataclasses import dataclass

# The end of a clause is silence: a listener who left out so much of it has heard the clause.
_TAIL_S = 0.15


@dataclass(frozen=True, slots=True)
class _Clause:
    """Where a clause ends in the reply's text, and where its audio begins."""

    text_end: int
    start_s: float


class Playout:
    """Times the playing of one reply. A listener plays at the pace of speech from the first frame on."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._clauses: list[_Clause] = []
        self._made_s = self._sent_s = self._ends_at = 0.0
        self._searched = 0
        self._complete = False

    @property
    def made_s(self) -> float:
        """Seconds of audio that the voice has made."""
        return self._made_s

    @property
    def sent_s(self) -> float:
        """Seconds of audio that were sent."""
        return self._sent_s

    @property
    def played_s(self) -> float:
        """Seconds of audio that can have been played by now."""
        return max(0.0, self._sent_s - self.left_s)

    @property
    def ends_at(self) -> float:
        """When what was sent is played, by the clock."""
        return self._ends_at

    @property
    def left_s(self) -> float:
        """Seconds until what was sent is played."""
        return max(0.0, self._ends_at - self._clock())

    def begin_clause(self, clause: str, reply: str) -> None:
        """What is made from now on speaks this clause of the reply's text so far."""
        at = reply.find(clause, self._searched)
        if at >= 0:
            self._searched = at + len(clause)
        self._clauses.append(_Clause(self._searched, self._made_s))

    def make(self, seconds: float) -> None:
        """The voice has made so much more."""
        self._made_s += seconds

    def complete(self) -> None:
        """All of the reply is made."""
        self._complete = True

    def send(self, seconds: float) -> None:
        """So much more was sent."""
        self._ends_at = max(self._ends_at, self._clock()) + seconds
        self._sent_s += seconds

    def stop(self) -> None:
        """What was sent and not yet played is not played any more."""
        self._sent_s = self.played_s
        self._ends_at = min(self._ends_at, self._clock())

    def heard(self, reply: str, played_s: float) -> str:
        """The part of the reply's text whose clauses were played to their end."""
        end = 0
        for index, clause in enumerate(self._clauses):
            last = index + 1 == len(self._clauses)
            if last and not self._complete:
                break
            end_s = self._made_s if last else self._clauses[index + 1].start_s
            if end_s - _TAIL_S > played_s:
                break
            end = len(reply) if last else clause.text_end
        return reply[:end].strip()
