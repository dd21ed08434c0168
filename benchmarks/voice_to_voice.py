"""From the last voiced sample that a user speaks to the first one that they hear, in real time.

Real speech goes over `/v1/realtime` at the pace of speaking; all times are those of the recording of
both sides. In turn with that (A-B-A-B) the same utterance is answered (a) by the bare libraries, one
stage after the other, and (b) by the realtime server of `speech-to-speech`, where `--peer` names it.
Then the price of answering early, and what an interruption costs. `make bench-live`.
"""

import argparse
import sys
from pathlib import Path

import yaml

from benchmarks.live_barge_in import barge_in
from benchmarks.live_bench import LiveBench
from benchmarks.live_latency import against_peer, against_serial, reply_length
from benchmarks.live_price import price
from benchmarks.paced_speech import recordings
from benchmarks.peer_server import Peer
from benchmarks.server import serving
from benchmarks.spread import Goal, conclude, machine
from configs.settings import load_settings

ROOT = Path(__file__).parent.parent
PARTS = {
    "serial": against_serial,
    "peer": against_peer,
    "length": reply_length,
    "price": price,
    "barge": barge_in,
}


def main() -> int:
    """Run the parts; 0 where every goal is met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default=str(ROOT / "serve_config.yaml"))
    parser.add_argument("--speech", type=Path, default=ROOT / "tests/data/speech")
    parser.add_argument("--files", default="en_*.wav", help="which of the folder")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--only", choices=list(PARTS), nargs="+", default=list(PARTS))
    parser.add_argument("--peer", type=Path, help="speech-to-speech, in an environment of its own")
    options = parser.parse_args()
    print(machine())
    tree = yaml.safe_load(Path(options.config).read_text(encoding="utf-8"))
    settings, _ = load_settings(tree["applications"][0]["args"])
    paths = recordings(options.speech, [ROOT / "docs/audio/question.wav"], options.files)
    print(f"speech: {', '.join(path.name for path in paths)}")
    peer = Peer(options.peer, settings, options.config) if options.peer else None
    goals: list[Goal] = []
    with serving(options.config) as server:
        bench = LiveBench(server, settings, paths, options.turns, peer)
        for part in options.only:
            goals += PARTS[part](bench)
    return conclude(goals)


if __name__ == "__main__":
    sys.exit(main())
