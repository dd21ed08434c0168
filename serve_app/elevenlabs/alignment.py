"""When the characters of a clause are heard."""

from itertools import pairwise

from serve_app.protocol.elevenlabs import AlignmentOut


def spread_evenly(clause: str, start_s: float, duration_s: float) -> AlignmentOut:
    """The clause's characters, and a space behind them, spread evenly over its audio.

    Engines tell the length of what they speak, and no more.
    """
    chars = [*clause, " "]
    edges = [
        round((start_s + duration_s * index / len(chars)) * 1000) for index in range(len(chars) + 1)
    ]
    return AlignmentOut(
        chars=chars,
        charStartTimesMs=edges[:-1],
        charDurationsMs=[end - start for start, end in pairwise(edges)],
    )
