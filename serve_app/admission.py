"""Who is let in: before anything of a request is read, by how long it would wait.

`ROUTES` is the only place that says what a route asks of the stages, and how urgent it is. A route that is
not in it is always let in.
"""

import random
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from starlette.routing import compile_path

from configs.settings import AdmissionSettings
from deployments.errors import RateLimited, StageOverloaded
from deployments.metrics import AdmissionMetrics
from serve_app.stage_load import LANES, Lane, StageLoad, Work, working

_LONGEST_S = 60.0  # OpenAI's clients heed no longer time
_TURN = ("stt", "llm", "tts")


@dataclass(frozen=True, slots=True)
class Errand:
    """What a route asks: of which stages, in their order, and in which lane."""

    stages: tuple[str, ...]
    lane: Lane


_LIVE_TURN = Errand(_TURN, "live")
_HEAR, _WRITE, _SPEAK = (Errand((stage,), "bulk") for stage in _TURN)
_HEAR_LIVE, _WRITE_LIVE, _SPEAK_LIVE = (Errand((stage,), "live") for stage in _TURN)

# "http" is POST: what is only read costs the stages nothing.
ROUTES: Mapping[str, Mapping[str, Errand]] = {
    "http": {
        "/v1/dialogue": _LIVE_TURN,
        "/v1/conversation/dialogue": _LIVE_TURN,
        "/v1/speech-to-text": _HEAR,
        "/v1/audio/transcriptions": _HEAR,
        "/v1/audio/translations": _HEAR,
        "/v1/generate": _WRITE,
        "/v1/generate_stream": _WRITE,
        "/v1/chat/completions": _WRITE,
        "/v1/completions": _WRITE,
        "/v1/text-to-speech": _SPEAK,
        "/v1/text-to-speech/{voice_id}": _SPEAK,
        "/v1/text-to-speech/{voice_id}/stream": _SPEAK,
        "/v1/audio/speech": _SPEAK,
    },
    "websocket": {
        "/v1/realtime": _LIVE_TURN,
        "/v1/conversation/ws": _LIVE_TURN,
        "/ws/stt": _HEAR_LIVE,
        "/v1/speech-to-text/ws": _HEAR_LIVE,
        "/v1/speech-to-text/stream": _HEAR_LIVE,
        "/v1/generate_ws": _WRITE_LIVE,
        "/ws/tts": _SPEAK_LIVE,
        "/v1/text-to-speech/ws": _SPEAK_LIVE,
        "/v1/text-to-speech/{voice_id}/stream-input": _SPEAK_LIVE,
        "/v1/text-to-speech/{voice_id}/multi-stream-input": _SPEAK_LIVE,
    },
}
_PATTERNS = {
    kind: [(compile_path(path)[0], errand) for path, errand in routes.items()]
    for kind, routes in ROUTES.items()
}


def errand_of(kind: str, method: str, path: str) -> Errand | None:
    """What a request asks of the stages; None where that is nothing that counts."""
    if kind == "http" and method != "POST":
        return None
    return next((errand for pattern, errand in _PATTERNS[kind] if pattern.match(path)), None)


class Admission:
    """Lets requests in while they need not wait too long.

    `spread` draws how much later than at the predicted time a refused caller may come again: those
    who are refused together must not come together.
    """

    def __init__(
        self,
        settings: AdmissionSettings,
        loads: Mapping[str, StageLoad],
        metrics: AdmissionMetrics,
        spread: Callable[[], float] = lambda: random.uniform(1.0, 2.0),  # noqa: S311
    ) -> None:
        self._settings, self._loads, self._metrics, self._spread = settings, loads, metrics, spread
        self._inside: dict[Lane, int] = dict.fromkeys(LANES, 0)

    @contextmanager
    def admitted(self, errand: Errand, caller: str, *, stays: bool) -> Generator[Work, None, None]:
        """A request while it lasts; one that `stays` is a socket, and asks nothing now.

        Raises:
            StageOverloaded: it would wait too long, or there are too many.
            RateLimited: the same, and others have waited for less than this caller has.
        """
        loads = [self._loads[stage] for stage in errand.stages]
        for load in loads:
            load.note(errand.lane, caller)
        if self._settings.enabled:
            self._check(errand.lane, loads, caller, stays=stays)
        work = Work(errand.lane, caller)
        with ExitStack() as stack:
            if not stays:
                stack.enter_context(self._counted(errand.lane))
                for load in loads:
                    work.claims[load.stage] = stack.enter_context(load.claim(errand.lane, caller))
            stack.enter_context(working(work))
            yield work

    def refresh(self) -> None:
        """Tell how long one would wait now."""
        for load in self._loads.values():
            for lane in LANES:
                self._metrics.wait(load.stage, lane, load.wait_s(lane))

    @contextmanager
    def _counted(self, lane: Lane) -> Generator[None, None, None]:
        self._inside[lane] += 1
        try:
            yield
        finally:
            self._inside[lane] -= 1

    def _check(self, lane: Lane, loads: list[StageLoad], caller: str, *, stays: bool) -> None:
        settings = self._settings
        waits_s = _waits_s(lane, loads)
        wait_s = sum(waits_s)
        slowest = loads[waits_s.index(max(waits_s))]
        limit_s = settings.live_wait_s if lane == "live" else settings.bulk_wait_s
        waiting, full = wait_s / limit_s, 0.0 if stays else self._taken(lane)
        again_s = min(wait_s * self._spread(), _LONGEST_S)
        if waiting > 1 or full >= 1:
            stage, reason = (slowest.stage, "wait") if waiting > 1 else ("dialogue", "full")
            self._metrics.refused(stage, lane, reason)
            raise StageOverloaded(stage, again_s)
        crowded = max(waiting, full) > settings.fair_from
        if crowded and slowest.has_more_than_its_share(lane, caller):
            self._metrics.refused(slowest.stage, lane, "share")
            raise RateLimited("share", again_s)

    def _taken(self, lane: Lane) -> float:
        """The share of the places for requests that is taken; the last ones are for live ones."""
        most = self._settings.max_requests
        if lane == "live":
            return sum(self._inside.values()) / most
        return self._inside["bulk"] / max(1, int(most * (1 - self._settings.live_share)))


def _waits_s(lane: Lane, loads: list[StageLoad]) -> list[float]:
    """How long a request would wait at each stage; what lies before a stage has shrunk when it comes."""
    waits_s: list[float] = []
    passed_s = 0.0
    for load in loads:
        wait_s = load.wait_s(lane, passed_s)
        waits_s.append(wait_s)
        passed_s += wait_s + load.usual_s(lane)
    return waits_s
