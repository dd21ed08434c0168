"""Whether the service lives, whether it can work, and what it has done."""

import asyncio
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from deployments.errors import SpeechError
from serve_app.metrics_page import render_metrics
from serve_app.protocol.health import AliveOut, HealthOut, ReadyOut, StageOut
from serve_app.services import Services, ServicesDep, Stage

router = APIRouter(tags=["health"])

VERSION = version("gemmavoice-serve")


@router.get("/health/live", response_model=AliveOut)
async def live() -> dict[str, str]:
    """The ingress answers."""
    return {"status": "alive"}


@router.get("/health/ready", response_model=ReadyOut, responses={503: {"model": ReadyOut}})
async def ready(services: ServicesDep) -> Response:
    """200 when every stage answers, else 503 with the ones that do not."""
    answers = await _ask_all(services)
    body = {"ready": all(answers.values()), **answers}
    return JSONResponse(body, 200 if body["ready"] else 503)


@router.get("/health", response_model=HealthOut)
async def health(services: ServicesDep) -> dict[str, Any]:
    """The state of every stage."""
    answers = await _ask_all(services)
    components = {stage: _component(stage, there=there) for stage, there in answers.items()}
    status = "healthy" if all(answers.values()) else "degraded"
    return {"status": status, "components": components, "version": VERSION}


@router.get("/health/{stage}", response_model=StageOut, responses={503: {"model": StageOut}})
async def stage_health(
    services: ServicesDep,
    stage: Annotated[str, Path(description="`stt`, `llm` or `tts`.", examples=["stt"])],
) -> Response:
    """The state of one stage: `stt`, `llm` or `tts`."""
    stages = _stages(services)
    if stage not in stages:
        raise HTTPException(404, "There is no such stage.")
    there = await _answers(services, stage)
    return JSONResponse(_component(stage, there=there), 200 if there else 503)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics() -> Response:
    """Prometheus metrics of every replica on every node; at most about ten seconds old."""
    return Response(await render_metrics(), media_type=CONTENT_TYPE_LATEST)


def _stages(services: Services) -> dict[str, Stage]:
    return {"llm": services.llm, "stt": services.stt, "tts": services.tts}


async def _ask_all(services: Services) -> dict[str, bool]:
    stages = _stages(services)
    answers = await asyncio.gather(*(_answers(services, stage) for stage in stages))
    return dict(zip(stages, answers, strict=True))


async def _answers(services: Services, stage: str) -> bool:
    """Whether a stage is there; one that may sleep is not asked, for that would wake it."""
    settings = services.settings
    if stage in settings.may_sleep:
        return True
    try:
        await _stages(services)[stage].ping(settings.timeouts.health_s)
    except SpeechError:
        return False
    return True


def _component(stage: str, *, there: bool) -> dict[str, Any]:
    if there:
        return {"status": "healthy", "message": f"{stage} answers", "details": {}}
    return {"status": "unhealthy", "message": f"{stage} does not answer", "details": {}}
