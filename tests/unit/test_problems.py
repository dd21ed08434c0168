"""Every error has its status and crosses processes; what a client sees of it."""

import inspect
import json
import logging
import pickle
from collections.abc import Iterator

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from deployments import errors
from deployments.errors import SpeechError
from serve_app.problems import STATUS, Problem, problem_of

STATUS_OF = {
    "AccessDenied": 401,
    "AudioTooLong": 400,
    "BodyTimeout": 408,
    "BodyTooLarge": 413,
    "CloningUnsupported": 400,
    "ConsentInUse": 409,
    "ConsentNotFound": 404,
    "ContextOverflow": 400,
    "EngineIncapable": 400,
    "ForbiddenApiKey": 403,
    "InvalidApiKey": 401,
    "InvalidAudio": 400,
    "InvalidParameter": 400,
    "InvalidRequest": 400,
    "InvalidSetting": 500,
    "ItemNotFound": 404,
    "MissingApiKey": 401,
    "ModelNotFound": 404,
    "NoReplyInProgress": 400,
    "NoSpeech": 400,
    "NoWords": 400,
    "NotConfigured": 503,
    "NothingToCommit": 400,
    "RateLimited": 429,
    "RecordingClipped": 400,
    "RecordingTooLong": 400,
    "RecordingTooQuiet": 400,
    "RecordingTooShort": 400,
    "ReplyInProgress": 409,
    "SessionNotFound": 404,
    "SpeechError": 500,
    "StageFailed": 500,
    "RequestRefused": 500,
    "StageOverloaded": 503,
    "StageTimeout": 504,
    "StageUnavailable": 503,
    "MemoryUnavailable": 503,
    "StartupError": 500,
    "TextTooLong": 400,
    "UnfitRecording": 400,
    "UnsupportedFormat": 400,
    "UnsupportedLanguage": 400,
    "VoiceLibraryFull": 400,
    "VoiceNotFound": 404,
    "WeightsNotFound": 500,
    "_StageError": 500,
}
RETRYABLE = {
    "MemoryUnavailable",
    "RateLimited",
    "StageOverloaded",
    "StageTimeout",
    "StageUnavailable",
}
ABSTRACT = {
    "AccessDenied",
    "InvalidRequest",
    "StartupError",
    "UnfitRecording",
    "_StageError",
}  # never raised


def family(root: type[SpeechError]) -> Iterator[type[SpeechError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from family(child)


KINDS = sorted(set(family(SpeechError)), key=lambda kind: kind.__name__)


def an_error(kind: type[SpeechError]) -> SpeechError:
    """An error whose every argument can be told from the others."""
    if kind.__init__ is Exception.__init__:
        return kind()
    values: list[object] = []
    for number, parameter in enumerate(inspect.signature(kind).parameters.values()):
        values.append(
            f"text-{number}" if parameter.annotation is str else parameter.annotation(2 + number)
        )
    return kind(*values)


def named(kind: type[SpeechError]) -> str:
    return kind.__name__


def test_every_error_stands_in_the_table_of_this_test() -> None:
    assert {kind.__name__ for kind in KINDS} == set(STATUS_OF)


def test_the_tree_in_the_document_is_the_tree_in_the_code() -> None:
    drawn = inspect.getdoc(errors) or ""
    assert all(kind.__name__ in drawn for kind in KINDS if kind.__name__ != "_StageError")


@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_an_error_has_its_status(kind: type[SpeechError]) -> None:
    problem = problem_of(an_error(kind))
    assert problem.status == STATUS_OF[kind.__name__]
    assert problem.code == kind.code
    assert (problem.retry_after_s is not None) == (kind.__name__ in RETRYABLE)


@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_an_error_survives_the_border_of_a_process(kind: type[SpeechError]) -> None:
    error = an_error(kind)
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is kind
    assert arrived.message == error.message == str(arrived)
    assert arrived.param == error.param
    assert arrived.args == error.args
    assert vars(arrived) == vars(error)


@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_an_error_that_ray_gives_a_second_class_keeps_its_status(kind: type[SpeechError]) -> None:
    error = an_error(kind)
    remote = type(f"RayTaskError({kind.__name__})", (kind,), {})
    problem = problem_of(remote(*error.args))
    assert problem == problem_of(error)


def test_codes_are_words_and_no_two_errors_share_one() -> None:
    alike = {"ForbiddenApiKey", "EngineIncapable"}
    told = [kind for kind in KINDS if kind.__name__ not in ABSTRACT | alike]
    codes = [kind.code for kind in told]
    assert errors.ForbiddenApiKey.code == errors.InvalidApiKey.code  # only the status differs
    assert (
        errors.EngineIncapable.code == errors.InvalidParameter.code
    )  # only a chain tells them apart
    assert len(set(codes)) == len(codes)
    assert all(code.replace("_", "").isalpha() and code.islower() for code in codes)


def test_the_table_holds_no_class_that_is_gone() -> None:
    assert set(STATUS) <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_the_envelope_has_exactly_these_fields(kind: type[SpeechError]) -> None:
    error = an_error(kind)
    response = problem_of(error).response("id-1")
    body = json.loads(bytes(response.body))
    assert list(body) == ["error"]
    assert list(body["error"]) == ["message", "type", "param", "code", "request_id"]
    assert body["error"]["request_id"] == "id-1"
    assert body["error"]["code"] == kind.code
    assert response.status_code == STATUS_OF[kind.__name__]
    assert ("retry-after" in response.headers) == (kind.__name__ in RETRYABLE)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "authentication_error"),
        (404, "invalid_request_error"),
        (413, "invalid_request_error"),
        (500, "server_error"),
        (503, "server_error"),
        (504, "server_error"),
    ],
)
def test_the_type_is_openais(status: int, kind: str) -> None:
    assert Problem(status, "code", "message").type == kind


SECRETS = [
    ValueError("/srv/secret/path"),
    OSError(2, "No such file", "/srv/secret/path"),
    errors.WeightsNotFound("llm.model", "/srv/secret/path", "gone"),
    errors.InvalidSetting("llm.model", "/srv/secret/path"),
    ExceptionGroup("secret", [ValueError("secret")]),
    KeyError("secret"),
]


@pytest.mark.parametrize("error", SECRETS, ids=lambda error: type(error).__name__)
def test_an_unforeseen_error_shows_nothing_internal(error: Exception) -> None:
    problem = problem_of(error)
    assert problem.status == 500
    assert "secret" not in json.dumps(problem.body("id"))
    assert problem.message.endswith(".")


def test_an_unforeseen_error_is_logged_with_its_trace() -> None:
    error, records = ValueError("reason"), list[logging.LogRecord]()
    handler = logging.Handler()
    handler.emit = records.append
    log = logging.getLogger("ray.serve")
    log.addHandler(handler)
    try:
        problem_of(error)
    finally:
        log.removeHandler(handler)
    (record,) = records
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_an_error_inside_the_frameworks_own_is_the_one_that_is_told() -> None:
    wrapped = HTTPException(400, "There was an error parsing the body")
    wrapped.__cause__ = errors.BodyTooLarge(1024)
    assert problem_of(wrapped) == problem_of(errors.BodyTooLarge(1024))


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "not_found"), (405, "method_not_allowed"), (413, "body_too_large"), (418, "http_error")],
)
def test_an_error_of_the_framework_has_a_code(status: int, code: str) -> None:
    problem = problem_of(HTTPException(status, "Detail."))
    assert (problem.status, problem.code, problem.message) == (status, code, "Detail.")


def validation(kind: str, *place: str) -> Problem:
    return problem_of(RequestValidationError([{"type": kind, "loc": place, "msg": "Wrong."}]))


def test_a_field_that_is_refused_is_told_by_its_name() -> None:
    problem = validation("int_parsing", "body", "synthesis", "speed")
    assert problem == Problem(
        400, "invalid_parameter", "Invalid value for 'synthesis.speed': Wrong.", "synthesis.speed"
    )


def test_a_field_that_is_missing_is_told_by_its_name() -> None:
    problem = validation("missing", "body", "file")
    assert (problem.status, problem.code, problem.param) == (400, "missing_parameter", "file")


def test_a_body_that_is_no_json_has_its_own_code() -> None:
    assert validation("json_invalid", "body", "7").code == "invalid_json"


def test_the_name_of_a_refused_field_is_bounded() -> None:
    assert validation("extra_forbidden", "body", "x" * 10_000).param == "x" * 128
