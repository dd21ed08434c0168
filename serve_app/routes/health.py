"""Whether the service lives, whether it can work, and what it has done."""

import asyncio
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from deployments.errors import SpeechError
from serve_app.metrics_page import render_metrics
from serve_app.services import Services, ServicesDep, Stage

router = APIRouter(tags=["health"])

VERSION = version("gemmavoice-serve")


@router.get("/health/live")
async def live() -> dict[str, str]:
    """The ingress answers."""
    return {"status": "alive"}


@router.get("/health/ready", responses={503: {"description": "A stage does not answer."}})
async def ready(services: ServicesDep) -> Response:
    """200 when every stage answers, else 503 with the ones that do not."""
    answers = await _ask_all(services)
    body = {"ready": all(answers.values()), **answers}
    return JSONResponse(body, 200 if body["ready"] else 503)


@router.get("/health")
async def health(services: ServicesDep) -> dict[str, Any]:
    """The state of every stage."""
    answers = await _ask_all(services)
    components = {stage: _component(stage, there=there) for stage, there in answers.items()}
    status = "healthy" if all(answers.values()) else "degraded"
    return {"status": status, "components": components, "version": VERSION}


@router.get("/health/{stage}")
async def stage_health(services: ServicesDep, stage: str) -> Response:
    """The state of one stage: `stt`, `llm` or `tts`."""
    stages = _stages(services)
    if stage not in stages:
        raise HTTPException(404, "There is no such stage.")
    there = await _answers(stages[stage], services.settings.timeouts.health_s)
    return JSONResponse(_component(stage, there=there), 200 if there else 503)


@router.get("/metrics")
async def metrics() -> Response:
    """Prometheus metrics of every replica on every node; at most about ten seconds old."""
    return Response(await render_metrics(), media_type=CONTENT_TYPE_LATEST)


def _stages(services: Services) -> dict[str, Stage]:
    return {"llm": services.llm, "stt": services.stt, "tts": services.tts}


async def _ask_all(services: Services) -> dict[str, bool]:
    stages = _stages(services)
    timeout_s = services.settings.timeouts.health_s
    answers = await asyncio.gather(*(_answers(stage, timeout_s) for stage in stages.values()))
    return dict(zip(stages, answers, strict=True))


async def _answers(stage: Stage, timeout_s: float) -> bool:
    try:
        await stage.ping(timeout_s)
    except SpeechError:
        return False
    return True


def _component(stage: str, *, there: bool) -> dict[str, Any]:
    if there:
        return {"status": "healthy", "message": f"{stage} answers", "details": {}}
    return {"status": "unhealthy", "message": f"{stage} does not answer", "details": {}}
