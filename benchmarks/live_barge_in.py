"""How soon a reply stops when the user speaks."""

import asyncio
import time
from dataclasses import dataclass

import psutil

from benchmarks.live_bench import STORYTELLER, LiveBench
from benchmarks.live_counters import replica, working
from benchmarks.live_turn import new_session
from benchmarks.paced_speech import Samples, first_voiced, read
from benchmarks.realtime_client import RealtimeCall
from benchmarks.spread import Goal, percentile, seconds

_STORY_TOKENS = 1000
_HEARD_S = 0.2  # of the reply, before the user speaks
_WATCHED_S = 0.5  # of the replica's work, after the interruption was told
_STARTED = "input_audio_buffer.speech_started"


@dataclass(frozen=True, slots=True)
class Interruption:
    """Seconds; `late_s`: from the moment at which the client was told to the last audio that came.

    `noticed_s`: from the first voiced sample of the user to then. `worked_s`: processor time of the
    language model's replica in the half second after; `writing_s`: the same in half a second before.
    """

    late_s: float
    noticed_s: float
    worked_s: float
    writing_s: float
    stopped: bool  # the reply ended as cancelled


def barge_in(bench: LiveBench) -> list[Goal]:
    """Long replies, interrupted soon after they began."""
    story, words = bench.story(), read(bench.path(0))
    model = replica(bench.server, "llm")
    print("\nInterruptions:")
    found: list[Interruption] = []
    for _ in range(max(5, bench.turns // 2)):
        each = asyncio.run(_interrupt(bench, model, story, words))
        print(f"  {each}")
        found.append(each)
    late = [each.late_s for each in found]
    print(f"noticed after {seconds([each.noticed_s for each in found])}")
    print(f"last audio frame after speech_started {seconds(late)}")
    worked = sum(each.worked_s for each in found) / len(found)
    writing = sum(each.writing_s for each in found) / len(found)
    print(
        f"work of the language model's replica in {_WATCHED_S} s: {1000 * writing:.0f} ms while it "
        f"writes, {1000 * worked:.0f} ms after the interruption"
    )
    return [
        Goal("last audio after the interruption, p95, s", percentile(late, 95), 0.04),
        Goal("interruptions that did not end the reply", sum(not e.stopped for e in found), 0),
    ]


async def _interrupt(
    bench: LiveBench, model: psutil.Process, story: Samples, words: Samples
) -> Interruption:
    session = new_session(STORYTELLER, max_tokens=_STORY_TOKENS)
    async with RealtimeCall(bench.url, session) as call:
        recording = call.recording
        await asyncio.sleep(_HEARD_S)
        await call.say(story)
        await call.until(lambda: bool(recording.replies))
        (reply,) = recording.replies.values()
        with working(model) as writing:
            await asyncio.sleep(_WATCHED_S)
        asked, spoke_at = len(recording.of(_STARTED)), time.perf_counter()
        speaking = asyncio.create_task(call.say(words))
        await call.until(lambda: len(recording.of(_STARTED)) > asked)
        told = recording.of(_STARTED)[-1].at
        with working(model) as after:
            await asyncio.sleep(_WATCHED_S)
        await speaking
        late = max([0.0, *(frame.at - told for frame in reply.frames if frame.at > told)])
        noticed = told - spoke_at - (first_voiced(words) or 0) / 24_000
        ended = [event.body["response"]["status"] for event in recording.of("response.done")]
    await asyncio.sleep(1.0)
    return Interruption(late, noticed, after.seconds, writing.seconds, ended[:1] == ["cancelled"])
