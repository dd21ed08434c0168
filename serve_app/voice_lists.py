"""The voices that a caller can name."""

from serve_app.protocol.openai_voices import VoiceOut
from serve_app.services import Services, cloned_rate


async def listed_voices(services: Services, owner: str) -> list[VoiceOut]:
    """The engine's voices, then the owner's cloned ones, which need an engine that clones.

    Raises:
        SpeechError: the voice stage or the voice library does not answer.
    """
    catalog = await services.voices()
    own = [
        VoiceOut(
            id=voice.name,
            name=voice.name,
            language=voice.language,
            sample_rate=voice.sample_rate,
            default=voice.name == catalog.default,
        )
        for voice in catalog.voices
    ]
    if catalog.encoder is None:
        return own
    return own + [
        VoiceOut.of(each, cloned_rate(catalog))
        for each in await services.cloned.store.list_voices(owner)
    ]
