"""A large file raises memory by less than twice its size, on its way in and on its way out."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from deployments.audio import Pcm
from deployments.messages import SpeechRequest
from tests.unit.fake_services import RATE, Served, serving
from tests.unit.media_files import wav_header_with
from tests.unit.memory_of_calls import form_upload, measured

MIB = 1024 * 1024
SIZE = 25 * MIB - 1024


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


@pytest.fixture(scope="module")
def upload() -> bytes:
    return wav_header_with(48_000, 2, bytes(range(256)) * ((SIZE - 44) // 256))


@pytest.fixture
def spoken(served: Served, monkeypatch: pytest.MonkeyPatch) -> int:
    """A voice that says 25 MB, whatever it is asked for."""
    piece = Pcm(bytes(2 * RATE), RATE)
    count = SIZE // len(piece.samples)

    def synthesize(request: SpeechRequest, stop: threading.Event) -> Iterator[Pcm]:
        for _ in range(count):
            yield Pcm(bytes(bytearray(piece.samples)), RATE)

    monkeypatch.setattr(served.tts.engine, "synthesize", synthesize)
    return count * len(piece.samples)


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/speech-to-text", 200), ("/v1/encode-reference", 400)]
)
async def test_an_upload_is_not_held(served: Served, upload: bytes, path: str, status: int) -> None:
    call = await measured(served.api, path, *form_upload(upload))
    assert call.status == status  # no sample of a voice is as long
    assert call.peak_bytes < len(upload)


@pytest.mark.parametrize("accept", ["application/json", "audio/*"])
@pytest.mark.parametrize(
    "wish",
    [{}, {"sample_rate": 16_000}, {"volume": 3}, {"format": "flac"}, {"stream": True}],
    ids=str,
)
async def test_whole_speech_is_held_once(
    served: Served, spoken: int, accept: str, wish: dict[str, Any]
) -> None:
    body = json.dumps({"text": "Go on.", **wish}).encode()
    headers = {"content-type": "application/json", "accept": accept}
    call = await measured(served.api, "/v1/text-to-speech", headers, [body, b""])
    assert call.status == 200
    assert call.size > 0 if wish.get("format") == "flac" else call.size > spoken / 2
    assert call.peak_bytes < 1.2 * spoken
