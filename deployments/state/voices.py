"""The library of cloned voices, and of the consents of their speakers."""

import base64
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from configs.settings import VoiceLibrarySettings
from deployments.audio import Pcm
from deployments.errors import ConsentInUse, ConsentNotFound, VoiceLibraryFull, VoiceNotFound
from deployments.messages import LibraryVoice, NewVoice, VoiceConsent, VoiceReference
from deployments.state.records import UNREADABLE, Fields, RecordFolder, Version

logger = logging.getLogger("ray.serve")

_VOICE, _CONSENT = "voice", "cons"

Kept = TypeVar("Kept", LibraryVoice, VoiceConsent)


@dataclass(frozen=True, slots=True)
class _Owned(Generic[Kept]):
    """A voice or a consent, whose it is, and the bytes of its recording."""

    owner: str
    value: Kept
    size: int


class VoiceLibrary:
    """Voices and consents by owner, bounded in number and bytes; oldest first in lists.

    What one owner has is unknown to every other. Blocking: it writes files, and reads them at its
    first use and again when they have changed, which another process may have done, as while one
    `state` takes over from the other. Every method may raise `OSError`; only one may run at a time.
    """

    def __init__(
        self,
        settings: VoiceLibrarySettings,
        clock: Callable[[], float] = time.time,  # noqa: TID251 - shown as dates
    ) -> None:
        self._settings, self._clock = settings, clock
        self._records = RecordFolder(Path(settings.folder).expanduser())
        self._voices: dict[str, _Owned[LibraryVoice]] = {}
        self._consents: dict[str, _Owned[VoiceConsent]] = {}
        self._versions: dict[str, Version] = {}
        self._read_at: int | None = None  # the state of the folder that is known

    # ---- voices ----

    def add_voice(self, owner: str, new: NewVoice, sample: Pcm) -> LibraryVoice:
        """Keep a voice with its sample.

        Raises:
            ConsentNotFound: the owner has no such consent.
            VoiceLibraryFull: there is no room for it.
        """
        self._read()
        if new.consent_id is not None:
            self.find_consent(owner, new.consent_id)
        self._make_sure_of_room(owner, self._voices, "voices", sample)
        voice = LibraryVoice(
            _new_id(_VOICE),
            new.name,
            new.language,
            self._clock(),
            new.reference,
            new.consent_id,
        )
        size = self._records.add(voice.id, _voice_fields(owner, voice), sample)
        self._voices[voice.id] = _Owned(owner, voice, size)
        return voice

    def find_voice(self, owner: str, name: str) -> LibraryVoice | None:
        """The voice with this id, or the only one with this name; None where there is none."""
        voices = self.list_voices(owner)
        by_id = [voice for voice in voices if voice.id == name]
        found = by_id or [voice for voice in voices if voice.name == name]
        return found[0] if len(found) == 1 else None

    def list_voices(self, owner: str) -> tuple[LibraryVoice, ...]:
        """All voices of an owner."""
        self._read()
        return tuple(each.value for each in self._voices.values() if each.owner == owner)

    def read_sample(self, owner: str, voice_id: str) -> Pcm:
        """What a voice was encoded from.

        Raises:
            VoiceNotFound: the owner has no such voice.
        """
        self._owned_voice(owner, voice_id)
        return self._records.recording(voice_id)

    def encode_again(self, owner: str, voice_id: str, reference: VoiceReference) -> None:
        """Keep how another encoder has encoded the sample.

        Raises:
            VoiceNotFound: the owner has no such voice.
        """
        owned = self._owned_voice(owner, voice_id)
        voice = replace(owned.value, reference=reference)
        self._records.change(voice_id, _voice_fields(owner, voice))
        self._voices[voice_id] = replace(owned, value=voice)

    def delete_voice(self, owner: str, voice_id: str) -> None:
        """Forget a voice and its sample.

        Raises:
            VoiceNotFound: the owner has no such voice.
        """
        self._owned_voice(owner, voice_id)
        self._records.delete(voice_id)
        del self._voices[voice_id]

    # ---- consents ----

    def add_consent(self, owner: str, name: str, language: str, recording: Pcm) -> VoiceConsent:
        """Keep a consent with its recording.

        Raises:
            VoiceLibraryFull: there is no room for it.
        """
        self._read()
        self._make_sure_of_room(owner, self._consents, "consents", recording)
        consent = VoiceConsent(_new_id(_CONSENT), name, language, self._clock())
        size = self._records.add(consent.id, _consent_fields(owner, consent), recording)
        self._consents[consent.id] = _Owned(owner, consent, size)
        return consent

    def find_consent(self, owner: str, consent_id: str) -> VoiceConsent:
        """The consent with this id.

        Raises:
            ConsentNotFound: the owner has no such consent.
        """
        return self._owned_consent(owner, consent_id).value

    def list_consents(self, owner: str) -> tuple[VoiceConsent, ...]:
        """All consents of an owner."""
        self._read()
        return tuple(each.value for each in self._consents.values() if each.owner == owner)

    def rename_consent(self, owner: str, consent_id: str, name: str) -> VoiceConsent:
        """Keep another name of a consent.

        Raises:
            ConsentNotFound: the owner has no such consent.
        """
        owned = self._owned_consent(owner, consent_id)
        consent = replace(owned.value, name=name)
        self._records.change(consent_id, _consent_fields(owner, consent))
        self._consents[consent_id] = replace(owned, value=consent)
        return consent

    def delete_consent(self, owner: str, consent_id: str) -> None:
        """Forget a consent and its recording.

        Raises:
            ConsentNotFound: the owner has no such consent.
            ConsentInUse: a voice needs it.
        """
        self._owned_consent(owner, consent_id)
        for voice in self.list_voices(owner):
            if voice.consent_id == consent_id:
                raise ConsentInUse(voice.id)
        self._records.delete(consent_id)
        del self._consents[consent_id]

    # ---- what is kept ----

    def _owned_voice(self, owner: str, voice_id: str) -> _Owned[LibraryVoice]:
        self._read()
        owned = self._voices.get(voice_id)
        if owned is None or owned.owner != owner:
            raise VoiceNotFound(voice_id)
        return owned

    def _owned_consent(self, owner: str, consent_id: str) -> _Owned[VoiceConsent]:
        self._read()
        owned = self._consents.get(consent_id)
        if owned is None or owned.owner != owner:
            raise ConsentNotFound(consent_id)
        return owned

    def _make_sure_of_room(
        self, owner: str, kept: dict[str, _Owned[Kept]], what: str, recording: Pcm
    ) -> None:
        settings = self._settings
        if sum(each.owner == owner for each in kept.values()) >= settings.max_per_key:
            raise VoiceLibraryFull(f"{settings.max_per_key} {what} of one key")
        if len(kept) >= settings.max_voices:
            raise VoiceLibraryFull(f"{settings.max_voices} {what}")
        used = sum(each.size for each in (*self._voices.values(), *self._consents.values()))
        if used + len(recording.samples) > settings.max_bytes:
            raise VoiceLibraryFull(f"{settings.max_bytes} bytes")

    def _read(self) -> None:
        """Read what has changed in the folder since it was read."""
        changed_at = self._records.changed_at()
        if self._read_at is None:
            self._records.clear_away()
            changed_at = self._records.changed_at()
        elif self._read_at == changed_at:
            return
        versions = self._records.versions()
        for record_id in (self._voices.keys() | self._consents.keys()) - versions.keys():
            self._drop(record_id)
        for record_id, version in versions.items():
            if self._versions.get(record_id) != version:
                self._read_record(record_id, version.size)
        self._voices, self._consents = _by_age(self._voices), _by_age(self._consents)
        self._versions, self._read_at = versions, changed_at

    def _read_record(self, record_id: str, size: int) -> None:
        self._drop(record_id)
        fields = self._records.read(record_id)
        if fields is None:
            return
        try:
            if record_id.startswith(f"{_VOICE}_"):
                voice = _voice_of(record_id, fields)
                self._voices[record_id] = _Owned(str(fields["owner"]), voice, size)
            elif record_id.startswith(f"{_CONSENT}_"):
                consent = _consent_of(record_id, fields)
                self._consents[record_id] = _Owned(str(fields["owner"]), consent, size)
        except (KeyError, TypeError, ValueError):
            logger.error(UNREADABLE, extra={"record": record_id})  # noqa: TRY400

    def _drop(self, record_id: str) -> None:
        self._voices.pop(record_id, None)
        self._consents.pop(record_id, None)


def _by_age(kept: dict[str, _Owned[Kept]]) -> dict[str, _Owned[Kept]]:
    return dict(sorted(kept.items(), key=lambda item: (item[1].value.created_at, item[0])))


def _new_id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(12)}"


def _voice_fields(owner: str, voice: LibraryVoice) -> Fields:
    reference = voice.reference
    return {
        "owner": owner,
        "name": voice.name,
        "language": voice.language,
        "created_at": voice.created_at,
        "consent": voice.consent_id,
        "text": reference.text,
        "codes": base64.b64encode(reference.codes).decode(),
        "encoder": reference.encoder,
    }


def _voice_of(voice_id: str, fields: Fields) -> LibraryVoice:
    codes = base64.b64decode(fields["codes"], validate=True)
    return LibraryVoice(
        voice_id,
        str(fields["name"]),
        str(fields["language"]),
        float(fields["created_at"]),
        VoiceReference(str(fields["text"]), codes, str(fields["encoder"])),
        fields["consent"],
    )


def _consent_fields(owner: str, consent: VoiceConsent) -> Fields:
    return {
        "owner": owner,
        "name": consent.name,
        "language": consent.language,
        "created_at": consent.created_at,
    }


def _consent_of(consent_id: str, fields: Fields) -> VoiceConsent:
    return VoiceConsent(
        consent_id, str(fields["name"]), str(fields["language"]), float(fields["created_at"])
    )
