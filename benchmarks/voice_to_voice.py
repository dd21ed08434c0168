"""From the last voiced sample that a user speaks to the first one that they hear, in real time.

Real speech goes over `/v1/realtime` at the pace of speaking; all times are those of the recording of
both sides. In turn with that (A-B-A-B) the same utterance is answered (a) by the bare libraries, one
stage after the other, and (b) by the realtime server of `speech-to-speech`, where `--peer` names it.
Then the price of answering early, and what an interruption costs. `make bench-live`.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from benchmarks.live_barge_in import barge_in
from benchmarks.live_bench import LiveBench
from benchmarks.live_latency import against_peer, against_peer_equally, against_serial, reply_length
from benchmarks.live_price import price
from benchmarks.paced_speech import recordings
from benchmarks.peer_server import Peer
from benchmarks.server import serving
from benchmarks.spread import Goal, conclude, machine
from configs.settings import AppSettings, load_settings

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Part:
    """A measurement, and the settings of live conversations that it needs."""

    measure: Callable[[LiveBench], list[Goal]]
    live: Mapping[str, Any] = field(default_factory=dict[str, Any])


PARTS = {
    "serial": Part(against_serial),
    "peer": Part(against_peer),
    "length": Part(reply_length),
    "price": Part(price),
    "barge": Part(barge_in),
    # Nothing is judged: every turn ends after the same silence.
    "peer-equally": Part(
        against_peer_equally,
        {"silence_ms": 900, "unfinished_ms": 900, "unheard_ms": 900, "smart_turn": False},
    ),
}


def main() -> int:
    """Run the parts; 0 where every goal is met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=ROOT / "serve_config.yaml")
    parser.add_argument("--speech", type=Path, default=ROOT / "tests/data/speech")
    parser.add_argument("--files", default="en_*.wav", help="which of the folder")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--only", choices=list(PARTS), nargs="+", default=list(PARTS))
    parser.add_argument("--peer", type=Path, help="speech-to-speech, in an environment of its own")
    parser.add_argument(
        "--peer-prompts", choices=["unique", "same"], default="unique", help="of both sides' turns"
    )
    options = parser.parse_args()
    print(machine())
    paths = recordings(options.speech, [ROOT / "docs/audio/question.wav"], options.files)
    print(f"speech: {', '.join(path.name for path in paths)}")
    goals: list[Goal] = []
    for live, parts in groupby((PARTS[name] for name in options.only), lambda part: part.live):
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "config.yaml"
            settings = derived(options.config, live, config)
            peer = Peer(options.peer, settings, config) if options.peer else None
            with serving(str(config)) as server:
                unique = options.peer_prompts == "unique"
                bench = LiveBench(server, settings, paths, options.turns, peer, unique)
                for part in parts:
                    goals += part.measure(bench)
    return conclude(goals)


def derived(config: Path, live: Mapping[str, Any], path: Path) -> AppSettings:
    """Write the configuration with these settings of live conversations; all of its settings."""
    tree = yaml.safe_load(config.read_text(encoding="utf-8"))
    args = tree["applications"][0]["args"]
    args["live"] = {**args.get("live", {}), **live}
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    settings, _ = load_settings(args)
    return settings


if __name__ == "__main__":
    sys.exit(main())
