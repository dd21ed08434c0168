"""The OpenAPI document: what FastAPI knows of the routes, and what it cannot know."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from configs.settings import AppSettings
from serve_app.openapi import failures
from serve_app.openapi.examples import ANSWERS, EVENTS, FORM, FORMS, JSON, LINES
from serve_app.openapi.failures import Failures
from serve_app.problems import problem_of

Json = dict[str, Any]

_REQUEST_ID = "5f1c0e7a9b4d4f0e8a3b6c2d1e0f9a8b"
_GUARDED = "/v1/"
_OPEN = frozenset({"/v1/livekit/status"})

_DESCRIPTION = """\
A fully local speech API: speech to text, a language model, text to speech, and whole spoken turns.

The routes have GemmaVoice's names and OpenAI's: point a client of either at this server.

Every error has one form, `{"error": {"message", "type", "param", "code", "request_id"}}`. Once a
stream has begun, an error is its last event; a bare file breaks off. A method that a path does not
have is answered with 405 and `Allow`.
"""

_TAGS = {
    "dialogue": "A whole spoken turn: hear, answer, speak.",
    "sessions": "Dialogues that are remembered from turn to turn.",
    "speech": "Speech to text and text to speech, as GemmaVoice has them.",
    "references": "Recordings of voices.",
    "text": "Text in, text out, as GemmaVoice has it.",
    "openai": "OpenAI's routes.",
    "elevenlabs": "Text to speech as ElevenLabs' clients ask for it.",
    "models": "The models that are served.",
    "livekit": "Tokens for the rooms of a LiveKit server.",
    "health": "Whether the service lives and can work; open to everybody.",
}

_ENVELOPE: Json = {
    "type": "object",
    "description": "Why a request failed.",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code", "request_id"],
            "additionalProperties": False,
            "properties": {
                "message": {"type": "string", "description": "A sentence for people."},
                "type": {
                    "enum": [
                        "invalid_request_error",
                        "authentication_error",
                        "rate_limit_error",
                        "server_error",
                    ]
                },
                "param": {"type": ["string", "null"], "description": "The field that is wrong."},
                "code": {"type": "string", "description": "What happened, for programs."},
                "request_id": {"type": "string", "description": "As in the header."},
            },
        }
    },
}

_COUNT = {"type": "integer", "minimum": 0}
_SECONDS = {"type": "number", "minimum": 0}
_SPAN = {"type": "string", "pattern": r"^(\d+h)?(\d+m)?\d+m?s$"}
_LIMITS = {
    "x-ratelimit-limit-requests": ("Requests that the caller may send.", _COUNT, 120),
    "x-ratelimit-remaining-requests": ("Requests that are left.", _COUNT, 119),
    "x-ratelimit-reset-requests": ("Until all of them are back.", _SPAN, "500ms"),
    "x-ratelimit-limit-audio-seconds": ("Audio to be heard and spoken.", _SECONDS, 600),
    "x-ratelimit-remaining-audio-seconds": ("Audio that is left.", _SECONDS, 597.9),
    "x-ratelimit-reset-audio-seconds": ("Until all of it is back.", _SPAN, "1s"),
    "x-ratelimit-limit-concurrent": ("Requests in progress at a time.", _COUNT, 8),
    "x-ratelimit-remaining-concurrent": ("What is left of them.", _COUNT, 7),
}
_OTHERS = {
    "retry-after": (
        "Seconds until a new try makes sense.",
        {"type": "integer", "minimum": 1},
        12,
    ),
    "x-audio-format": ("Format of the audio.", {"type": "string"}, "mp3"),
    "x-sample-rate": ("Its sample rate in Hz.", {"type": "integer"}, 24_000),
    "x-engine": ("Which engine answered.", {"type": "string"}, "piper"),
    "x-reference-id": ("The voice that was asked for.", {"type": "string"}, "joe"),
    "x-session-memory": (
        "There, and `unavailable`, where the turn could not be remembered, or know what was said before.",
        {"type": "string", "enum": ["unavailable"]},
        "unavailable",
    ),
    "x-ignored-parameters": (
        "Fields of the request that no voice can follow.",
        {"type": "string"},
        "instructions",
    ),
}
_OF_AUDIO = ("x-audio-format", "x-sample-rate")
_OF_ANSWER = {
    "/v1/text-to-speech": (*_OF_AUDIO, "x-engine", "x-reference-id"),
    "/v1/audio/speech": (*_OF_AUDIO, "x-engine", "x-ignored-parameters"),
    "/v1/dialogue": ("x-session-memory",),
    "/v1/conversation/dialogue": ("x-session-memory",),
    "/v1/speech-to-text": ("x-engine",),
    "/v1/audio/transcriptions": ("x-engine",),
    "/v1/audio/translations": ("x-engine",),
}
_TEXT = {"type": "string"}
_BINARY = {"type": "string", "format": "binary"}
_EXAMPLES = {"example", "examples"}
_RETRYABLE = frozenset({"429", "503", "504"})


def describe(api: FastAPI, settings: AppSettings) -> Json:
    """The OpenAPI 3.1 document of the application."""
    document = get_openapi(
        title=api.title,
        version=api.version,
        summary="Hear, answer, speak: on your own machine.",
        description=_DESCRIPTION,
        license_info={"name": "MIT", "identifier": "MIT"},
        servers=[{"url": "/"}],  # below a path, FastAPI puts that path first
        tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
        routes=api.routes,
    )
    components = document["components"]
    schemas = components["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["ErrorEnvelope"] = _ENVELOPE
    components["headers"] = _headers(settings)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "key": {"type": "apiKey", "in": "header", "name": settings.access.header},
    }
    met: dict[str, Exception] = {}
    for path, operation in _operations(document):
        operation["responses"].pop("422", None)  # FastAPI's own: here it is 400
        can_meet = _can_meet(path, operation)
        met |= can_meet
        if _is_guarded(path):
            keys: list[Json] = [{"bearer": []}, {"key": []}]
            operation["security"] = keys if settings.access.enabled else [*keys, {}]
        _add_examples(path, operation, schemas)
        _add_failures(operation, can_meet)
        _add_headers(path, operation["responses"], settings.request_id_header)
    components["examples"] = {name: _example(error) for name, error in met.items()}
    return document


def _operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, item in document["paths"].items():
        for operation in item.values():
            yield path, operation


def _is_guarded(path: str) -> bool:
    return path.startswith(_GUARDED) and path not in _OPEN


def _can_meet(path: str, operation: Json) -> Failures:
    content = operation.get("requestBody", {}).get("content", {})
    found = dict(failures.ALWAYS)
    if _is_guarded(path):
        found |= failures.WITH_KEY
    if content or operation.get("parameters"):
        found |= failures.WITH_INPUT
    if content:
        found |= failures.WITH_BODY
    if JSON in content:
        found |= failures.WITH_JSON
    return found | failures.OF_ROUTE.get(path, {})


# ---- examples -----------------------------------------------------------------------------------


def _add_examples(path: str, operation: Json, schemas: Json) -> None:
    """The route's own; else those of `examples.py`; else those of the models."""
    request = operation.get("requestBody", {}).get("content", {})
    if FORM in request:
        request[FORM]["examples"] = _named(FORMS.get(path, {}))
    responses = operation["responses"]
    answer = responses["200"].setdefault("content", {})
    for media_type, found in ANSWERS.get(path, {}).items():
        media = answer.setdefault(media_type, {"schema": _TEXT if found else _BINARY})
        if found and not media.keys() & _EXAMPLES:
            media["examples"] = _named(found)
    if len(answer) > 1 and answer.get(JSON) == {"schema": {}}:
        del answer[JSON]  # FastAPI's guess
    for stream in answer.keys() & {EVENTS, LINES}:
        answer[stream].pop("schema", None)  # tools read it as that of one event
    for content in (request, *(each.get("content", {}) for each in responses.values())):
        for media in content.values():
            found = _examples_of(media.get("schema", {}), schemas)
            if found and not media.keys() & _EXAMPLES:
                media["examples"] = _named(found)


def _named(found: Any) -> Json:
    return {name: {"value": value} for name, value in found.items()}


def _examples_of(schema: Json, schemas: Json) -> Json:
    """The examples of a model, or of the models that it may be, by name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        found = schemas[name].get("examples", [])
        return {name if n == 1 else f"{name} {n}": each for n, each in enumerate(found, 1)}
    parts = schema.get("anyOf", [])
    return {name: value for part in parts for name, value in _examples_of(part, schemas).items()}


# ---- failures and headers -----------------------------------------------------------------------


def _add_failures(operation: Json, can_meet: Failures) -> None:
    responses = operation["responses"]
    by_status: dict[int, list[str]] = {}
    for name, error in can_meet.items():
        by_status.setdefault(problem_of(error).status, []).append(name)
    for status, names in sorted(by_status.items()):
        told = responses.setdefault(str(status), {"content": {}})
        told["description"] = failures.STATUS[status]
        told["content"][JSON] = _either(told["content"].get(JSON), names)


def _either(told: Json | None, names: list[str]) -> Json:
    """The envelope, or what the route says of such an answer by itself."""
    envelope = {"$ref": "#/components/schemas/ErrorEnvelope"}
    examples = {name: {"$ref": f"#/components/examples/{name}"} for name in names}
    if told is None:
        return {"schema": envelope, "examples": examples}
    return {
        "schema": {"anyOf": [told["schema"], envelope]},
        "examples": told.get("examples", {}) | examples,
    }


def _example(error: Exception) -> Json:
    problem = problem_of(error)
    return {"summary": problem.message, "value": problem.body(_REQUEST_ID)}


def _headers(settings: AppSettings) -> Json:
    request_id = (
        f"The id of the request: its own `{settings.request_id_header}` if that is well formed.",
        {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        _REQUEST_ID,
    )
    return {
        name: {"description": description, "schema": schema, "example": example}
        for name, (description, schema, example) in (
            {"request-id": request_id} | _OTHERS | _LIMITS
        ).items()
    }


def _add_headers(path: str, responses: Json, request_id: str) -> None:
    for status, response in responses.items():
        names = {request_id: "request-id"}
        if status in _RETRYABLE:
            names["Retry-After"] = "retry-after"
        if status == "200":
            names |= {name: name for name in _OF_ANSWER.get(path, ())}
        if _is_guarded(path) and status in ("200", "429"):
            names |= {name: name for name in _LIMITS}
        references = {
            header: {"$ref": f"#/components/headers/{name}"} for header, name in names.items()
        }
        response["headers"] = references | response.get("headers", {})
