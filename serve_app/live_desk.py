"""What the live sessions of one replica share: models, bounds, their number, and when they must end."""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import asdict
from typing import Annotated, Literal, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from configs.settings import AppSettings, LiveSettings
from deployments.errors import StageOverloaded
from deployments.link import note_session
from deployments.messages import SpeechRequest
from deployments.metrics import LiveMetrics
from serve_app.asked_by import AskedBy
from serve_app.hearing.endpointing import Endpointing
from serve_app.live.config import LiveBounds, LiveConfig, TurnTaking
from serve_app.live.events import LiveTimings
from serve_app.live.memory import LiveMemory
from serve_app.live.ports import Emit, LiveContext, Stages
from serve_app.live.session import LiveSession
from serve_app.protocol.gemmavoice import SamplingFields
from serve_app.sampling import sampling_of
from serve_app.services import Services

logger = logging.getLogger("ray.serve")

_DRAIN_POLL_S = 0.5


class LiveDesk:
    """Opens live sessions, as many as the settings allow, until the replica must end."""

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self._services, self._live = services, settings.live
        self._open = 0
        self._busy: set[Callable[[], bool]] = set()
        self.bounds = bounds(settings.live)
        self.draining = asyncio.Event()

    @property
    def metrics(self) -> LiveMetrics:
        """Where live sessions are counted."""
        return self._services.live_metrics

    @contextmanager
    def seat(self, kind: str) -> Generator[None, None, None]:
        """A place for one socket of this kind.

        Raises:
            StageOverloaded: there is no place, or the replica is about to end.
        """
        reason = "draining" if self.draining.is_set() else "full"
        if reason == "draining" or self._open >= self._live.max_sessions:
            self.metrics.refused(reason)
            raise StageOverloaded("dialogue")
        self._open += 1
        try:
            with self.metrics.session(kind):
                yield
        finally:
            self._open -= 1

    @contextmanager
    def work(self, is_busy: Callable[[], bool]) -> Generator[None, None, None]:
        """An open socket, which is work whenever it says so."""
        self._busy.add(is_busy)
        try:
            yield
        finally:
            self._busy.discard(is_busy)

    @property
    def working(self) -> int:
        """On how many sockets something is going on."""
        return sum(is_busy() for is_busy in self._busy)

    @property
    def places_taken(self) -> float:
        """The share of the places that sockets have."""
        return self._open / self._live.max_sessions

    def session(
        self, config: LiveConfig, emit: Emit, owner: str, memory: LiveMemory | None = None
    ) -> LiveSession:
        """A conversation; enter it to begin."""
        session_id = secrets.token_hex(8) if memory is None else memory.session_id
        note_session(session_id)
        services, ears = self._services, self._services.ears
        sounds = ears.sounds_finished if ears.judges_sound else None
        llm = AskedBy(services.llm, owner, session_id, live=True)
        stages = Stages(services.stt, llm, services.tts, sounds)
        context = LiveContext(stages, self.bounds, emit, _Recorder(self.metrics))
        return LiveSession(context, ears.voice, config, memory)

    def memory(self, owner: str, session_id: str) -> LiveMemory:
        """Where a dialogue of this owner is kept."""
        return LiveMemory(self._services.sessions, owner, session_id)

    async def settle(self, session: LiveSession) -> None:
        """Return when the running turn is over, or has had its time."""
        try:
            async with asyncio.timeout(self._live.drain_s):
                await session.settled()
        except TimeoutError:
            logger.warning("a live turn did not end in time")


class _Recorder:
    """Metrics, and one line of the log for each turn."""

    def __init__(self, metrics: LiveMetrics) -> None:
        self._metrics = metrics

    def turn(self, timings: LiveTimings, outcome: str) -> None:
        """A reply ended."""
        phases = {name: value for name, value in asdict(timings).items() if value is not None}
        for name, seconds in phases.items():
            self._metrics.phase(name.removesuffix("_s"), seconds)
        self._metrics.replied(outcome)
        logger.info("live turn ended", extra={"outcome": outcome, **phases})

    def guessed(self, work: Literal["transcript", "reply"], *, useful: bool, tokens: int) -> None:
        """Speculative work was of use, or was not."""
        self._metrics.guessed(work, useful=useful, tokens=tokens)

    def interrupted(self, *, really: bool) -> None:
        """The user spoke while a reply was heard."""
        self._metrics.interrupted("real" if really else "false")


def bounds(live: LiveSettings) -> LiveBounds:
    """What every session may hold and spend."""
    return LiveBounds(
        max_utterance_s=live.max_utterance_s,
        max_items=live.max_items,
        max_chars=live.max_chars,
        lead_s=live.lead_s,
        ahead_s=live.ahead_s,
        partial_share=live.partial_share,
        partial_interval_s=live.partial_interval_s,
        finished_probability=live.smart_turn_threshold,
    )


def endpointing(live: LiveSettings) -> Endpointing:
    """The server's own way to tell that the user has finished."""
    return Endpointing(
        threshold=live.vad_threshold,
        prefix_padding_ms=live.prefix_padding_ms,
        silence_ms=live.silence_ms,
        unfinished_ms=max(live.unfinished_ms, live.silence_ms),
        unheard_ms=max(live.unheard_ms, live.silence_ms),
    )


def default_config(settings: AppSettings) -> LiveConfig:
    """How a session begins: spoken, with the server's own turn taking."""
    live = settings.live
    taking = TurnTaking(endpointing(live), interrupt_after_ms=live.interrupt_after_ms)
    return LiveConfig(
        instructions=settings.prompts.spoken,
        prompt_template=settings.prompts.spoken_template,
        sampling=sampling_of(SamplingFields.model_validate({}), settings.spoken_sampling),
        voice=SpeechRequest("", normalize=settings.audio.default_normalize),
        turn_taking=taking,
    )


def watching(
    desk: LiveDesk, is_draining: Callable[[], bool]
) -> Callable[[object], AbstractAsyncContextManager[None]]:
    """The application's lifespan: sessions are told when the replica must end."""

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncGenerator[None, None]:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(_watch(desk, is_draining), name="drain")
            yield
            watcher.cancel()

    return lifespan


async def _watch(desk: LiveDesk, is_draining: Callable[[], bool]) -> None:
    while not is_draining():  # noqa: ASYNC110 - Serve has no event for it
        await asyncio.sleep(_DRAIN_POLL_S)
    logger.info("live sessions end with their running turn")
    desk.draining.set()


async def _desk(connection: HTTPConnection) -> LiveDesk:  # else FastAPI starts a thread
    return cast("LiveDesk", connection.app.state.desk)


LiveDeskDep = Annotated[LiveDesk, Depends(_desk)]
