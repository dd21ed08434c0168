"""The speech that the project ships for its tests."""

import re
import wave
from pathlib import Path

from deployments.audio import Pcm

FOLDER = Path(__file__).parents[1] / "data" / "speech"


def speech(name: str) -> Pcm:
    """The samples of `tests/data/speech/NAME.wav`."""
    with wave.open(str(FOLDER / f"{name}.wav")) as file:
        return Pcm(file.readframes(file.getnframes()), file.getframerate())


def plain(text: str) -> str:
    """Lower-case words alone."""
    return " ".join(re.findall(r"\w+", text.lower()))
