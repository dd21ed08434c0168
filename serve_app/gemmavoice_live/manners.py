"""How GemmaVoice's sockets tell errors, and that they end; three families, three forms."""

from collections.abc import Mapping

from deployments.errors import InvalidParameter
from serve_app.problems import Problem
from serve_app.socket_messages import read_json
from serve_app.socket_talk import Manners

_GENERATION_CODES = {
    429: "RATE_LIMIT_EXCEEDED",
    503: "MODEL_NOT_LOADED",
    504: "GENERATION_TIMEOUT",
}


def speech_manners(kind: str) -> Manners:
    """`{"event": "error", "detail"}`."""
    return Manners(kind, _speech_error, lambda why: {"event": "going_away", "detail": why})


def conversation_manners() -> Manners:
    """`{"type": "error", "message"}`."""
    return Manners(
        "conversation", conversation_error, lambda why: {"type": "going_away", "message": why}
    )


def generation_manners() -> Manners:
    """`{"error": CODE, "message"}`."""
    return Manners(
        "generate", _generation_error, lambda why: {"status": "going_away", "message": why}
    )


def conversation_error(problem: Problem) -> dict[str, object]:
    """An error in a conversation."""
    return {"type": "error", "message": problem.message, **_named(problem)}


def _speech_error(problem: Problem) -> dict[str, object]:
    return {"event": "error", "detail": problem.message, **_named(problem)}


def _generation_error(problem: Problem) -> dict[str, object]:
    otherwise = "VALIDATION_ERROR" if problem.status < 500 else "INTERNAL_ERROR"
    if problem.code == "stage_failed":
        otherwise = "GENERATION_FAILED"
    code = _GENERATION_CODES.get(problem.status, otherwise)
    return {"error": code, "message": problem.message, **_named(problem)}


def _named(problem: Problem) -> dict[str, object]:
    named: dict[str, object] = {"code": problem.code}
    return named | {"param": problem.param} if problem.param else named


def read_object(message: str | bytes) -> Mapping[str, object]:
    """The fields of a JSON object, but those that are null.

    Raises:
        InvalidParameter: the message is no JSON object.
        RequestValidationError: it is no JSON.
    """
    value = read_json(message) if isinstance(message, str) else None
    if not isinstance(value, dict):
        raise InvalidParameter("message", "it must be a JSON object.")
    return {str(name): each for name, each in value.items() if each is not None}
