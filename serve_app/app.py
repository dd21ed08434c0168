"""The graph: the only file that binds deployments."""

import logging
from typing import Any

from ray import serve
from ray.serve import Application

from configs.settings import AppSettings, load_settings
from deployments.llm.server import LlmServer
from deployments.stt.server import SttServer
from deployments.tts.server import TtsServer
from serve_app.ingress import DialogueIngress

logger = logging.getLogger("ray.serve")


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
    """Dialogue -> stt, llm, tts. Scaling stands in the YAML, by these names."""
    stt = serve.deployment(name="stt")(SttServer).bind(settings.stt)
    llm = serve.deployment(name="llm")(LlmServer).bind(settings.llm)
    tts = serve.deployment(name="tts")(TtsServer).bind(settings.tts)
    dialogue = serve.deployment(name="dialogue")(serve.ingress()(DialogueIngress))
    return dialogue.bind(settings, stt, llm, tts)
