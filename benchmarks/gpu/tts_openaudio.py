"""The OpenAudio engine at full size with random weights, beside fish-speech's compiled one, on a GPU.

    python -m benchmarks.gpu.tts_openaudio [--streams 1 8 16 32] [--texts 4]
    python -m benchmarks.gpu.tts_openaudio --small --device cpu --streams 1 4 --texts 2

Every stream speaks one text after the other, so that texts begin at all times. The checkpoint is written to
`--folder` first (3.6 GB), or found there. Frames are 21.53 a second of sound.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.openaudio_load import FRAME_S, percentile, speak, together
from benchmarks.openaudio_upstream import Spoken, UpstreamEngine
from configs.settings import OpenAudioSettings
from deployments.tts.openaudio.checkpoint import DualArConfig
from deployments.tts.openaudio.engine import OpenAudioEngine
from tests.openaudio_checkpoint import S1_MINI, write_checkpoint

TEXT = "The old man went down to the river with his dog, and there he sat until the evening came."
BYTES_PER_S = {"H200": 4.8e12, "H100": 3.35e12, "A100": 2.0e12, "4090": 1.01e12, "L4": 0.3e12}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 16, 32])
    parser.add_argument("--texts", type=int, default=4, help="of each stream")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        if not (folder / "codec.pth").is_file():
            print("writing the checkpoint")
            write_checkpoint(folder, full_size=not args.small)
        measure(folder, args)


def measure(folder: Path, args: argparse.Namespace) -> None:
    cuda = args.device != "cpu"
    ours, frames = measure_ours(folder, args)
    if cuda:
        torch.cuda.empty_cache()
    theirs = UpstreamEngine(folder, getattr(torch, args.dtype), args.device, compiled=cuda)
    theirs.speak(TEXT, 0, frames)  # compiles
    started = time.perf_counter()
    upstream = [theirs.speak(TEXT, n, frames) for n in range(args.texts)]
    rate = sum(text.frames for text in upstream) / (time.perf_counter() - started)
    report("fish-speech, one caller", rate, upstream)
    for streams, of_ours in ours.items():
        print(f"{streams} streams: {of_ours / rate:.1f} x fish-speech's frames a second")


def measure_ours(folder: Path, args: argparse.Namespace) -> tuple[dict[int, float], int]:
    """Frames a second for each number of streams, and how many frames a text has."""
    cuda = args.device != "cpu"
    name = torch.cuda.get_device_name() if cuda else "CPU"
    started = time.perf_counter()
    settings = OpenAudioSettings(
        model=str(folder), device=args.device, dtype=args.dtype, workers=max(args.streams)
    )
    engine = OpenAudioEngine(settings)
    engine.warm_up()
    print(f"{name}, {args.dtype}: ready after {time.perf_counter() - started:.1f} s{memory(cuda)}")
    rates: dict[int, float] = {}
    every: list[Spoken] = []
    for streams in args.streams:
        took, of_streams = together(streams, lambda _: stream(engine, args.texts))
        every = [text for of in of_streams for text in of]
        rates[streams] = sum(text.frames for text in every) / took
        report(f"{streams} streams", rates[streams], every)
        if cuda:
            floor = floor_s(S1_MINI, streams, name)
            share = f"{floor * rates[streams] / streams:.0%}" if floor else "unknown"
            print(f"   share of the memory-bandwidth floor {share}{memory(cuda)}")
    engine.close()
    return rates, every[0].frames


def stream(engine: OpenAudioEngine, texts: int) -> list[Spoken]:
    return [speak(engine, TEXT) for _ in range(texts)]


def report(name: str, rate: float, spoken: list[Spoken]) -> None:
    factors = [text.whole_s / (text.frames * FRAME_S) for text in spoken]
    first = [text.first_s * 1e3 for text in spoken]
    print(
        f"{name}: {rate:.0f} frames/s ({rate * FRAME_S:.1f} s of sound a second); real-time factor "
        f"p50 {percentile(factors, 0.5):.2f}, worst {max(factors):.2f}; first sound "
        f"p50 {percentile(first, 0.5):.0f} ms, p95 {percentile(first, 0.95):.0f} ms"
    )


def memory(cuda: bool) -> str:  # noqa: FBT001
    if not cuda:
        return ""
    return (
        f"; memory {torch.cuda.memory_allocated() / 1e9:.1f} GB, "
        f"peak {torch.cuda.max_memory_allocated() / 1e9:.1f} GB, "
        f"reserved {torch.cuda.memory_reserved() / 1e9:.1f} GB"
    )


def floor_s(sizes: dict[str, object], streams: int, device: str) -> float:
    """Seconds that one step takes at least: every weight that it uses is read, and every stream's cache."""
    bandwidth = next((of for name, of in BYTES_PER_S.items() if name in device), 0.0)
    config = DualArConfig.model_validate(sizes)
    slow = config.n_layer * block_weights(
        config.dim, config.n_head, config.n_local_heads, config.head_dim, config.intermediate_size
    )
    fast = config.n_fast_layer * block_weights(
        config.fast_dim,
        config.fast_n_head,
        config.fast_n_local_heads,
        config.fast_head_dim,
        config.fast_intermediate_size,
    )
    fast += config.fast_dim * config.codebook_size
    output = config.vocab_size * config.dim
    cache = streams * 300 * config.n_layer * 2 * config.n_local_heads * config.head_dim
    total = 2 * (slow + output + config.num_codebooks * fast + cache)
    return total / bandwidth if bandwidth else 0.0


def block_weights(dim: int, heads: int, local: int, size: int, hidden: int) -> int:
    return dim * (heads + 2 * local) * size + heads * size * dim + 3 * dim * hidden


if __name__ == "__main__":
    main()
