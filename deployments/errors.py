"""Everything that can go wrong, named after the fact.

SpeechError
├── InvalidRequest            the caller can mend it
│   ├── InvalidParameter
│   │   └── EngineIncapable   another engine of a chain may be able to
│   ├── TextTooLong
│   ├── ContextOverflow
│   ├── UnsupportedLanguage
│   ├── VoiceNotFound
│   ├── CloningUnsupported
│   ├── ConsentNotFound
│   ├── ConsentInUse
│   ├── VoiceLibraryFull
│   ├── UnfitRecording        no voice can be cloned from it
│   │   ├── RecordingTooShort
│   │   ├── RecordingTooLong
│   │   ├── RecordingTooQuiet
│   │   ├── RecordingClipped
│   │   ├── NoSpeech
│   │   └── NoWords
│   ├── ModelNotFound
│   ├── SessionNotFound
│   ├── ItemNotFound
│   ├── NothingToCommit
│   ├── ReplyInProgress
│   ├── NoReplyInProgress
│   ├── UnsupportedFormat
│   ├── InvalidAudio
│   ├── AudioTooLong
│   ├── BodyTooLarge
│   └── BodyTimeout
├── AccessDenied
│   ├── MissingApiKey
│   └── InvalidApiKey
│       └── ForbiddenApiKey
├── RateLimited               the caller's share is used up
├── NotConfigured             a part of the service that the operator has not set up
├── StageFailed               a stage broke while it worked
│   └── RequestRefused        a remote engine would not take this one request
├── StageUnavailable          no replica of a stage answers
│   └── MemoryUnavailable     what remembers sessions does not answer
├── StageOverloaded           a stage has no room
├── StageTimeout              a stage did not answer in time
└── StartupError              wrong configuration: the process must not start
    ├── InvalidSetting
    └── WeightsNotFound

Errors cross process borders by pickle, so every constructor takes positional arguments and
hands all of them to `super().__init__`.
"""

import math


class SpeechError(Exception):
    """Base of all errors that this project raises on purpose."""

    code: str = "internal_error"
    retryable: bool = False

    @property
    def message(self) -> str:
        """A sentence that may be shown to a client."""
        return "The server could not complete the request."

    @property
    def param(self) -> str | None:
        """The request field that caused the error, where there is one."""
        return None

    def __str__(self) -> str:
        return self.message


class InvalidRequest(SpeechError):
    """The request cannot be served as it is."""

    code = "invalid_request"


class InvalidParameter(InvalidRequest):
    """A field has a value that cannot be honoured."""

    code = "invalid_parameter"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    @property
    def message(self) -> str:
        return f"Invalid value for '{self.name}': {self.reason}"

    @property
    def param(self) -> str | None:
        return self.name


class EngineIncapable(InvalidParameter):
    """The engine cannot do what may well be asked for; another one may."""


class TextTooLong(InvalidRequest):
    """A text is longer than the limit."""

    code = "text_too_long"

    def __init__(self, name: str, length: int, limit: int) -> None:
        super().__init__(name, length, limit)
        self.name, self.length, self.limit = name, length, limit

    @property
    def message(self) -> str:
        return f"'{self.name}' has {self.length} characters; the limit is {self.limit}."

    @property
    def param(self) -> str | None:
        return self.name


class ContextOverflow(InvalidRequest):
    """The prompt does not fit into the model's context."""

    code = "context_length_exceeded"

    def __init__(self, prompt_tokens: int, context_tokens: int, name: str = "prompt") -> None:
        super().__init__(prompt_tokens, context_tokens, name)
        self.prompt_tokens, self.context_tokens = prompt_tokens, context_tokens
        self.name = name

    @property
    def message(self) -> str:
        return (
            f"The prompt has {self.prompt_tokens} tokens; "
            f"the model's context holds {self.context_tokens}."
        )

    @property
    def param(self) -> str | None:
        return self.name


class UnsupportedLanguage(InvalidRequest):
    """The speech model does not know the language that was asked for."""

    code = "unsupported_language"

    def __init__(self, language: str, model: str) -> None:
        super().__init__(language, model)
        self.language, self.model = language, model

    @property
    def message(self) -> str:
        return f"The model '{self.model}' does not support the language '{self.language}'."

    @property
    def param(self) -> str | None:
        return "language"


class VoiceNotFound(InvalidRequest):
    """No voice has this name."""

    code = "voice_not_found"

    def __init__(self, voice: str) -> None:
        super().__init__(voice)
        self.voice = voice

    @property
    def message(self) -> str:
        return f"The voice '{self.voice[:64]}' does not exist."

    @property
    def param(self) -> str | None:
        return "voice"


class CloningUnsupported(InvalidRequest):
    """The voice that is served cannot take another's sound."""

    code = "voice_cloning_unsupported"

    @property
    def message(self) -> str:
        return "No voice that is served here can be cloned."


class ConsentNotFound(InvalidRequest):
    """No consent of the caller's has this id."""

    code = "voice_consent_not_found"

    def __init__(self, consent: str) -> None:
        super().__init__(consent)
        self.consent = consent

    @property
    def message(self) -> str:
        return f"The voice consent '{self.consent[:64]}' does not exist."

    @property
    def param(self) -> str | None:
        return "consent"


class ConsentInUse(InvalidRequest):
    """A consent cannot go before the voices that need it."""

    code = "voice_consent_in_use"

    def __init__(self, voice: str) -> None:
        super().__init__(voice)
        self.voice = voice

    @property
    def message(self) -> str:
        return f"The voice '{self.voice}' needs this consent; delete the voice first."

    @property
    def param(self) -> str | None:
        return "consent"


class VoiceLibraryFull(InvalidRequest):
    """There is no room for another voice or consent; `limit` says what is used up."""

    code = "voice_library_full"

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit

    @property
    def message(self) -> str:
        return f"The voice library holds no more than {self.limit}; delete what is not needed."


class UnfitRecording(InvalidRequest):
    """No voice can be cloned from a recording; `name` is its field."""

    code = "unfit_recording"
    flaw = "is not fit to be cloned"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    @property
    def message(self) -> str:
        return f"The recording '{self.name}' {self.flaw}."

    @property
    def param(self) -> str | None:
        return self.name


class RecordingTooShort(UnfitRecording):
    """The recording lasts less than is needed."""

    code = "recording_too_short"

    def __init__(self, name: str, duration_s: float, shortest_s: float) -> None:
        InvalidRequest.__init__(self, name, duration_s, shortest_s)
        self.name = name
        self.flaw = f"lasts {duration_s:.1f} seconds; {shortest_s:g} are needed"


class RecordingTooLong(UnfitRecording):
    """The recording lasts longer than may be."""

    code = "recording_too_long"

    def __init__(self, name: str, longest_s: float) -> None:
        InvalidRequest.__init__(self, name, longest_s)
        self.name = name
        self.flaw = f"lasts longer than {longest_s:g} seconds"


class RecordingTooQuiet(UnfitRecording):
    """The speech in the recording can hardly be heard."""

    code = "recording_too_quiet"

    def __init__(self, name: str, level_db: float, least_db: float) -> None:
        InvalidRequest.__init__(self, name, level_db, least_db)
        self.name = name
        self.flaw = (
            f"is too quiet: its speech is at {level_db:.0f} dB of full scale, and {least_db:g} dB "
            "are needed"
        )


class RecordingClipped(UnfitRecording):
    """The recording was too loud for the microphone or the file: its peaks are cut off."""

    code = "recording_clipped"
    flaw = "is distorted: its peaks are cut off; record it with less gain"


class NoSpeech(UnfitRecording):
    """Nobody speaks in the recording, or for too short a time."""

    code = "no_speech"
    flaw = "holds too little speech"


class NoWords(UnfitRecording):
    """No words were understood in the recording."""

    code = "no_words"
    flaw = "holds no words that were understood; say in 'text' what is spoken"


class ModelNotFound(InvalidRequest):
    """No model that is served has this name."""

    code = "model_not_found"

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model

    @property
    def message(self) -> str:
        return f"The model '{self.model[:64]}' does not exist."

    @property
    def param(self) -> str | None:
        return "model"


class SessionNotFound(InvalidRequest):
    """No session has this id."""

    code = "session_not_found"

    def __init__(self, session: str) -> None:
        super().__init__(session)
        self.session = session

    @property
    def message(self) -> str:
        return f"The session '{self.session[:64]}' does not exist."

    @property
    def param(self) -> str | None:
        return "session_id"


class ItemNotFound(InvalidRequest):
    """No item of the conversation has this id."""

    code = "item_not_found"

    def __init__(self, item: str) -> None:
        super().__init__(item)
        self.item = item

    @property
    def message(self) -> str:
        return f"The item '{self.item[:64]}' does not exist."

    @property
    def param(self) -> str | None:
        return "item_id"


class NothingToCommit(InvalidRequest):
    """The audio that was sent is too short to be an utterance."""

    code = "input_audio_buffer_commit_empty"

    def __init__(self, held_ms: int, shortest_ms: int) -> None:
        super().__init__(held_ms, shortest_ms)
        self.held_ms, self.shortest_ms = held_ms, shortest_ms

    @property
    def message(self) -> str:
        return (
            f"Error committing input audio buffer: buffer too small. Expected at least "
            f"{self.shortest_ms}ms of audio, but buffer only has {self.held_ms}ms of audio."
        )


class ReplyInProgress(InvalidRequest):
    """A reply is being given, and there can be only one."""

    code = "conversation_already_has_active_response"

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply

    @property
    def message(self) -> str:
        return (
            f"Conversation already has an active response in progress: {self.reply}. "
            "Wait until the response is finished before creating a new one."
        )


class NoReplyInProgress(InvalidRequest):
    """There is no reply to cancel."""

    code = "response_cancel_not_active"

    @property
    def message(self) -> str:
        return "Cancellation failed: no active response found"


class UnsupportedFormat(InvalidRequest):
    """The audio container or codec is not one that is served."""

    code = "unsupported_format"

    def __init__(self, detail: str, name: str = "file") -> None:
        super().__init__(detail, name)
        self.detail, self.name = detail, name

    @property
    def message(self) -> str:
        return self.detail

    @property
    def param(self) -> str | None:
        return self.name


class InvalidAudio(InvalidRequest):
    """The upload is not audio that can be decoded."""

    code = "invalid_audio"

    def __init__(self, detail: str, name: str = "file") -> None:
        super().__init__(detail, name)
        self.detail, self.name = detail, name

    @property
    def message(self) -> str:
        return self.detail

    @property
    def param(self) -> str | None:
        return self.name


class AudioTooLong(InvalidRequest):
    """The audio lasts longer than the limit."""

    code = "audio_too_long"

    def __init__(self, limit_s: float) -> None:
        super().__init__(limit_s)
        self.limit_s = limit_s

    @property
    def message(self) -> str:
        return f"The audio is longer than {self.limit_s:g} seconds."

    @property
    def param(self) -> str | None:
        return "file"


class BodyTooLarge(InvalidRequest):
    """The request body is larger than the limit."""

    code = "body_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(limit_bytes)
        self.limit_bytes = limit_bytes

    @property
    def message(self) -> str:
        return f"The request body is larger than {self.limit_bytes} bytes."


class BodyTimeout(InvalidRequest):
    """The request body took too long to come."""

    code = "request_timeout"

    def __init__(self, limit_s: float) -> None:
        super().__init__(limit_s)
        self.limit_s = limit_s

    @property
    def message(self) -> str:
        return f"The request body did not arrive within {self.limit_s:g} seconds."


class AccessDenied(SpeechError):
    """The caller may not use this route."""

    code = "access_denied"


class MissingApiKey(AccessDenied):
    """The route needs an API key and none was sent."""

    code = "missing_api_key"

    @property
    def message(self) -> str:
        return "An API key is required."


class InvalidApiKey(AccessDenied):
    """The API key is not known."""

    code = "invalid_api_key"

    @property
    def message(self) -> str:
        return "The API key is not valid."


class ForbiddenApiKey(InvalidApiKey):
    """The API key is not known, and came in the service's own header."""


_USED_UP = {
    "share": "More than a fair share is in progress",
    "audio": "Too many seconds of audio",
    "concurrent": "Too many requests at the same time",
}


class RateLimited(SpeechError):
    """The caller has used up its share; `limit` is 'requests', 'audio', 'concurrent' or 'share'."""

    code = "rate_limit_exceeded"
    retryable = True

    def __init__(self, limit: str, retry_after_s: float) -> None:
        super().__init__(limit, retry_after_s)
        self.limit, self.retry_after_s = limit, retry_after_s

    @property
    def message(self) -> str:
        used_up = _USED_UP.get(self.limit, "Too many requests")
        return f"{used_up} for this key; try again in {max(1, math.ceil(self.retry_after_s))} s."


class NotConfigured(SpeechError):
    """The operator has not set up this part of the service; `settings` name what it needs."""

    code = "not_configured"

    def __init__(self, part: str, settings: str) -> None:
        super().__init__(part, settings)
        self.part, self.settings = part, settings

    @property
    def message(self) -> str:
        return f"{self.part} is not set up here; the configuration needs {self.settings}."


class _StageError(SpeechError):
    """A stage of the graph could not do its part; `stage` is 'stt', 'llm', 'tts', 'state' or 'audio'."""

    def __init__(self, stage: str) -> None:
        super().__init__(stage)
        self.stage = stage


class StageFailed(_StageError):
    """The stage broke while it worked; its log holds the reason."""

    code = "stage_failed"

    @property
    def message(self) -> str:
        return f"The {self.stage} stage failed."


class RequestRefused(StageFailed):
    """The remote engine works, and would not take this one request; the log holds its status."""

    code = "remote_refused"


class StageUnavailable(_StageError):
    """No replica of the stage answers, or the one at work was lost."""

    code = "stage_unavailable"
    retryable = True
    had_begun = False  # the one that was lost; where nothing was sent, all may be asked again

    @property
    def message(self) -> str:
        return f"The {self.stage} stage is not available at the moment; try again."


class MemoryUnavailable(StageUnavailable):
    """What remembers sessions does not answer."""

    code = "memory_unavailable"

    def __init__(self, stage: str = "sessions") -> None:
        super().__init__(stage)

    @property
    def message(self) -> str:
        return "The memory of sessions does not answer at the moment; try again."


class StageOverloaded(_StageError):
    """The stage's queue is full, or too long; it may have room again in `retry_after_s`."""

    code = "stage_overloaded"
    retryable = True

    def __init__(self, stage: str, retry_after_s: float = 1.0) -> None:
        SpeechError.__init__(self, stage, retry_after_s)
        self.stage, self.retry_after_s = stage, retry_after_s

    @property
    def message(self) -> str:
        return f"The {self.stage} stage is overloaded; try again later."


class StageTimeout(_StageError):
    """The stage did not answer within its time limit."""

    code = "stage_timeout"
    retryable = True

    @property
    def message(self) -> str:
        return f"The {self.stage} stage did not answer in time."


class StartupError(SpeechError):
    """The configuration is wrong; the process must not start."""

    code = "startup_error"


class InvalidSetting(StartupError):
    """A setting has a value that cannot work here; `key` is its name in YAML or environment."""

    code = "invalid_setting"

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(key, reason)
        self.key, self.reason = key, reason

    @property
    def message(self) -> str:
        return f"{self.key}: {self.reason}"


class WeightsNotFound(StartupError):
    """A model's weights are not where the setting says."""

    code = "weights_not_found"

    def __init__(self, key: str, reference: str, reason: str) -> None:
        super().__init__(key, reference, reason)
        self.key, self.reference, self.reason = key, reference, reason

    @property
    def message(self) -> str:
        return f"{self.key}: no weights at '{self.reference}': {self.reason}"
