"""The voice that a GemmaVoice request asks for: by its name, or by recordings of it."""

import asyncio
import base64
import binascii
import hashlib
import io

from deployments.errors import InvalidParameter
from deployments.messages import VoiceReference
from serve_app.caller import Caller
from serve_app.cloning import VoiceCloner
from serve_app.protocol.gemmavoice import ReferenceIn, SynthesisFields
from serve_app.services import AskedVoice, Services, Voice, cloned_rate

_INLINE = "references"


async def wanted_voice(
    services: Services, caller: Caller, fields: SynthesisFields, place: str = ""
) -> Voice:
    """The voice; `place` begins the names of the request's fields.

    Raises:
        VoiceNotFound: there is no such voice.
        InvalidRequest: the recordings cannot be used.
        SpeechError: a stage does not answer.
    """
    if not fields.references:
        return await services.voice(fields.reference_id, caller.owner)
    return await _cloned(services, caller, fields, f"{place}references")


async def wanted_voice_to_come(
    services: Services, caller: Caller, fields: SynthesisFields, place: str = ""
) -> AskedVoice:
    """The same; see `Services.voice_to_come`."""
    if not fields.references:
        return await services.voice_to_come(fields.reference_id, caller.owner)
    return await _cloned(services, caller, fields, f"{place}references")


async def _cloned(services: Services, caller: Caller, fields: SynthesisFields, place: str) -> Voice:
    references = fields.references or []
    most = services.settings.voices.max_references
    if fields.reference_id:
        raise InvalidParameter(place, "there is a 'reference_id', too; use one of them")
    if len(references) > most:
        raise InvalidParameter(place, f"there may be {most} of them")
    cloner = _ReferenceCloner(services, caller)
    encoded = [
        await cloner.encoded(reference, f"{place}.{index}")
        for index, reference in enumerate(references)
    ]
    rate = cloned_rate(await services.voices())
    return Voice(name=_INLINE, references=tuple(encoded), sample_rate=rate)


class _ReferenceCloner:
    """Encodes the recordings in a request, each once for as long as it is remembered."""

    def __init__(self, services: Services, caller: Caller) -> None:
        self._known, self._owner = services.cloned.references, caller.owner
        self._cloner = VoiceCloner(services, caller)

    async def encoded(self, reference: str | ReferenceIn, name: str) -> VoiceReference:
        given = ReferenceIn(audio=reference) if isinstance(reference, str) else reference
        encoder = await self._cloner.encoder()
        try:
            data = await asyncio.to_thread(base64.b64decode, given.audio, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidParameter(name, "it is not base64") from None
        digest = await asyncio.to_thread(_digest, self._owner, encoder, given.text, data)
        encoded = self._known.get(digest)
        if encoded is None:
            sample = await self._cloner.sample(io.BytesIO(data), name, given.text)
            encoded = sample.reference
            self._known.put(digest, encoded)
        return encoded


def _digest(owner: str, encoder: str, text: str | None, data: bytes) -> bytes:
    digest = hashlib.sha256(data)
    digest.update(repr((owner, encoder, text)).encode())
    return digest.digest()
