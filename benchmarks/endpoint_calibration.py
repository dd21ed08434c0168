"""How well sound and words tell a pause amid a sentence from the end of an utterance.

Every recording is cut between its words, at the quietest place, and falls silent there as a speaker
does who pauses; what the ear then hands over is judged by Smart Turn and by the transcript's last
words; and when the speaker goes on 600 ms later, how long a silence the ear has seen. The same for
the recording's end. `python -m benchmarks.endpoint_calibration [FOLDER]`.
"""

import argparse
import dataclasses
import itertools
import os
import sys
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.settings import WhisperSettings
from deployments.audio import WHISPER_SAMPLE_RATE, Pcm
from deployments.messages import Transcript, TranscriptionRequest
from deployments.stt.engine import whole_transcript
from deployments.stt.faster_whisper import FasterWhisperEngine
from serve_app.hearing.ear import Ear, windows
from serve_app.hearing.endpointing import Endpointing, Paused, SpeechBegan
from serve_app.hearing.finished_words import looks_finished
from serve_app.hearing.smart_turn import SmartTurn
from serve_app.hearing.voice_activity import SileroModel

SPEECH = Path(__file__).parent.parent / "tests/data/speech"
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LATER_MS = (0, 200)  # Smart Turn is asked when the pause is reported, and later
WAITS_MS = (300, 400, 500, 600, 700, 800, 900, 1000, 1200)
MS = WHISPER_SAMPLE_RATE // 1000
FADE = 10 * MS
SILENCE = 600 * MS

Samples = NDArray[np.int16]


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """A place where the speaker fell silent, and what was thought of it."""

    text: str
    words: bool
    sound: tuple[float, ...]  # one a `LATER_MS`
    silence_ms: int  # the longest that the ear saw before the speaker went on

    def finished(self, threshold: float, later: int = 0) -> bool:
        return self.words and self.sound[later] >= threshold


class Judges:
    """What decides in the product, with the models of the default configuration."""

    def __init__(self, model: str) -> None:
        self.stt = FasterWhisperEngine(WhisperSettings(model=model))
        self.voice, self.turn = SileroModel.load(), SmartTurn.load()
        self.times: dict[str, list[float]] = {"Smart Turn": [], "transcript": []}

    def hear(self, samples: Samples, *, word_timestamps: bool = False) -> Transcript:
        audio = Pcm(samples.tobytes(), WHISPER_SAMPLE_RATE)
        request = TranscriptionRequest(audio, word_timestamps=word_timestamps)
        return whole_transcript(self.stt.transcribe(request, threading.Event()))

    def judge(self, said: Samples, goes_on: Samples, noise: float) -> Judged | None:
        """Let the speaker fall silent for 600 ms behind `said`. None: there was no voice in it."""
        heard = silenced(said, noise)
        ear = Ear(self.voice, Endpointing(), 60)
        events = ear.hear(heard.tobytes())
        if not events or not isinstance(events[-1], Paused):
            return None
        began = next(event for event in events if isinstance(event, SpeechBegan))
        start, end = began.start_sample, events[-1].end_sample
        sound = tuple(self.sound(heard[start : end + later_ms * MS]) for later_ms in LATER_MS)
        begun = time.perf_counter()
        text = self.hear(heard[start:end]).text
        self.times["transcript"].append(time.perf_counter() - begun)
        silence_ms = ear.silence_ms
        for window in windows(goes_on.tobytes()):
            ear.hear(window)
            if ear.is_speaking:
                break
            silence_ms = ear.silence_ms
        return Judged(text, looks_finished(text), sound, silence_ms)

    def sound(self, heard: Samples) -> float:
        begun = time.perf_counter()
        probability = self.turn.probability(heard)
        self.times["Smart Turn"].append(time.perf_counter() - begun)
        return probability

    def judge_file(self, path: Path) -> Iterator[tuple[str, Judged]]:
        """The kind of each place ("amid" a sentence, "between" two, or the "end"), and more."""
        samples = read(path)
        noise = floor_of(samples)
        transcript = self.hear(samples, word_timestamps=True)
        for cut, kind in (*places(transcript, samples), (len(samples), "end")):
            found = self.judge(samples[:cut], samples[cut:], noise)
            if found is not None:
                yield kind, found


def places(transcript: Transcript, samples: Samples) -> Iterator[tuple[int, str]]:
    """The quietest sample between each two words, and what kind of place it is."""
    words = [word for segment in transcript.segments for word in segment.words]
    for word, following in itertools.pairwise(words):
        low = max(0, int(word.end_s * 1000) - 50) * MS
        high = min(len(samples), int(following.start_s * 1000 + 50) * MS)
        loudness = np.convolve(np.abs(samples[low:high].astype(float)), np.ones(FADE), "same")
        kind = "between" if word.text.strip()[-1:] in ".?!" else "amid"
        yield low + int(np.argmin(loudness)), kind


def silenced(said: Samples, noise: float) -> Samples:
    """What was said, faded out into the room's noise."""
    faded = said.astype(float)
    faded[-FADE:] *= np.linspace(1, 0, min(FADE, len(faded)))
    room = np.random.default_rng(0).normal(0, noise, SILENCE)
    return np.concatenate((faded, room)).round().astype(np.int16)


def floor_of(samples: Samples) -> float:
    """The loudness of the quietest part of a recording."""
    frames = samples[: len(samples) // FADE * FADE].reshape(-1, FADE).astype(float)
    return float(np.clip(np.percentile(np.sqrt((frames**2).mean(axis=1)), 5), 1, 60))


def read(path: Path) -> Samples:
    with wave.open(str(path)) as file:
        assert file.getframerate() == WHISPER_SAMPLE_RATE, path
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def show_judgements(judged: dict[str, list[Judged]]) -> None:
    """How many places of each kind were taken for an end: by sound, by words, by both."""
    for later, later_ms in enumerate(LATER_MS):
        print(f"\ntaken for an end, Smart Turn asked {later_ms} ms after the pause was reported")
        print("threshold " + "".join(f"| {kind:25}" for kind in judged))
        print("          " + "|   sound   words    both   " * len(judged))
        for threshold in THRESHOLDS:
            row = f"{threshold:9.1f} "
            for found in judged.values():
                sound = sum(each.sound[later] >= threshold for each in found)
                words = sum(each.words for each in found)
                both = sum(each.finished(threshold, later) for each in found)
                row += "|" + "".join(f" {n:3}/{len(found):<3}" for n in (sound, words, both)) + "  "
            print(row)


def show_waits(judged: dict[str, list[Judged]]) -> None:
    """How many pauses of 600 ms amid a sentence each wait would have ended."""
    amid = judged["amid"]
    silences = [each.silence_ms for each in amid]
    seen = "  ".join(
        f"{share} %: {np.percentile(silences, share):.0f}" for share in (50, 90, 95, 100)
    )
    print(f"\nsilence seen in a pause of 600 ms, in ms: {seen}")
    print("wait in ms " + "".join(f"{wait:6}" for wait in WAITS_MS))
    for threshold in THRESHOLDS:
        finished = [each.silence_ms for each in amid if each.finished(threshold)]
        others = [each.silence_ms for each in amid if not each.finished(threshold)]
        for name, found in (("finished", finished), ("others", others)):
            counts = "".join(f"{sum(ms >= wait for ms in found):6}" for wait in WAITS_MS)
            print(f"           {counts}   of {len(found)} {name} at {threshold}")


def main() -> int:
    """Judge every place and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=SPEECH)
    parser.add_argument("--files", default="en_*.wav")
    parser.add_argument("--model", default="embedded/tiny.en")
    options = parser.parse_args()
    judges = Judges(options.model)
    judged: dict[str, list[Judged]] = {"amid": [], "between": [], "end": []}
    for path in sorted(options.folder.glob(options.files)):
        for kind, each in judges.judge_file(path):
            judged[kind].append(each)
            sound = " ".join(f"{probability:.2f}" for probability in each.sound)
            said = f"{each.silence_ms:5} {each.words!s:5} {each.text[-60:]!r}"
            print(f"{path.stem:24} {kind:8} {sound} {said}", flush=True)
    show_judgements(judged)
    show_waits(judged)
    for stage, times in judges.times.items():
        median, slow = np.median(times), np.percentile(times, 95)
        print(f"{stage}: median {1000 * median:.0f} ms, 95 % {1000 * slow:.0f} ms, n {len(times)}")
    print(f"load average {os.getloadavg()[0]:.1f}, CPUs {len(os.sched_getaffinity(0))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
