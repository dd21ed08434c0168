"""What all measurements of live conversations need."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peer_server import Peer
from benchmarks.server import Server
from configs.settings import AppSettings


@dataclass(frozen=True, slots=True)
class LiveBench:
    """A server, its settings, and recordings to speak to it; `peer` None: it is not installed."""

    server: Server
    settings: AppSettings
    paths: Sequence[Path]
    turns: int
    peer: Peer | None

    @property
    def url(self) -> str:
        """The realtime socket."""
        base = self.server.client.base_url
        return f"ws://{base.host}:{base.port}/v1/realtime?model=gpt-realtime"

    def path(self, turn: int) -> Path:
        """What is said in this turn."""
        return self.paths[turn % len(self.paths)]
