"""The OpenAudio engine beside fish-speech's own, on a small random checkpoint: ratios, paired in one run.

    python -m benchmarks.tts_openaudio [--rounds 5] [--callers 8] [--dtype float32]

First sound of one caller, frames a second of several callers (decoded to sound, in both), and the time
from a cancelled request to its free slot. Small weights show what the engines cost, not what the model does.
"""

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path

import torch

from benchmarks.openaudio_load import FRAME_S, percentile, speak, together
from benchmarks.openaudio_upstream import UpstreamEngine
from configs.settings import OpenAudioSettings
from deployments.messages import SpeechRequest
from deployments.tts.openaudio.engine import OpenAudioEngine
from tests.openaudio_checkpoint import write_checkpoint

TEXT = "The quick brown fox jumps over the lazy dog."  # 44 characters: 143 frames, 6.6 s
CANCELS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        measure(write_checkpoint(Path(folder)), args)


def measure(folder: Path, args: argparse.Namespace) -> None:
    settings = OpenAudioSettings(
        model=str(folder), device="cpu", dtype=args.dtype, workers=args.callers
    )
    ours = OpenAudioEngine(settings)
    ours.warm_up()
    theirs = UpstreamEngine(folder, getattr(torch, args.dtype), "cpu")
    frames = speak(ours, TEXT).frames
    theirs.speak(TEXT, 0, frames)

    first: list[float] = []
    rates: list[float] = []
    for round_ in range(args.rounds):
        mine, other = speak(ours, TEXT), theirs.speak(TEXT, round_, frames)
        first.append(mine.first_s / other.first_s)
        print(f"first sound: {mine.first_s * 1e3:.0f} ms, fish-speech {other.first_s * 1e3:.0f} ms")
        took, spoken = together(args.callers, lambda _: speak(ours, TEXT))
        other_took, other_spoken = together(args.callers, lambda n: theirs.speak(TEXT, n, frames))
        rate = sum(each.frames for each in spoken) / took
        other_rate = sum(each.frames for each in other_spoken) / other_took
        rates.append(rate / other_rate)
        slowest = max(each.whole_s / (each.frames * FRAME_S) for each in spoken)
        print(
            f"{args.callers} callers: {rate:.0f} frames/s, fish-speech {other_rate:.0f}; "
            f"slowest real-time factor {slowest:.2f}; first sound up to "
            f"{max(each.first_s for each in spoken) * 1e3:.0f} ms, fish-speech "
            f"{max(each.first_s for each in other_spoken) * 1e3:.0f} ms"
        )
    freed = [cancel(ours) for _ in range(CANCELS)]
    ours.close()
    print(f"first sound, ours / fish-speech's: {statistics.median(first):.3f} (goal 0.25 at most)")
    print(
        f"frames a second, ours / fish-speech's: {statistics.median(rates):.1f} (goal 3 at least)"
    )
    print(
        f"cancelled to free: median {statistics.median(freed) * 1e3:.1f} ms, "
        f"p95 {percentile(freed, 0.95) * 1e3:.1f} ms (goal 50 ms at most)"
    )


def cancel(engine: OpenAudioEngine) -> float:
    """Seconds from a stop in the middle of a text until its slot is free."""
    stop = threading.Event()
    pieces = engine.synthesize(SpeechRequest(TEXT), stop)
    next(iter(pieces))
    started = time.perf_counter()
    stop.set()
    while any(engine._speaker._speaking):  # noqa: SLF001
        time.sleep(0.0005)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
