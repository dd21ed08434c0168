"""Several engines as one: the next hears where one fails before its first segment."""

import threading
from collections.abc import Iterator
from dataclasses import replace

from configs.settings import FallbackSttSettings
from deployments.fallback import Chain, Unwatched, Watch
from deployments.messages import Segment, Transcript, TranscriptionRequest
from deployments.remote import Reachable
from deployments.stt.engine import SttEngine


class FallbackSttEngine:
    """What can be asked for is what the first engine knows; others stand in for it."""

    def __init__(
        self,
        settings: FallbackSttSettings,
        engines: list[SttEngine],
        watch: Watch | None = None,
    ) -> None:
        named = [
            (each.engine, engine, each.workers)
            for each, engine in zip(settings.order, engines, strict=True)
        ]
        self._chain = Chain("stt", named, settings.circuit, watch or Unwatched())

    def warm_up(self) -> None:
        """Warm every engine."""
        for member in self._chain.members:
            member.engine.warm_up()

    def is_up(self) -> bool:
        """Whether any engine can be asked."""
        return any(
            not isinstance(member.engine, Reachable) or member.engine.is_up()
            for member in self._chain.members
        )

    def transcribe(
        self, request: TranscriptionRequest, stop: threading.Event
    ) -> Iterator[Segment | Transcript]:
        """Hear with the first engine that can."""
        answered = False
        for engine, item in self._chain.answers(lambda each: each.transcribe(request, stop), stop):
            answered = isinstance(item, Transcript)
            yield replace(item, engine=engine) if isinstance(item, Transcript) else item
        if not answered:  # stopped before any engine was asked
            yield Transcript("", request.language, None, request.audio.duration_s)
