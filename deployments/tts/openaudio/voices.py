"""Voices to speak with: recordings as codes, their bytes, and those that the configuration names."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from faster_whisper.audio import decode_audio
from torch import Tensor

from deployments.audio import Pcm
from deployments.errors import (
    AudioTooLong,
    InvalidAudio,
    InvalidParameter,
    InvalidSetting,
    TextTooLong,
)
from deployments.messages import VoiceReference
from deployments.tts.openaudio.codec import Codec

_RECORDINGS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")
_TRANSCRIPTS = (".lab", ".txt")
_MAX_TEXT_CHARS = 1000
_SHORTEST_S = 0.5


class VoiceBooth:
    """Encodes recordings, and reads codes back.

    `VoiceReference.codes` are unsigned 16-bit little-endian numbers, [codebooks, frames], a codebook after
    the other.
    """

    def __init__(self, codec: Codec, max_references: int, max_reference_s: float) -> None:
        self._codec = codec
        self._max_references, self._max_reference_s = max_references, max_reference_s

    def encode(self, audio: Pcm, text: str) -> VoiceReference:
        """A recording that says `text`.

        Raises:
            AudioTooLong: it is longer than a reference may be.
            InvalidAudio: it is too short to be a voice.
            TextTooLong: so much is not said in it.
        """
        if audio.duration_s > self._max_reference_s:
            raise AudioTooLong(self._max_reference_s)
        if audio.duration_s < _SHORTEST_S:
            raise InvalidAudio(f"A voice's recording lasts at least {_SHORTEST_S:g} seconds.")
        if len(text) > _MAX_TEXT_CHARS:
            raise TextTooLong("text", len(text), _MAX_TEXT_CHARS)
        return self.reference(text, self._codec.encode(audio))

    def reference(self, text: str, codes: Tensor) -> VoiceReference:
        """Codes [codebooks, frames] that say `text`."""
        return VoiceReference(text, codes.numpy().astype("<u2").tobytes(), self._codec.encoder)

    def spoken(self, references: Sequence[VoiceReference]) -> list[tuple[str, Tensor]]:
        """Texts and codes [codebooks, frames] of references.

        Raises:
            InvalidParameter: they are not of this codec, broken, too many or too long.
        """
        if len(references) > self._max_references:
            raise InvalidParameter("references", f"at most {self._max_references} can be used")
        spoken = [(reference.text, self._codes(reference)) for reference in references]
        frames = sum(codes.shape[1] for _, codes in spoken)
        if frames * self._codec.frame_samples / self._codec.sample_rate > self._max_reference_s + 1:
            limit = f"together they last longer than {self._max_reference_s:g} seconds"
            raise InvalidParameter("references", limit)
        if any(len(text) > _MAX_TEXT_CHARS for text, _ in spoken):
            raise InvalidParameter("references", f"a text is longer than {_MAX_TEXT_CHARS}")
        return spoken

    def _codes(self, reference: VoiceReference) -> Tensor:
        codec = self._codec
        if reference.encoder != codec.encoder:
            raise InvalidParameter(
                "references", "they were encoded by another model; encode them anew"
            )
        if not reference.codes or len(reference.codes) % (2 * codec.codebooks):
            raise InvalidParameter("references", "the codes are not whole")
        codes = np.frombuffer(reference.codes, "<u2").reshape(codec.codebooks, -1).astype(np.int64)
        semantic, residual = codec.codebook_sizes
        if codes[0].max() >= semantic or codes[1:].max() >= residual:
            raise InvalidParameter("references", "there are no such codes")
        return torch.from_numpy(codes)


def preload(key: str, path: str, booth: VoiceBooth, sample_rate: int) -> tuple[VoiceReference, ...]:
    """A voice of the configuration: a recording, or a folder of them, each with its words beside it.

    Raises:
        InvalidSetting: a file is missing or cannot be used; `key` names the setting.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        recordings = sorted(each for each in place.iterdir() if each.suffix.lower() in _RECORDINGS)
    else:
        recordings = [place] if place.is_file() else []
    if not recordings:
        raise InvalidSetting(key, f"there is no recording at '{path}'")
    references = tuple(_encoded(key, each, booth, sample_rate) for each in recordings)
    try:
        booth.spoken(references)
    except InvalidParameter as error:
        raise InvalidSetting(key, error.reason) from None
    return references


def _encoded(key: str, recording: Path, booth: VoiceBooth, sample_rate: int) -> VoiceReference:
    transcripts = [recording.with_suffix(suffix) for suffix in _TRANSCRIPTS]
    words = next((each for each in transcripts if each.is_file()), None)
    if words is None:
        wanted = f"'{recording.stem}.lab' or '{recording.stem}.txt'"
        raise InvalidSetting(key, f"beside '{recording.name}' there must be its words, in {wanted}")
    try:
        samples = np.clip(decode_audio(str(recording), sampling_rate=sample_rate), -1, 1)
        audio = Pcm((samples * 32_767).astype("<i2").tobytes(), sample_rate)
        return booth.encode(audio, words.read_text(encoding="utf-8").strip())
    except (AudioTooLong, InvalidAudio, TextTooLong) as error:
        raise InvalidSetting(key, f"'{recording.name}': {error.message}") from None
    except (OSError, ValueError) as error:
        raise InvalidSetting(key, f"'{recording.name}' cannot be read: {error}") from None
