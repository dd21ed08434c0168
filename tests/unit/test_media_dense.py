"""Uploads whose decoding would take long although they are short."""

import io

import pytest

from configs.settings import AudioSettings
from deployments.errors import AudioTooLong
from serve_app.media.decode import AudioDecoder
from tests.unit.media_files import wav_bytes


async def test_dense_audio_is_refused_by_the_work_it_makes() -> None:
    decoder = AudioDecoder(AudioSettings(max_duration_s=2.0))
    try:
        dense = wav_bytes(192_000, 1.0, channels=8)
        with pytest.raises(AudioTooLong):
            await decoder.decode(io.BytesIO(dense))
        plain = await decoder.decode(io.BytesIO(wav_bytes(48_000, 1.5, channels=2)))
        assert round(plain.duration_s, 3) == 1.5
    finally:
        decoder.close()
