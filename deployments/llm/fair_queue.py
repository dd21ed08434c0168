"""First come, first served, in two classes: a live conversation before other work."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

# So many live ones may go before a waiting one of the other class.
_LIVE_IN_A_ROW = 3


class FairQueue(Generic[T]):
    """Items wait in two lines. Live ones go first; every fourth place is the other line's."""

    def __init__(self) -> None:
        self._live: deque[T] = deque()
        self._bulk: deque[T] = deque()
        self._row = 0

    def __len__(self) -> int:
        return len(self._live) + len(self._bulk)

    def __iter__(self) -> Iterator[T]:
        yield from self._live
        yield from self._bulk

    def put(self, item: T, *, live: bool, first: bool = False) -> None:
        """Add an item at the end of its line, or at its beginning."""
        line = self._live if live else self._bulk
        if first:
            line.appendleft(item)
        else:
            line.append(item)

    def take(self, fits: Callable[[T], bool] = lambda _: True) -> T | None:
        """The next item; one that does not fit now keeps its place, and lets those behind it go."""
        lines = [self._live, self._bulk]
        if self._row >= _LIVE_IN_A_ROW:
            lines.reverse()
        for line in lines:
            for item in line:
                if fits(item):
                    line.remove(item)
                    waits = line is self._live and bool(self._bulk)
                    self._row = self._row + 1 if waits else 0
                    return item
        return None

    def discard(self, item: T) -> None:
        """Take an item out, wherever it stands."""
        for line in (self._live, self._bulk):
            if item in line:
                line.remove(item)
