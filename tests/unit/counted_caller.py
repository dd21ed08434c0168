"""A caller that remembers what it was charged."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from deployments.errors import SpeechError
from serve_app import caller
from tests.unit.fake_services import Served


@dataclass
class CountedCaller:
    owner: str = "somebody"
    error: SpeechError | None = None
    heard_s: list[float] = field(default_factory=list)
    spoken_s: list[float] = field(default_factory=list)

    async def spend_audio(self, seconds: float) -> None:
        self.heard_s.append(seconds)
        if self.error:
            raise self.error

    async def note_audio(self, seconds: float) -> None:
        self.spoken_s.append(seconds)


@contextmanager
def counting(served: Served, error: SpeechError | None = None) -> Iterator[CountedCaller]:
    """Let one caller send all requests."""
    counted = CountedCaller(error=error)
    served.api.dependency_overrides[caller._caller] = lambda: counted
    try:
        yield counted
    finally:
        del served.api.dependency_overrides[caller._caller]
