"""The FastAPI application: routes, middleware, error handlers; free of Ray."""

from fastapi import FastAPI

from serve_app.auth import ApiKeys
from serve_app.middleware import BodyLimit, RequestContext
from serve_app.problems import install_error_handlers
from serve_app.routes import (
    dialogue,
    generate,
    health,
    livekit,
    models,
    openai_audio,
    openai_chat,
    openai_completions,
    references,
    sessions,
    speech,
)
from serve_app.services import Services

_FAMILIES = (
    dialogue,
    sessions,
    speech,
    references,
    generate,
    openai_chat,
    openai_completions,
    openai_audio,
    models,
    livekit,
    health,
)


def build_api(services: Services) -> FastAPI:
    """All routes over the given services."""
    api = FastAPI(title="GemmaVoice Serve", version=health.VERSION)
    api.state.services = services
    for family in _FAMILIES:
        api.include_router(family.router)
    install_error_handlers(api)
    # The last one added is the outermost.
    api.add_middleware(BodyLimit, settings=services.settings)
    api.add_middleware(ApiKeys, access=services.settings.access)
    api.add_middleware(RequestContext, settings=services.settings, metrics=services.http_metrics)
    return api
