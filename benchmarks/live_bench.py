"""What all measurements of live conversations need."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.bare_models import bare_piper
from benchmarks.paced_speech import RATE, Samples, resampled
from benchmarks.peer_server import Peer
from benchmarks.server import Server
from configs.settings import AppSettings, PiperSettings

STORY = "Please tell me a long story about an old sailor and the sea."
STORYTELLER = "You tell long stories of many sentences."


@dataclass(frozen=True, slots=True)
class LiveBench:
    """A server, its settings, and recordings to speak to it; `peer` None: it is not installed.

    `unique`: beside the peer, instructions are others in each turn, so that no cached prompt is of
    use. The peer adds a long prompt of its own, behind them.
    """

    server: Server
    settings: AppSettings
    paths: Sequence[Path]
    turns: int
    peer: Peer | None
    unique: bool = True

    @property
    def url(self) -> str:
        """The realtime socket."""
        base = self.server.client.base_url
        return f"ws://{base.host}:{base.port}/v1/realtime?model=gpt-realtime"

    def story(self) -> Samples:
        """Somebody who asks for a long reply; the bare voice says it."""
        assert isinstance(self.settings.tts, PiperSettings)
        chunks = list(bare_piper(self.settings.tts).synthesize(STORY))
        samples = [np.frombuffer(chunk.audio_int16_bytes, np.int16) for chunk in chunks]
        return resampled(np.concatenate(samples), chunks[0].sample_rate, RATE)

    def path(self, turn: int) -> Path:
        """What is said in this turn."""
        return self.paths[turn % len(self.paths)]
