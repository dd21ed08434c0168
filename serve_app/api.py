"""The FastAPI application: routes, middleware, error handlers; free of Ray."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cache, partial

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import Lifespan

from configs.settings import AppSettings
from serve_app.auth import ApiKeys
from serve_app.cross_origin import CrossOrigin, SocketOrigin
from serve_app.gate import Gate
from serve_app.key_ring import KeyRing
from serve_app.live_desk import LiveDesk, watching
from serve_app.middleware import BodyLimit, LastResort, RequestContext
from serve_app.openapi.document import describe
from serve_app.problems import install_error_handlers
from serve_app.rate_limits import RateLimits
from serve_app.routes import (
    dialogue,
    docs,
    elevenlabs,
    gemmavoice_sockets,
    generate,
    health,
    livekit,
    models,
    openai_chat,
    openai_completions,
    openai_speech,
    openai_transcriptions,
    openai_voice_consents,
    openai_voices,
    realtime,
    references,
    sessions,
    speech,
)
from serve_app.services import Services
from serve_app.shares import Shares, keeping

_FAMILIES = (
    dialogue,
    sessions,
    speech,
    references,
    generate,
    gemmavoice_sockets,
    elevenlabs,
    openai_chat,
    openai_completions,
    openai_transcriptions,
    openai_speech,
    openai_voices,
    openai_voice_consents,
    realtime,
    models,
    livekit,
    health,
)


_Lifespan = Callable[[object], AbstractAsyncContextManager[None]]


def build_api(
    services: Services,
    is_draining: Callable[[], bool] = lambda: False,
    during: Sequence[_Lifespan] = (),
) -> FastAPI:
    """All routes over the given services.

    `is_draining`: whether the replica must end soon; `during`: what lasts as long as the application.

    Raises:
        InvalidSetting: the file of the API keys cannot be used.
    """
    settings, access = services.settings, services.settings.access
    ring, shares = KeyRing(access), Shares(services.state, services.http_metrics)
    desk = LiveDesk(services)
    api = bare_api(settings, _all(keeping(shares), watching(desk, is_draining), *during))
    api.state.services, api.state.desk = services, desk
    install_error_handlers(api, _allowed())
    # The last one added is the outermost.
    api.add_middleware(BodyLimit, settings=settings)
    api.add_middleware(RateLimits, shares=shares)
    api.add_middleware(Gate, admission=services.admission)
    api.add_middleware(ApiKeys, access=access, ring=ring, shares=shares, tickets=services.state)
    api.add_middleware(SocketOrigin, access=access)
    api.add_middleware(LastResort)
    if access.cors_origins:
        header = settings.request_id_header
        api.add_middleware(CrossOrigin, origins=access.cors_origins, request_id_header=header)
    api.add_middleware(RequestContext, settings=settings, metrics=services.http_metrics)
    return api


def _all(*lifespans: _Lifespan) -> _Lifespan:
    @asynccontextmanager
    async def lifespan(api: object) -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as stack:
            for each in lifespans:
                await stack.enter_async_context(each(api))
            yield

    return lifespan


def bare_api(settings: AppSettings, lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """The routes and their description, with nothing behind them."""
    api = FastAPI(
        title="GemmaVoice Serve",
        version=health.VERSION,
        openapi_url="/openapi.json" if settings.docs.enabled else None,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    api.openapi = cache(partial(describe, api, settings))
    for family in _FAMILIES:
        api.include_router(family.router)
    if settings.docs.enabled:
        api.include_router(docs.router)
    return api


def _allowed() -> dict[str, str]:
    """The methods of every path."""
    methods: dict[str, set[str]] = {}
    for family in _FAMILIES:
        for route in family.router.routes:
            if isinstance(route, APIRoute):
                methods.setdefault(route.path, set()).update(route.methods or ())
    return {path: ", ".join(sorted(each)) for path, each in methods.items()}
