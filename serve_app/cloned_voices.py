"""The cloned voices as a replica of the ingress knows them."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from deployments.audio import Pcm
from deployments.messages import LibraryVoice, NewVoice, VoiceConsent, VoiceReference

_KNOWN_S = 5.0  # so long a voice may speak on a replica after it was deleted on another
_MOST = 1024
_MOST_REFERENCES = 256
_MOST_BYTES = 64 * 1024 * 1024  # of each: a remote engine's codes are the recording


class VoiceStore(Protocol):
    """Cloned voices and consents, each seen by its owner alone. Every method raises `SpeechError`."""

    async def add_voice(self, owner: str, new: NewVoice, sample: Pcm) -> LibraryVoice:
        """Keep a voice. Raises `ConsentNotFound`, `VoiceLibraryFull`."""
        ...

    async def find_voice(self, owner: str, name: str) -> LibraryVoice | None:
        """The voice with this id, or the only one with this name; None where there is none."""
        ...

    async def list_voices(self, owner: str) -> tuple[LibraryVoice, ...]:
        """All voices of an owner, oldest first, without their codes, which may be large."""
        ...

    async def read_sample(self, owner: str, voice_id: str) -> Pcm:
        """What a voice was encoded from. Raises `VoiceNotFound`."""
        ...

    async def encode_again(self, owner: str, voice_id: str, reference: VoiceReference) -> None:
        """Keep how another encoder has encoded the sample. Raises `VoiceNotFound`."""
        ...

    async def delete_voice(self, owner: str, voice_id: str) -> None:
        """Forget a voice. Raises `VoiceNotFound`."""
        ...

    async def add_consent(
        self, owner: str, name: str, language: str, recording: Pcm
    ) -> VoiceConsent:
        """Keep a consent. Raises `VoiceLibraryFull`."""
        ...

    async def find_consent(self, owner: str, consent_id: str) -> VoiceConsent:
        """A consent by its id. Raises `ConsentNotFound`."""
        ...

    async def list_consents(self, owner: str) -> tuple[VoiceConsent, ...]:
        """All consents of an owner, oldest first."""
        ...

    async def rename_consent(self, owner: str, consent_id: str, name: str) -> VoiceConsent:
        """Keep another name of a consent. Raises `ConsentNotFound`."""
        ...

    async def delete_consent(self, owner: str, consent_id: str) -> None:
        """Forget a consent. Raises `ConsentNotFound`, `ConsentInUse`."""
        ...


class VoiceEncoder(Protocol):
    """Encodes recordings of voices."""

    async def encode_voice(self, audio: Pcm, text: str) -> VoiceReference:
        """A recording of a voice that says `text`, encoded to speak with it. Raises `SpeechError`."""
        ...


class EncodedReferences:
    """Recordings of requests that were encoded lately, by what tells them apart."""

    def __init__(self, most: int = _MOST_REFERENCES, most_bytes: int = _MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._known: OrderedDict[bytes, VoiceReference] = OrderedDict()

    def get(self, digest: bytes) -> VoiceReference | None:
        """What is known; the least recently used is forgotten first."""
        if digest not in self._known:
            return None
        self._known.move_to_end(digest)
        return self._known[digest]

    def put(self, digest: bytes, reference: VoiceReference) -> None:
        """Remember one."""
        self._known[digest] = reference
        while len(self._known) > self._most or self._bytes() > self._most_bytes:
            self._known.popitem(last=False)

    def _bytes(self) -> int:
        return sum(len(reference.codes) for reference in self._known.values())


class ClonedVoices:
    """Looks voices up; a voice that was found is known for a moment without asking again."""

    def __init__(
        self,
        store: VoiceStore,
        encoder: VoiceEncoder,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.store, self.references = store, EncodedReferences()
        self._encoder, self._clock = encoder, clock
        self._known: OrderedDict[tuple[str, str], tuple[float, LibraryVoice]] = OrderedDict()
        self._encoding = asyncio.Lock()

    async def find(self, owner: str, name: str, encoder: str) -> LibraryVoice | None:
        """The voice with this id or name, encoded by `encoder`; None where there is none.

        A sample that another encoder has encoded is encoded again, and kept so.

        Raises:
            SpeechError: the library or the encoder does not answer.
        """
        until, voice = self._known.get((owner, name), (0.0, None))
        if voice is None or until <= self._clock() or voice.reference.encoder != encoder:
            voice = await self._look_up(owner, name, encoder)
        return voice

    def forget(self) -> None:
        """Ask again for every voice."""
        self._known.clear()

    async def _look_up(self, owner: str, name: str, encoder: str) -> LibraryVoice | None:
        voice = await self.store.find_voice(owner, name)
        if voice is None:
            self._known.pop((owner, name), None)
            return None
        if voice.reference.encoder != encoder:
            voice = await self._encoded_again(owner, voice, encoder)
        self._known[owner, name] = self._clock() + _KNOWN_S, voice
        self._known.move_to_end((owner, name))
        self._drop_old()
        return voice

    def _drop_old(self) -> None:
        while self._known:
            until, _ = next(iter(self._known.values()))
            bounded = len(self._known) <= _MOST and self._bytes() <= _MOST_BYTES
            if bounded and until > self._clock():
                return
            self._known.popitem(last=False)

    def _bytes(self) -> int:
        return sum(len(voice.reference.codes) for _, voice in self._known.values())

    async def _encoded_again(self, owner: str, voice: LibraryVoice, encoder: str) -> LibraryVoice:
        async with self._encoding:  # who waited finds it done
            now = await self.store.find_voice(owner, voice.id) or voice
            if now.reference.encoder == encoder:
                return now
            sample = await self.store.read_sample(owner, voice.id)
            reference = await self._encoder.encode_voice(sample, voice.reference.text)
            await self.store.encode_again(owner, voice.id, reference)
            return replace(voice, reference=reference)
