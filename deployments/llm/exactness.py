"""Finds how many replies llama.cpp can write in one call without rounding any of them otherwise."""

from collections.abc import Sequence

import numpy as np

from deployments.llm.batch_context import BatchContext

_ROUNDS = 2
_SHORTEST_PROMPT = 5
_LENGTHS = 16  # other ones for streams that stand together, and none longer than a batch may be


def exact_streams(context: BatchContext) -> int:
    """The most sequences whose logits in one call are, bit for bit, those of a call for each.

    It depends on the model's kernels: some take several tokens at once, and add in another order.
    The context must be empty, and is so again afterwards.
    """
    streams = range(context.streams)
    prompts = [_tokens(context, stream, _SHORTEST_PROMPT + stream % _LENGTHS) for stream in streams]
    for stream in streams:
        context.read(stream, prompts[stream][:-_ROUNDS], 0, of=None)
    alone = [row for stream in streams for row in _written(context, prompts, [stream])]
    exact = 1
    for width in range(2, context.streams + 1):
        groups = [streams[at : at + width] for at in range(0, context.streams, width)]
        together = [row for group in groups for row in _written(context, prompts, group)]
        if not all(map(np.array_equal, alone, together)):
            break
        exact = width
    for stream in streams:
        context.keep(stream, 0)
    return exact


def _written(
    context: BatchContext, prompts: Sequence[list[int]], streams: Sequence[int]
) -> "list[list[np.ndarray[tuple[int], np.dtype[np.float32]]]]":
    """The logits of each of the streams after each of its last tokens, which are dropped again."""
    rows: list[list[np.ndarray[tuple[int], np.dtype[np.float32]]]] = [[] for _ in streams]
    for back in range(-_ROUNDS, 0):
        tokens = [prompts[stream][back] for stream in streams]
        context.write(streams, tokens, [len(prompts[stream]) + back for stream in streams])
        for row, logits in enumerate(rows):
            logits.append(context.logits(row).copy())
    for stream in streams:
        context.keep(stream, len(prompts[stream]) - _ROUNDS)
    return rows


def _tokens(context: BatchContext, stream: int, count: int) -> list[int]:
    """Any tokens, others for each stream."""
    return [7919 * (stream + 1) * (at + 1) % context.size for at in range(count)]
