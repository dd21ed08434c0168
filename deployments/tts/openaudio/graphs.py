"""A step of the model as CUDA graphs: one launch in the place of more than a thousand."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_WARM_UPS = 3


class StepGraphs:
    """One graph for each number of rows (powers of two, and all slots) and each span of the cache.

    The step must read and write nothing but tensors that never move. All graphs share one pool of
    memory, for they run one after the other.
    """

    def __init__(
        self, step: Callable[[int, int], Tensor], slots: int, spans: Sequence[int]
    ) -> None:
        self._rows = [1 << power for power in range((slots - 1).bit_length())] + [slots]
        self._graphs: dict[tuple[int, int], tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        pool = torch.cuda.graph_pool_handle()
        side = torch.cuda.Stream()
        for rows in reversed(self._rows):  # the largest first, whose memory then serves the others
            for span in reversed(spans):
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):
                    for _ in range(_WARM_UPS):
                        step(rows, span)
                torch.cuda.current_stream().wait_stream(side)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                    frames = step(rows, span)
                self._graphs[rows, span] = graph, frames

    def replay(self, rows: int, span: int) -> Tensor:
        """The step's frames for at least the first `rows` slots."""
        fitting = next(size for size in self._rows if size >= rows)
        graph, frames = self._graphs[fitting, span]
        graph.replay()
        return frames
