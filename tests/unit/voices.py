"""Recordings of a voice, and voices made of them."""

import io
import wave
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

SPEECH = Path(__file__).parent.parent / "data" / "speech" / "en_jfk.wav"
CONSENTS, VOICES = "/v1/audio/voice_consents", "/v1/audio/voices"


@cache
def spoken(seconds: float = 6.0, gain: float = 1.0) -> bytes:
    """So much of a president's speech, as a file."""
    with wave.open(str(SPEECH), "rb") as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(int(seconds * rate)), "<i2")
    return wav(np.clip(samples * gain, -32_768, 32_767), rate)


def wav(samples: Any, rate: int) -> bytes:
    """Samples as a file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, rate, 0, "NONE", "NONE"))
        writer.writeframes(np.asarray(samples).astype("<i2").tobytes())
    return file.getvalue()


def new_consent(client: httpx2.Client, headers: dict[str, str] | None = None, **fields: str) -> Any:
    """A consent, as it is answered."""
    data = {"name": "Ada", "language": "en-US", **fields}
    answer = client.post(CONSENTS, data=data, files={"recording": spoken(3.0)}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def post_voice(
    client: httpx2.Client,
    sample: bytes | None = None,
    headers: dict[str, str] | None = None,
    **fields: str,
) -> Any:
    """What is answered to a wish for a voice with a consent of its own."""
    if "consent" not in fields:
        fields["consent"] = new_consent(client, headers)["id"]
    files = {"audio_sample": spoken() if sample is None else sample}
    return client.post(VOICES, data={"name": "Ada", **fields}, files=files, headers=headers)


def new_voice(client: httpx2.Client, headers: dict[str, str] | None = None, **fields: str) -> Any:
    """A voice, as it is answered."""
    answer = post_voice(client, None, headers, **fields)
    assert answer.status_code == 200, answer.text
    return answer.json()
