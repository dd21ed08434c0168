"""Examples that neither a model nor a route holds: forms with a file, streams, subtitles.

They are written by what writes the answers themselves.
"""

from collections.abc import Mapping
from typing import Any

from deployments.messages import Segment, Transcript
from serve_app.media.formats import MEDIA_TYPES
from serve_app.protocol.gemmavoice import TranscriptionOut
from serve_app.protocol.openai_speech import AudioDeltaEvent, AudioDoneEvent, SpokenUsage
from serve_app.protocol.openai_transcript import HeardUsage, TextDeltaEvent, TextDoneEvent
from serve_app.sse import ndjson, sse_data
from serve_app.subtitles import to_vtt

Examples = Mapping[str, Any]  # by name
ByMediaType = Mapping[str, Examples]

JSON, FORM, EVENTS, LINES = (
    "application/json",
    "multipart/form-data",
    "text/event-stream",
    "application/x-ndjson",
)

_SAID = "What is the capital of France?"
_REPLY = "The capital of France is Paris."
_HEARD = Transcript(
    _SAID,
    "en",
    0.98,
    2.1,
    (Segment(1, 0.0, 2.1, f" {_SAID}", -0.21, 0.01, 0.94, 0.0, tokens=(1867, 318, 262, 3139)),),
)
_AUDIO = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAIlYAAESsAAACABAAZGF0YQAAAAA="
_AUDIO_FILES: ByMediaType = {name: {} for name in MEDIA_TYPES}
_TIMINGS = {
    "decode_s": 0.03,
    "transcript_s": 0.41,
    "first_token_s": 0.48,
    "first_clause_s": 0.7,
    "first_audio_s": 0.79,
    "reply_s": 0.82,
    "total_s": 1.02,
}


def _text(*pieces: bytes) -> str:
    return b"".join(pieces).decode()


_SUBTITLES: ByMediaType = {
    "text/plain": {"text": f"{_SAID}\n"},
    "text/vtt": {"vtt": to_vtt(_HEARD)},
}
_HEARD_EVENTS = _text(
    sse_data(TextDeltaEvent(delta=_SAID).model_dump()),
    sse_data(TextDoneEvent(text=_SAID, usage=HeardUsage.of(_HEARD)).model_dump()),
)
_TURN_LINES = _text(
    ndjson(
        "metadata",
        {
            "response_format": "wav",
            "media_type": "audio/wav",
            "sample_rate": 22_050,
            "reference_id": None,
        },
    ),
    ndjson("transcript", TranscriptionOut.of(_HEARD).model_dump(exclude_none=True)),
    ndjson("assistant_text_delta", {"text": _REPLY}),
    ndjson("audio_chunk", {"audio_base64": _AUDIO}),
    ndjson("assistant_text", {"text": _REPLY, "finish_reason": "stop"}),
    ndjson("done", {"timings": _TIMINGS}),
)
_TURN: Examples = {
    "whole": {
        "transcript": TranscriptionOut.of(_HEARD).model_dump(exclude_none=True),
        "response_text": _REPLY,
        "audio_base64": _AUDIO,
        "response_format": "wav",
        "media_type": "audio/wav",
        "sample_rate": 22_050,
        "finish_reason": "stop",
        "timings": _TIMINGS,
    }
}
_TURN_FORMS: Examples = {
    "whole": {"file": "@question.wav"},
    "streamed": {
        "file": "@question.wav",
        "instructions": "Answer in one short sentence.",
        "generation_config": '{"max_tokens": 64, "temperature": 0.3}',
        "synthesis_config": '{"format": "mp3", "speed": 1.1}',
        "stream_audio": True,
    },
    "remembered": {"file": "@question.wav", "session_id": "kitchen-7"},
}
# The fields of a form; a file is written as curl has it, which is what tools make of the example.
FORMS: Mapping[str, Examples] = {
    "/v1/dialogue": _TURN_FORMS,
    "/v1/conversation/dialogue": _TURN_FORMS,
    "/v1/speech-to-text": {
        "json": {"file": "@question.wav"},
        "subtitles": {"file": "@talk.mp3", "language": "en", "response_format": "srt"},
    },
    "/v1/encode-reference": {"recording": {"file": "@voice.wav"}},
    "/v1/audio/transcriptions": {
        "json": {"file": "@question.wav", "model": "whisper-1"},
        "words": {
            "file": "@question.wav",
            "model": "whisper-1",
            "response_format": "verbose_json",
            "timestamp_granularities[]": ["word", "segment"],
        },
        "streamed": {"file": "@question.wav", "model": "whisper-1", "stream": True},
    },
    "/v1/audio/voices": {
        "heard": {
            "audio_sample": "@voice.wav",
            "name": "Ada",
            "consent": "cons_0a1b2c3d4e5f60718293a4b5",
        },
        "said": {
            "audio_sample": "@suara.wav",
            "name": "Budi",
            "consent": "cons_0a1b2c3d4e5f60718293a4b5",
            "text": "Selamat pagi, nama saya Budi.",
            "language": "id-ID",
        },
    },
    "/v1/audio/voice_consents": {
        "recording": {"recording": "@consent.wav", "name": "Ada", "language": "en-US"}
    },
    "/v1/audio/translations": {"json": {"file": "@pregunta.wav", "model": "whisper-1"}},
}

ANSWERS: Mapping[str, ByMediaType] = {
    "/v1/dialogue": {JSON: _TURN, LINES: {"streamed": _TURN_LINES}},
    "/v1/conversation/dialogue": {JSON: _TURN, LINES: {"streamed": _TURN_LINES}},
    "/v1/audio/transcriptions": {**_SUBTITLES, EVENTS: {"streamed": _HEARD_EVENTS}},
    "/v1/audio/translations": _SUBTITLES,
    "/v1/audio/speech": {
        **_AUDIO_FILES,
        EVENTS: {
            "streamed": _text(
                sse_data(AudioDeltaEvent(audio=_AUDIO).model_dump()),
                sse_data(AudioDoneEvent(usage=SpokenUsage.of(_REPLY, 1.7)).model_dump()),
            )
        },
    },
    "/v1/audio/models": {JSON: {"models": {"models": [{"id": "joe", "name": "Text to speech"}]}}},
    "/metrics": {
        "text/plain": {
            "metrics": "# HELP ray_app_http_requests_total HTTP requests, by route and status\n"
            "# TYPE ray_app_http_requests_total counter\n"
            'ray_app_http_requests_total{method="GET",route="/health/live",status="200"} 3.0\n'
        }
    },
}
