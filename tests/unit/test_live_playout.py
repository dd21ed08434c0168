"""What of a reply was sent, and what of it can have been heard."""

import asyncio
from dataclasses import dataclass

import pytest

from deployments.audio import Pcm
from serve_app.live.config import LiveBounds
from serve_app.live.paced_voice import PacedVoice
from serve_app.live.playout import Playout

REPLY = "It is Paris. It is big, and it is old."


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def spoken(clock: Clock) -> Playout:
    """Two clauses of a second each, all of it sent."""
    playout = Playout(clock)
    playout.begin_clause("It is Paris.", REPLY[:13])
    playout.make(1.0)
    playout.begin_clause("It is big, and it is old.", REPLY)
    playout.make(1.0)
    playout.complete()
    playout.send(1.0)
    playout.send(1.0)
    return playout


def test_audio_is_played_at_the_pace_of_speech() -> None:
    clock = Clock()
    playout = spoken(clock)
    assert (playout.played_s, playout.left_s) == (0.0, 2.0)
    clock.now += 0.5
    assert (playout.played_s, playout.left_s) == (0.5, 1.5)
    clock.now += 5
    assert (playout.played_s, playout.left_s) == (2.0, 0.0)


def test_a_listener_who_ran_dry_goes_on_when_more_comes() -> None:
    clock = Clock()
    playout = spoken(clock)
    clock.now += 10
    playout.send(1.0)
    clock.now += 0.25
    assert playout.played_s == 2.25


@pytest.mark.parametrize(
    ("played_s", "heard"),
    [
        (0.0, ""),
        (0.5, ""),
        (0.9, "It is Paris."),  # what is left of the clause is its last silence
        (1.5, "It is Paris."),
        (1.9, REPLY),
        (9.0, REPLY),
    ],
)
def test_a_clause_counts_when_it_was_played_to_its_end(played_s: float, heard: str) -> None:
    assert spoken(Clock()).heard(REPLY, played_s) == heard


def test_a_clause_that_is_still_being_made_was_not_heard() -> None:
    playout = Playout(Clock())
    playout.begin_clause("It is Paris.", REPLY[:13])
    playout.make(1.0)
    assert playout.heard(REPLY[:13], 9.0) == ""


def test_what_was_stopped_is_not_played() -> None:
    clock = Clock()
    playout = spoken(clock)
    clock.now += 0.5
    playout.stop()
    assert (playout.sent_s, playout.left_s) == (0.5, 0.0)
    clock.now += 5
    assert playout.played_s == 0.5


def test_a_clause_that_comes_twice_is_found_at_its_own_place() -> None:
    playout = Playout(Clock())
    for end in (3, 7):
        playout.begin_clause("Ha.", "Ha. Ha."[:end])
        playout.make(1.0)
    playout.complete()
    assert playout.heard("Ha. Ha.", 1.0) == "Ha."


# ---- pacing -------------------------------------------------------------------------------------


def piece(seconds: float) -> Pcm:
    return Pcm(bytes(2 * round(seconds * 8000)), 8000)


async def test_frames_leave_at_most_the_lead_before_they_are_heard() -> None:
    playout = Playout()
    voice = PacedVoice(LiveBounds(lead_s=0.2, ahead_s=9, frame_s=0.05), playout)
    await voice.put(piece(0.5))
    await voice.close()
    ahead = [playout.left_s async for _ in voice.frames()]
    assert len(ahead) == 10
    assert max(ahead) <= 0.2 + 0.05
    assert playout.sent_s == pytest.approx(0.5)


async def test_the_maker_waits_while_enough_is_made() -> None:
    voice = PacedVoice(LiveBounds(lead_s=9, ahead_s=1.0, frame_s=0.1), Playout())
    await voice.put(piece(1.0))
    async with asyncio.TaskGroup() as tasks:
        more = tasks.create_task(voice.put(piece(1.0)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not more.done()
        frames = voice.frames()
        for _ in range(11):  # the eleventh is of the second piece
            await anext(frames)
        await more
    await frames.aclose()


async def test_no_sample_is_lost_or_changed() -> None:
    samples = bytes(range(256)) * 63
    voice = PacedVoice(LiveBounds(lead_s=9, ahead_s=9, frame_s=0.1), Playout())
    await voice.put(Pcm(samples, 8000))
    await voice.close()
    assert b"".join([frame.samples async for frame in voice.frames()]) == samples
