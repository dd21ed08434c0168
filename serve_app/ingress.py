"""The `dialogue` deployment: handles in, API out."""

from typing import Any

from fastapi import FastAPI
from ray.serve.handle import DeploymentHandle

from configs.settings import AppSettings
from deployments.metrics import (
    AdmissionMetrics,
    HttpMetrics,
    LiveMetrics,
    MemoryMetrics,
    TurnMetrics,
)
from deployments.observe import observe
from serve_app.admission import Admission
from serve_app.api import build_api
from serve_app.cloned_voices import ClonedVoices
from serve_app.draining import is_draining
from serve_app.ears import Ears
from serve_app.handles import LibraryHandle, LlmHandle, StateHandle, SttHandle, TtsHandle
from serve_app.live_desk import LiveDesk
from serve_app.media.decode import AudioDecoder
from serve_app.model_catalog import ModelCatalog
from serve_app.normalized_voice import reading
from serve_app.scaling import PLACES, WORKING
from serve_app.services import Services
from serve_app.session_memory.redis_sessions import RedisSessions
from serve_app.stage_load import StageLoad
from serve_app.stage_router import StageRouter

Handle = DeploymentHandle[Any]


class DialogueIngress:
    """Serves the API over the stages of the graph."""

    def __init__(
        self, settings: AppSettings, stt: Handle, llm: Handle, tts: Handle, state: Handle
    ) -> None:
        observe(settings.observation)
        loads = _loads(settings, stt, llm, tts)
        speaker = TtsHandle(tts, settings.timeouts, loads["tts"])
        shared = StateHandle(state, settings.timeouts)
        self._memory_metrics = MemoryMetrics()
        self._redis = (
            RedisSessions(settings.sessions, self._memory_metrics)
            if settings.sessions.redis_url
            else None
        )
        self._services = Services(
            settings=settings,
            stt=SttHandle(stt, settings.timeouts, loads["stt"]),
            llm=LlmHandle(llm, settings.timeouts, loads["llm"]),
            tts=reading(speaker, settings.audio),
            state=shared,
            sessions=self._redis or shared,
            decoder=AudioDecoder(settings.audio),
            http_metrics=HttpMetrics(),
            turn_metrics=TurnMetrics(),
            live_metrics=LiveMetrics(),
            admission=Admission(settings.admission, loads, AdmissionMetrics()),
            models=ModelCatalog(settings),
            ears=Ears(settings.live),
            cloned=ClonedVoices(LibraryHandle(state, settings.timeouts), speaker),
        )

    async def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve once the replica is constructed."""
        during = () if self._redis is None else (self._redis.watched,)
        api = build_api(self._services, is_draining, during)
        self._desk: LiveDesk = api.state.desk
        return api

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve every few moments; read by `scaling.by_work`."""
        working = self._services.http_metrics.in_flight + self._desk.working
        return {WORKING: float(working), PLACES: self._desk.places_taken}

    async def check_health(self) -> None:
        """Called by Serve; a replica whose loop still turns is healthy."""
        self._services.live_metrics.refresh()
        self._services.admission.refresh()
        self._memory_metrics.refresh()

    def __del__(self) -> None:
        if services := getattr(self, "_services", None):
            services.decoder.close()
            services.ears.close()


def _loads(settings: AppSettings, stt: Handle, llm: Handle, tts: Handle) -> dict[str, StageLoad]:
    """An account of each stage's work; how much it does at once is its engine's setting."""
    at_once = {
        "stt": (stt, settings.stt.workers),
        "llm": (llm, settings.llm.parallel),
        "tts": (tts, settings.tts.workers),
    }
    if not settings.admission.enabled:
        return {stage: StageLoad(stage) for stage in at_once}
    share = settings.admission.live_share
    return {
        stage: StageLoad(stage, each, StageRouter(handle), share)
        for stage, (handle, each) in at_once.items()
    }
