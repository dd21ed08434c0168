"""What can go wrong on each route; every example is made by the error itself."""

from collections.abc import Mapping

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from deployments import errors

Failures = dict[str, Exception]  # by the name of the example

STATUS = {
    400: "The request cannot be served as it is; `param` names the field.",
    401: "There is no API key, or the Bearer token is not known.",
    403: "The API key in its own header is not known.",
    404: "What the request names does not exist.",
    409: "Something else stands in the way.",
    408: "The body took too long to arrive.",
    413: "The body is too large.",
    429: "The caller's share is used up; `Retry-After` says for how long.",
    500: "The service failed.",
    503: "A part of the service does not answer or has no room.",
    504: "A part of the service did not answer in time.",
}


def _by_code(*found: errors.SpeechError) -> Failures:
    return {error.code: error for error in found}


def _of_stage(stage: str) -> Failures:
    return {
        f"{stage}_failed": errors.StageFailed(stage),
        f"{stage}_unavailable": errors.StageUnavailable(stage),
        f"{stage}_overloaded": errors.StageOverloaded(stage),
        f"{stage}_timeout": errors.StageTimeout(stage),
    }


def _refused(kind: str, *place: str) -> Exception:
    return RequestValidationError(
        [{"type": kind, "loc": ("body", *place), "msg": "Field required"}]
    )


ALWAYS: Failures = {
    "internal_error": errors.SpeechError(),
    "dialogue_unavailable": errors.StageUnavailable("dialogue"),  # Serve has no replica of it
}
WITH_KEY: Failures = {
    **_by_code(errors.MissingApiKey(), errors.InvalidApiKey()),
    "forbidden_api_key": errors.ForbiddenApiKey(),
    **_by_code(errors.RateLimited("requests", 12.0)),
}
WITH_INPUT: Failures = {
    "invalid_parameter": errors.InvalidParameter("speed", "Input should be at most 4."),
}
WITH_BODY: Failures = {
    "missing_parameter": _refused("missing", "text"),
    "unknown_parameter": _refused("extra_forbidden", "sped"),
    **_by_code(errors.BodyTooLarge(1024 * 1024), errors.BodyTimeout(60.0)),
}
WITH_JSON: Failures = {
    "invalid_json": _refused("json_invalid", "0"),
}

_AUDIO: Failures = {
    **_by_code(
        errors.UnsupportedFormat("The file is not audio of a known format."),
        errors.InvalidAudio("The file holds no audio."),
        errors.AudioTooLong(600.0),
    ),
    **_of_stage("audio"),
}
_HEARING: Failures = {
    **_AUDIO,
    **_by_code(errors.UnsupportedLanguage("xx", "tiny.en")),
    **_of_stage("stt"),
}
_WRITING: Failures = {
    **_by_code(errors.TextTooLong("prompt", 40_000, 32_768), errors.ContextOverflow(5000, 4096)),
    **_of_stage("llm"),
}
# A cloned voice comes from the library.
_NAMED_VOICE: Failures = _by_code(errors.VoiceNotFound("nobody")) | _of_stage("state")
_SPEAKING: Failures = {
    **_by_code(errors.TextTooLong("text", 5000, 4096)),
    **_NAMED_VOICE,
    **_of_stage("tts"),
}
_UNFIT: Failures = _by_code(
    errors.RecordingTooShort("audio_sample", 1.2, 3.0),
    errors.RecordingTooLong("audio_sample", 10.0),
    errors.RecordingTooQuiet("audio_sample", -52.0, -45.0),
    errors.RecordingClipped("audio_sample"),
    errors.NoSpeech("audio_sample"),
    errors.NoWords("audio_sample"),
)
_CLONING: Failures = {
    **_UNFIT,
    **_by_code(errors.CloningUnsupported()),
    **_HEARING,
    **_of_stage("tts"),
}
_CONSENT: Failures = _by_code(errors.ConsentNotFound("cons_0a1b2c3d4e5f60718293a4b5")) | _of_stage(
    "state"
)
_LIBRARY: Failures = _by_code(errors.VoiceLibraryFull("100 voices of one key"))
_MODEL: Failures = _by_code(errors.ModelNotFound("nothing"))
# A voice that fails leaves the text.
_REPLYING: Failures = _WRITING | _NAMED_VOICE
_TURN: Failures = _HEARING | _REPLYING
_CHAT: Failures = _of_stage("audio") | _of_stage("stt") | _REPLYING | _MODEL
_SESSION: Failures = _by_code(errors.SessionNotFound("kitchen-7")) | _of_stage("state")
_REALTIME: Failures = _MODEL | _NAMED_VOICE
_ROOMS: Failures = _by_code(
    errors.NotConfigured("LiveKit", "livekit.url, livekit.api_key and livekit.api_secret")
)

OF_ROUTE: Mapping[str, Failures] = {
    "/v1/dialogue": _TURN | _CLONING,
    "/v1/conversation/dialogue": _TURN | _CLONING,
    "/v1/sessions/{session_id}": _SESSION,
    "/v1/speech-to-text": _HEARING,
    "/v1/text-to-speech": _SPEAKING | _CLONING,
    "/v1/encode-reference": _AUDIO | _by_code(errors.RecordingTooLong("file", 10.0)),
    "/v1/generate": _WRITING,
    "/v1/generate_stream": _WRITING,
    "/v1/chat/completions": _CHAT,
    "/v1/completions": _WRITING | _MODEL,
    "/v1/audio/transcriptions": _HEARING | _MODEL,
    "/v1/audio/translations": _HEARING | _MODEL,
    "/v1/audio/speech": _SPEAKING | _MODEL,
    "/v1/realtime/client_secrets": _REALTIME,
    "/v1/realtime/sessions": _REALTIME,
    "/v1/realtime/transcription_sessions": _REALTIME,
    "/v1/text-to-speech/{voice_id}": _SPEAKING | _MODEL,
    "/v1/text-to-speech/{voice_id}/stream": _SPEAKING | _MODEL,
    "/v1/voices": _of_stage("tts") | _of_stage("state"),
    "/v1/audio/voices": _CLONING | _CONSENT | _LIBRARY,
    "/v1/audio/voices/{voice_id}": _of_stage("tts") | _NAMED_VOICE,
    "/v1/audio/voice_consents": _AUDIO | _UNFIT | _CONSENT | _LIBRARY,
    "/v1/audio/voice_consents/{consent_id}": _CONSENT
    | _by_code(errors.ConsentInUse("voice_0a1b2c3d4e5f60718293a4b5")),
    "/v1/audio/models": {},
    "/v1/models": {},
    "/v1/models/{model_id}": _MODEL,
    "/v1/livekit/status": {},
    "/v1/livekit/token": _ROOMS,
    "/v1/livekit/agent-token": _ROOMS,
    "/health": {},
    "/health/live": {},
    "/health/ready": {},
    "/health/{stage}": {"not_found": HTTPException(404, "There is no such stage.")},
    "/metrics": {},
}
