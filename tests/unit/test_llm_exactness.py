"""The search for how many replies a call may hold, over a context that computes nothing."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from deployments.llm.exactness import exact_streams


class FakeContext:
    """Reads as many tokens at a time as it has room for."""

    size = 1000

    def __init__(self, streams: int, room: int) -> None:
        self.streams, self._room = streams, room

    def read(self, stream: int, tokens: Sequence[int], start: int, *, of: object) -> None:
        if len(tokens) > self._room:
            raise ValueError("could not broadcast")

    def write(self, streams: Sequence[int], tokens: Sequence[int], at: Sequence[int]) -> None:
        self._rows = [
            np.array([stream, *where]) for stream, *where in zip(streams, tokens, at, strict=True)
        ]

    def logits(self, row: int) -> Any:
        return self._rows[row]

    def keep(self, stream: int, tokens: int) -> bool:
        return True


@pytest.mark.parametrize("streams", [1, 4, 31, 63, 64])
def test_as_many_streams_as_may_be_set_fit_the_smallest_batch(streams: int):
    context: Any = FakeContext(streams, max(32, streams))
    assert exact_streams(context) == streams
