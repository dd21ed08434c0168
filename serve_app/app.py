"""The graph: the only file that binds deployments."""

import logging
from typing import Any

from ray import serve
from ray.serve import Application, Deployment
from ray.serve.config import RequestRouterConfig

from configs.settings import AppSettings, load_settings
from deployments.llm.server import LlmServer
from deployments.state.server import StateServer
from deployments.stt.server import SttServer
from deployments.tts.server import TtsServer
from serve_app.ingress import DialogueIngress

logger = logging.getLogger("ray.serve")

_STARTS = 3
# A conversation goes where its beginning is computed.
_ROUTER: Any = "serve_app.session_router.SessionRouter"  # Ray's annotation knows no names
_BY_SESSION = RequestRouterConfig(request_router_class=_ROUTER)


def build_app(args: dict[str, Any]) -> Application:
    """The application from a Serve YAML's `args` and the environment.

    Raises:
        SettingsError: a setting is wrong; it tells the key.
    """
    settings, warnings = load_settings(args)
    for warning in warnings:
        logger.warning(warning)
    return bind_graph(settings)


def bind_graph(settings: AppSettings) -> Application:
    """Dialogue -> stt, llm, tts, state. Scaling stands in the YAML, by these names."""
    watched = settings.observation
    stt = _deployed("stt", SttServer).bind(settings.stt, watched)
    own_prompts = (settings.prompts.spoken, settings.prompts.written)
    llm = _deployed("llm", LlmServer, _BY_SESSION).bind(settings.llm, own_prompts, watched)
    tts = _deployed("tts", TtsServer).bind(settings.tts, watched)
    sessions = settings.sessions.model_copy(update={"redis_url": None})  # the ingress asks it
    state = _deployed("state", StateServer).bind(sessions, settings.voices, watched)
    dialogue = _deployed("dialogue", serve.ingress()(DialogueIngress))
    return dialogue.bind(settings, stt, llm, tts, state)


def _deployed(
    name: str, server: type[Any], router: RequestRouterConfig | None = None
) -> Deployment:
    # A checkpoint that cannot be loaded is told after a few tries, not after Serve's twenty.
    options: dict[str, Any] = {"name": name, "max_constructor_retry_count": _STARTS}
    if router is not None:
        options["request_router_config"] = router
    return serve.deployment(**options)(server)
