"""What the health routes answer."""

from typing import Literal

from pydantic import JsonValue

from serve_app.protocol.wire import Wire, example

_ANSWERS: dict[str, JsonValue] = {"status": "healthy", "message": "stt answers", "details": {}}


class AliveOut(Wire):
    """The ingress answers."""

    model_config = example(status="alive")

    status: Literal["alive"]


class ReadyOut(Wire):
    """Which stages answer; `ready` when all do."""

    model_config = example(ready=True, llm=True, stt=True, tts=True)

    ready: bool
    llm: bool
    stt: bool
    tts: bool


class StageOut(Wire):
    """The state of one stage."""

    model_config = example(**_ANSWERS)

    status: Literal["healthy", "unhealthy"]
    message: str
    details: dict[str, str]


class HealthOut(Wire):
    """The state of every stage; 'degraded' where one does not answer."""

    model_config = example(status="healthy", components={"stt": _ANSWERS}, version="0.1.0")

    status: Literal["healthy", "degraded"]
    components: dict[str, StageOut]
    version: str
