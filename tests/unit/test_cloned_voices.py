"""What a replica of the ingress knows of cloned voices, and for how long."""

import asyncio
from dataclasses import replace
from typing import Any, cast

from deployments.audio import Pcm
from deployments.messages import LibraryVoice, VoiceReference
from serve_app.cloned_voices import ClonedVoices, EncodedReferences, VoiceStore

OLD = VoiceReference("Hello.", b"old", "fake")
ADA = LibraryVoice("voice_1", "Ada", "en", 1.0, OLD)


class Library:
    """One voice of one owner, and an encoder; both remember what was asked."""

    def __init__(self) -> None:
        self.voice: LibraryVoice | None = ADA
        self.asked: list[tuple[str, str]] = []
        self.encoded = 0

    async def find_voice(self, owner: str, name: str) -> LibraryVoice | None:
        self.asked.append((owner, name))
        await asyncio.sleep(0)
        return self.voice if owner == "ann" and name in ("voice_1", "Ada") else None

    async def read_sample(self, owner: str, voice_id: str) -> Pcm:
        return Pcm(b"\0\0", 48_000)

    async def encode_again(self, owner: str, voice_id: str, reference: VoiceReference) -> None:
        assert self.voice is not None
        self.voice = replace(self.voice, reference=reference)

    async def encode_voice(self, audio: Pcm, text: str) -> VoiceReference:
        self.encoded += 1
        await asyncio.sleep(0)
        return VoiceReference(text, b"new", "other")


def voices_over(library: Library) -> tuple[ClonedVoices, list[float]]:
    now = [0.0]
    return ClonedVoices(cast("VoiceStore", library), cast("Any", library), lambda: now[0]), now


async def test_a_voice_is_known_for_a_moment_and_no_longer() -> None:
    library = Library()
    voices, now = voices_over(library)
    for now[0] in (0.0, 2.0, 4.9):
        assert await voices.find("ann", "Ada", "fake") == ADA
    assert len(library.asked) == 1
    library.voice = None
    now[0] = 5.0
    assert await voices.find("ann", "Ada", "fake") is None
    now[0] = 0.0
    assert await voices.find("ann", "Ada", "fake") is None


async def test_who_has_no_such_voice_gets_none_of_anothers() -> None:
    library = Library()
    voices, _ = voices_over(library)
    assert await voices.find("ann", "Ada", "fake") == ADA
    assert await voices.find("bob", "Ada", "fake") is None
    assert await voices.find("bob", "Ada", "fake") is None
    assert len(library.asked) == 3  # that there is none may change at any moment


async def test_what_is_forgotten_is_asked_for_again() -> None:
    library = Library()
    voices, _ = voices_over(library)
    await voices.find("ann", "Ada", "fake")
    voices.forget()
    await voices.find("ann", "Ada", "fake")
    assert len(library.asked) == 2


async def test_another_encoder_encodes_once_for_all_who_wait() -> None:
    library = Library()
    voices, _ = voices_over(library)
    found = await asyncio.gather(*(voices.find("ann", "Ada", "other") for _ in range(5)))
    assert library.encoded == 1
    assert {voice.reference.codes for voice in found if voice} == {b"new"}
    assert await voices.find("ann", "voice_1", "other") == found[0]
    assert library.encoded == 1


async def test_what_is_known_is_bounded() -> None:
    library = Library()
    voices, _ = voices_over(library)
    for n in range(1100):
        library.voice = replace(ADA, id=f"voice_{n}")
        voices._known["ann", str(n)] = (9.0, library.voice)
    await voices.find("ann", "Ada", "fake")
    assert len(voices._known) == 1024


async def test_what_is_known_is_bounded_in_bytes_too() -> None:
    library = Library()
    voices, _ = voices_over(library)
    library.voice = replace(ADA, reference=replace(OLD, codes=bytes(40 * 1024**2)))
    for name in ("Ada", "voice_1", "voice_1"):
        assert await voices.find("ann", name, "fake") == library.voice
    assert list(voices._known) == [("ann", "voice_1")]
    assert len(library.asked) == 2


async def test_what_is_known_no_longer_is_dropped() -> None:
    library = Library()
    voices, now = voices_over(library)
    await voices.find("ann", "Ada", "fake")
    now[0] = 5.0
    await voices.find("ann", "voice_1", "fake")
    assert list(voices._known) == [("ann", "voice_1")]


def test_references_are_remembered_by_use() -> None:
    known = EncodedReferences(most=2)
    for digest in (b"1", b"2"):
        known.put(digest, OLD)
    assert known.get(b"1") == OLD
    known.put(b"3", OLD)
    assert known.get(b"2") is None
    assert known.get(b"1") == known.get(b"3") == OLD


def test_references_are_bounded_in_bytes_too() -> None:
    known = EncodedReferences(most_bytes=7)
    for digest in (b"1", b"2", b"3"):
        known.put(digest, OLD)
    assert known.get(b"1") is None
    assert known.get(b"2") == known.get(b"3") == OLD
    known.put(b"4", replace(OLD, codes=b"too large"))
    assert known.get(b"4") is None
