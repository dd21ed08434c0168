"""Why something that a client asked for is not done, in OpenAI's words."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from deployments.errors import SpeechError
from serve_app.problems import Problem, problem_of
from serve_app.protocol.realtime_server_events import Error, ErrorInfo
from serve_app.protocol.wire import place_of

_CODES = {"invalid_parameter": "invalid_value"}
_LONGEST_PARAM, _LONGEST_ID = 128, 512


class Refused(Exception):
    """What a client sent is not done; the session goes on."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param

    @property
    def problem(self) -> Problem:
        """The same where it is answered over HTTP."""
        status = 404 if self.code.endswith("_not_found") else 400
        return Problem(status, self.code, self.message, self.param)


def refusal_of(error: Refused | SpeechError | ValidationError, sent: Any = None) -> Refused:
    """The error as clients know it; `sent` is the event that caused it."""
    match error:
        case Refused():
            return error
        case SpeechError():
            return Refused(_CODES.get(error.code, error.code), error.message, error.param)
        case _:
            errors = error.errors()
            kinds = (each for each in errors if each["loc"] and each["loc"][-1] == "type")
            return _invalid(next(kinds, errors[0]), sent)


def _invalid(first: Mapping[str, Any], sent: Any) -> Refused:
    param = ".".join(place_of(first, sent))[:_LONGEST_PARAM] or None
    match first["type"]:
        case "extra_forbidden":
            return Refused("unknown_parameter", f"Unknown parameter: '{param}'.", param)
        case "missing":
            return _missing(param)
        case "union_tag_not_found" | "union_tag_invalid":
            return _of_no_kind(first, param)
        case _:
            where = f"Invalid value for '{param}': " if param else ""
            return Refused("invalid_value", f"{where}{first['msg']}", param)


def _of_no_kind(error: Mapping[str, Any], param: str | None) -> Refused:
    """The field that tells the members of a union is missing, or names none of them."""
    key = str(error["ctx"]["discriminator"]).strip("'")
    place = f"{param}.{key}" if param else key
    if error["type"] == "union_tag_not_found":
        return _missing(place) if param else Refused("invalid_event", f"'{key}' is missing.", key)
    tag, expected = str(error["ctx"]["tag"])[:64], error["ctx"]["expected_tags"]
    message = f"Invalid value for '{place}': '{tag}' is none of {expected}."
    return Refused("invalid_value" if param else "invalid_event", message, place)


def _missing(param: str | None) -> Refused:
    message = f"Missing required parameter: '{param}'."
    return Refused("missing_required_parameter", message, param)


def error_event(error: Refused | SpeechError, event_id: str | None = None) -> Error:
    """What the client is told; `event_id` is its own event's."""
    refused = refusal_of(error)
    kind = problem_of(error).type if isinstance(error, SpeechError) else "invalid_request_error"
    return Error(
        error=ErrorInfo(
            type=kind,
            code=refused.code,
            message=refused.message,
            param=refused.param,
            event_id=event_id,
        )
    )


def event_id_of(sent: Any) -> str | None:
    """The id that a client gave its event, as far as it can be told."""
    found = sent.get("event_id") if isinstance(sent, dict) else None
    return found if isinstance(found, str) and len(found) <= _LONGEST_ID else None
