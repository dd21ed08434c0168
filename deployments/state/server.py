"""The `state` deployment: one replica, so that every ingress replica sees the same."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from configs.settings import ObservationSettings, SessionSettings, VoiceLibrarySettings
from deployments.audio import Pcm
from deployments.errors import StageFailed
from deployments.messages import (
    Allowance,
    ChatMessage,
    KeyLimits,
    LibraryVoice,
    NewVoice,
    Session,
    Ticket,
    VoiceConsent,
    VoiceReference,
)
from deployments.observe import observe
from deployments.state.limits import Limits
from deployments.state.sessions import Sessions
from deployments.state.tickets import Tickets
from deployments.state.voices import VoiceLibrary

logger = logging.getLogger("ray.serve")

T = TypeVar("T")


class StateServer:
    """Rate limits, sessions and short-lived keys in memory, cloned voices on disk.

    What is in memory never waits, and runs on one event loop; the disk is used by one thread.
    """

    def __init__(
        self,
        sessions: SessionSettings,
        voices: VoiceLibrarySettings,
        observation: ObservationSettings | None = None,
    ) -> None:
        observe(observation)
        self._limits = Limits()
        self._sessions = Sessions(sessions)
        self._tickets = Tickets()
        self._voices = VoiceLibrary(voices)
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="voices")

    async def admit(self, caller: str, limits: KeyLimits, lease: str) -> Allowance:
        """See `Limits.admit`."""
        return self._limits.admit(caller, limits, lease)

    async def release(self, caller: str, lease: str) -> None:
        """See `Limits.release`."""
        self._limits.release(caller, lease)

    async def renew(self, leases: tuple[tuple[str, str], ...]) -> None:
        """See `Limits.renew`."""
        self._limits.renew(leases)

    async def charge(
        self,
        caller: str,
        limits: KeyLimits,
        audio_s: float,
        afterwards: bool,  # noqa: FBT001 - Ray passes it by position
    ) -> Allowance:
        """See `Limits.charge`."""
        return self._limits.charge(caller, limits, audio_s, afterwards=afterwards)

    async def read_session(self, owner: str, session_id: str) -> Session | None:
        """See `Sessions.read`."""
        return self._sessions.read(owner, session_id)

    async def append_session(
        self, owner: str, session_id: str, turn: tuple[ChatMessage, ...], drop_oldest: int
    ) -> None:
        """See `Sessions.append`."""
        self._sessions.append(owner, session_id, turn, drop_oldest)

    async def write_session(
        self, owner: str, session_id: str, messages: tuple[ChatMessage, ...]
    ) -> None:
        """See `Sessions.write`."""
        self._sessions.write(owner, session_id, messages)

    async def issue_ticket(self, digest: bytes, ticket: Ticket) -> None:
        """See `Tickets.issue`."""
        self._tickets.issue(digest, ticket)

    async def find_ticket(self, digest: bytes) -> Ticket | None:
        """See `Tickets.find`."""
        return self._tickets.find(digest)

    async def delete_session(self, owner: str, session_id: str) -> bool:
        """See `Sessions.delete`."""
        return self._sessions.delete(owner, session_id)

    async def add_voice(self, owner: str, new: NewVoice, sample: Pcm) -> LibraryVoice:
        """See `VoiceLibrary.add_voice`."""
        return await self._on_disk(lambda: self._voices.add_voice(owner, new, sample))

    async def find_voice(self, owner: str, name: str) -> LibraryVoice | None:
        """See `VoiceLibrary.find_voice`."""
        return await self._on_disk(lambda: self._voices.find_voice(owner, name))

    async def list_voices(self, owner: str) -> tuple[LibraryVoice, ...]:
        """See `VoiceLibrary.list_voices`; without codes, which may be large."""
        voices = await self._on_disk(lambda: self._voices.list_voices(owner))
        return tuple(replace(each, reference=replace(each.reference, codes=b"")) for each in voices)

    async def read_sample(self, owner: str, voice_id: str) -> Pcm:
        """See `VoiceLibrary.read_sample`."""
        return await self._on_disk(lambda: self._voices.read_sample(owner, voice_id))

    async def encode_again(self, owner: str, voice_id: str, reference: VoiceReference) -> None:
        """See `VoiceLibrary.encode_again`."""
        await self._on_disk(lambda: self._voices.encode_again(owner, voice_id, reference))

    async def delete_voice(self, owner: str, voice_id: str) -> None:
        """See `VoiceLibrary.delete_voice`."""
        await self._on_disk(lambda: self._voices.delete_voice(owner, voice_id))

    async def add_consent(
        self, owner: str, name: str, language: str, recording: Pcm
    ) -> VoiceConsent:
        """See `VoiceLibrary.add_consent`."""
        return await self._on_disk(
            lambda: self._voices.add_consent(owner, name, language, recording)
        )

    async def find_consent(self, owner: str, consent_id: str) -> VoiceConsent:
        """See `VoiceLibrary.find_consent`."""
        return await self._on_disk(lambda: self._voices.find_consent(owner, consent_id))

    async def list_consents(self, owner: str) -> tuple[VoiceConsent, ...]:
        """See `VoiceLibrary.list_consents`."""
        return await self._on_disk(lambda: self._voices.list_consents(owner))

    async def rename_consent(self, owner: str, consent_id: str, name: str) -> VoiceConsent:
        """See `VoiceLibrary.rename_consent`."""
        return await self._on_disk(lambda: self._voices.rename_consent(owner, consent_id, name))

    async def delete_consent(self, owner: str, consent_id: str) -> None:
        """See `VoiceLibrary.delete_consent`."""
        await self._on_disk(lambda: self._voices.delete_consent(owner, consent_id))

    async def _on_disk(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._disk, work)
        except OSError:
            logger.exception("the folder of the voice library cannot be used")
            raise StageFailed("state") from None

    async def ping(self) -> None:
        """Answer, so that the caller knows a replica is there."""

    async def check_health(self) -> None:
        """Called by Serve; a replica whose loop still turns is healthy."""
