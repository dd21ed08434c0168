"""The one table: error -> HTTP status and body.

Every route answers errors in OpenAI's envelope with the request id inside:
`{"error": {"message", "type", "param", "code", "request_id"}}`.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from deployments import errors
from serve_app.protocol.wire import place_of
from serve_app.request_id import HEADER, request_id_of

logger = logging.getLogger("ray.serve")

AGAIN = "x-gemmavoice-again"  # to Serve's proxy, which may ask another ingress; no client sees it
_RETRY_AFTER_S = 1
_WRONG_METHOD = 405
_ENDS_CONNECTION = (errors.BodyTooLarge.code, errors.BodyTimeout.code)

# Looked up along the error's class tree: the nearest ancestor decides.
STATUS: dict[type[errors.SpeechError], int] = {
    errors.SpeechError: 500,
    errors.InvalidRequest: 400,
    errors.VoiceNotFound: 404,
    errors.ModelNotFound: 404,
    errors.SessionNotFound: 404,
    errors.ItemNotFound: 404,
    errors.ConsentNotFound: 404,
    errors.ConsentInUse: 409,
    errors.ReplyInProgress: 409,
    errors.BodyTooLarge: 413,
    errors.BodyTimeout: 408,
    errors.AccessDenied: 401,
    errors.ForbiddenApiKey: 403,
    errors.RateLimited: 429,
    errors.NotConfigured: 503,
    errors.StageFailed: 500,
    errors.StageUnavailable: 503,
    errors.StageOverloaded: 503,
    errors.StageTimeout: 504,
    errors.StartupError: 500,
}

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a client sees it."""

    status: int
    code: str
    message: str
    param: str | None = None
    retry_after_s: int | None = None
    may_be_repeated: bool = False

    @property
    def type(self) -> str:
        """OpenAI's coarse kind of error."""
        if self.status == 429:
            return "rate_limit_error"
        if self.status in (401, 403):
            return "authentication_error"
        return "invalid_request_error" if self.status < 500 else "server_error"

    def body(self, request_id: str) -> dict[str, Any]:
        """The envelope."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
                "request_id": request_id,
            }
        }

    def response(self, request_id: str) -> JSONResponse:
        """The envelope as an HTTP answer."""
        headers: dict[str, str] = {}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.may_be_repeated:
            headers[AGAIN] = "1"
        if self.code in _ENDS_CONNECTION:
            headers["Connection"] = "close"  # the rest of the body is not wanted
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body(request_id), self.status, headers)


def problem_of(error: BaseException) -> Problem:
    """What a client may know of an error; anything unforeseen is told without detail."""
    if isinstance(error, HTTPException) and isinstance(error.__cause__, errors.SpeechError):
        error = error.__cause__  # FastAPI wraps what is raised while a body is read
    match error:
        case errors.StartupError():
            return Problem(500, error.code, "The service is not configured correctly.")
        case errors.SpeechError():
            status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
            retry_after_s = _retry_after_s(error)
            lost = isinstance(error, errors.StageUnavailable) and error.had_begun
            return Problem(status, error.code, error.message, error.param, retry_after_s, lost)
        case RequestValidationError():
            return _validation_problem(error)
        case HTTPException():
            code = _HTTP_CODES.get(error.status_code, "http_error")
            return Problem(error.status_code, code, str(error.detail))
        case _:
            logger.error("unforeseen error", exc_info=error)
            return Problem(500, "internal_error", errors.SpeechError().message)


def _retry_after_s(error: errors.SpeechError) -> int | None:
    if isinstance(error, errors.RateLimited | errors.StageOverloaded):
        return max(1, math.ceil(error.retry_after_s))
    return _RETRY_AFTER_S if error.retryable else None


def _validation_problem(error: RequestValidationError) -> Problem:
    first = error.errors()[0]
    param = ".".join(place_of(_below_source(first), getattr(error, "body", None)))[:128] or None
    if first["type"] == "json_invalid":
        return Problem(400, "invalid_json", "The body is not valid JSON.")
    if first["type"] == "extra_forbidden":
        return Problem(400, "unknown_parameter", f"Unknown parameter: '{param}'.", param)
    code = "missing_parameter" if first["type"] == "missing" else "invalid_parameter"
    message = f"Invalid value for '{param}': {first['msg']}" if param else str(first["msg"])
    return Problem(400, code, message, param)


def _below_source(error: Any) -> Any:
    """The error without the part of the request that it is in, which clients do not name."""
    place = [part for part in error["loc"] if part not in ("body", "query", "path", "header")]
    return {**error, "loc": place}


def install_error_handlers(api: FastAPI, allowed: Mapping[str, str]) -> None:
    """Answer every error of every route with the envelope; `allowed` are the methods of each path."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        request_id = request_id_of(request.scope)
        response = problem_of(error).response(request_id)
        response.headers.update(getattr(error, "headers", None) or {})
        if response.status_code == _WRONG_METHOD:
            # The framework names the methods of one route, and a path may have two.
            path = getattr(request.scope.get("route"), "path", "")
            response.headers["Allow"] = allowed.get(path, response.headers["Allow"])
        # The middleware has no hand in the answer to an unforeseen error.
        response.headers[HEADER] = request_id
        return response

    for kind in (errors.SpeechError, RequestValidationError, HTTPException, Exception):
        api.add_exception_handler(kind, answer)
