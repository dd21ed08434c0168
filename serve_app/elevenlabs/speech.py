"""What a client asks for -> what is asked of a voice."""

from dataclasses import replace

from deployments.errors import InvalidParameter
from deployments.languages import language_code
from deployments.messages import SpeechRequest
from serve_app.protocol.elevenlabs import VoiceSettings
from serve_app.services import Services, Voice

_ANY_LANGUAGE = (None, "mul", "und")  # ISO 639's words for several, and for unknown
_TEMPERATURE_AT_ZERO = 1.4  # so that 0.5 is what a voice was trained with, 0.7


async def chosen_voice(
    services: Services, owner: str, voice_id: str, model: str | None, language: str | None
) -> Voice:
    """The voice of this id.

    Raises:
        VoiceNotFound: there is none.
        ModelNotFound: the model is neither ElevenLabs' nor served here.
        InvalidParameter: the voice does not speak the language.
    """
    if model is not None and not model.startswith("eleven_"):
        services.models.resolve("tts", model)
    voice = await services.voice(voice_id, owner)
    spoken = language_code(voice.language)
    # A cloned voice speaks whatever the engine does.
    any_language = voice.references or spoken in _ANY_LANGUAGE
    if language and not any_language and language_code(language) != spoken:
        raise InvalidParameter("language_code", f"the voice speaks '{voice.language}'.")
    return voice


def speech_with(speech: SpeechRequest, settings: VoiceSettings | None) -> SpeechRequest:
    """The request with what the settings say."""
    if settings is None:
        return speech
    if settings.stability is not None:
        temperature = _TEMPERATURE_AT_ZERO * (1 - settings.stability)
        speech = replace(speech, temperature=round(temperature, 3))
    return speech if settings.speed is None else replace(speech, speed=settings.speed)


def plain_speech(
    services: Services, voice: Voice, *, early: bool, seed: int | None
) -> SpeechRequest:
    """A request without a text."""
    normalize = services.settings.audio.default_normalize
    return voice.speak(SpeechRequest("", normalize=normalize, early=early, seed=seed))
