"""Today's events in the words of the beta (`OpenAI-Beta: realtime=v1`)."""

from typing import Any

from serve_app.protocol.realtime_beta import FORMATS
from serve_app.protocol.realtime_response_events import ResponseCreated, ResponseDone
from serve_app.protocol.realtime_server_events import SessionCreated, SessionUpdated
from serve_app.protocol.realtime_session import AnySession, RealtimeSession, TranscriptionSession
from serve_app.realtime.response_writer import ServerEvent

_NAMES = {
    "conversation.item.added": "conversation.item.created",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
}
_UNKNOWN = frozenset({"conversation.item.done", "input_audio_buffer.timeout_triggered"})
_CONTENT = {"output_text": "text", "output_audio": "audio"}
_FORMAT_NAMES = {today: beta for beta, today in FORMATS.items()}
_PARAMS = (
    ("session.audio.input.format", "session.input_audio_format"),
    ("session.audio.input.transcription", "session.input_audio_transcription"),
    ("session.audio.input.noise_reduction", "session.input_audio_noise_reduction"),
    ("session.audio.input.turn_detection", "session.turn_detection"),
    ("session.audio.output.format", "session.output_audio_format"),
    ("session.audio.output", "session"),
    ("response.audio.output", "response"),
    ("session.output_modalities", "session.modalities"),
    ("response.output_modalities", "response.modalities"),
)


def beta_event(event: ServerEvent) -> dict[str, Any] | None:
    """The event as a client of the beta knows it; None where it knows none such."""
    if event.type in _UNKNOWN:
        return None
    written = event.model_dump()
    written["type"] = _NAMES.get(event.type, event.type)
    match event:
        case SessionCreated(session=session) | SessionUpdated(session=session):
            written["session"] = beta_session(session)
            if isinstance(session, TranscriptionSession):
                written["type"] = f"transcription_{event.type}"
        case ResponseCreated(response=response) | ResponseDone(response=response):
            written["response"] = _response(written["response"], response.temperature)
        case _:
            if "item" in written:
                written["item"] = _item(written["item"])
    return written


def beta_param(param: str | None) -> str | None:
    """Where an error is, by the beta's names."""
    for today, beta in _PARAMS:
        if param is not None and param.startswith(today):
            return beta + param.removeprefix(today)
    return param


def beta_session(session: AnySession) -> dict[str, Any]:
    """A session in its flat form."""
    heard = session.audio.input
    written = session.model_dump(include={"id", "object", "expires_at"})
    written["input_audio_format"] = _FORMAT_NAMES[heard.format.type]
    transcription = heard.transcription
    written["input_audio_transcription"] = transcription.model_dump() if transcription else None
    written["input_audio_noise_reduction"] = None
    detection = heard.turn_detection
    written["turn_detection"] = (
        detection.model_dump(exclude={"idle_timeout_ms"}) if detection else None
    )
    written["client_secret"] = None
    if isinstance(session, RealtimeSession):
        choice = session.tool_choice
        written |= {
            "model": session.model,
            "modalities": _modalities(session.output_modalities),
            "instructions": session.instructions,
            "voice": session.audio.output.voice,
            "output_audio_format": _FORMAT_NAMES[session.audio.output.format.type],
            "speed": session.audio.output.speed,
            "tools": [tool.model_dump() for tool in session.tools],
            "tool_choice": choice if isinstance(choice, str) else choice.name,
            "temperature": session.temperature,
            "max_response_output_tokens": session.max_output_tokens,
            "tracing": None,
        }
    return written


def _modalities(output_modalities: list[Any]) -> list[str]:
    return ["audio", "text"] if "audio" in output_modalities else ["text"]


def _response(response: dict[str, Any], temperature: float) -> dict[str, Any]:
    output = response.pop("audio")["output"]
    modalities = _modalities(response.pop("output_modalities"))
    return {
        **response,
        "output": [_item(item) for item in response["output"]],
        "modalities": modalities,
        "voice": output["voice"],
        "output_audio_format": _FORMAT_NAMES[output["format"]["type"]],
        "temperature": temperature,
    }


def _item(item: dict[str, Any]) -> dict[str, Any]:
    if "content" not in item:
        return item
    content = [
        {**part, "type": _CONTENT.get(part["type"], part["type"])} for part in item["content"]
    ]
    return {**item, "content": content}
