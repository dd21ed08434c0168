"""What it costs to answer early: talking over somebody who only paused, and work for nothing."""

import asyncio
import math

from benchmarks.live_bench import LiveBench
from benchmarks.live_counters import counters
from benchmarks.live_turn import Turn, new_session, take_turn
from benchmarks.mid_pauses import with_pauses
from benchmarks.spread import Goal, seconds
from configs.settings import WhisperSettings


def price(bench: LiveBench) -> list[Goal]:
    """Speakers who pause for 600 ms in the middle of a sentence."""
    assert isinstance(bench.settings.stt, WhisperSettings)
    each = math.ceil(bench.turns / len(bench.paths))
    spoken = list(with_pauses(bench.settings.stt, bench.paths, each))
    print(f"\nPauses of 600 ms amid a sentence, {len(spoken)} turns:")
    before = counters(bench.server)
    turns: list[Turn] = []
    for name, samples in spoken:
        session = new_session(bench.settings.prompts.spoken)
        turn = asyncio.run(take_turn(bench.url, session, samples, to_the_end=True))
        print(f"  {name:32} {turn}")
        turns.append(turn)
    spent = counters(bench.server) - before
    answered = [turn for turn in turns if turn.answered]
    over = sum(turn.over_s > 0 for turn in turns)
    given = sum(turn.reply_tokens for turn in turns)
    wasted = spent.wasted_tokens / max(spent.useful_tokens, 1)
    print(f"answered as a whole {len(answered)} of {len(turns)}, talked over {over}")
    print(f"voice to voice {seconds([turn.gap_s for turn in answered])}")
    print(
        f"drafts: {spent.useful_replies:.0f} of use with {spent.useful_tokens:.0f} tokens when the "
        f"turn ended, {spent.wasted_replies:.0f} wasted with {spent.wasted_tokens:.0f} "
        f"({wasted:.1%}; of all {given} tokens of replies {spent.wasted_tokens / max(given, 1):.1%})"
    )
    return [
        Goal("talk-overs", over, 0),
        Goal("wasted tokens / useful tokens", wasted, 0.25),
    ]
