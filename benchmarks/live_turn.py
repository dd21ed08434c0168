"""One spoken turn over a Realtime socket: what was said, what was heard, and when."""

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from benchmarks.paced_speech import RATE, Heard, Samples
from benchmarks.realtime_client import Event, RealtimeCall, Recording

PCM = {"type": "audio/pcm", "rate": RATE}
_ENOUGH_S = 1.0  # of a reply, to know how loud it is
_STOPPED = "input_audio_buffer.speech_stopped"
_ENDED = "response.done"
_BEFORE_S = 0.3  # of silence, before the speaker begins
_AFTER_S = 1.0  # between two turns, for what the last one left to do


@dataclass(frozen=True, slots=True)
class Turn:
    """Times by the recording, in seconds of one clock.

    `over_s`: audio of a reply that came before the user's last voiced sample. None for times: there
    was no answer to the whole of what was said.
    """

    last_voiced_at: float
    stopped_at: float | None
    first_voiced_at: float | None
    over_s: float
    transcript: str
    said: str
    reply_tokens: int  # of the replies that ended while the line was open
    errors: tuple[str, ...]

    def __str__(self) -> str:
        shown = "no answer to the whole"
        if self.answered:
            shown = f"{self.gap_s:.3f} s, {self.wait_s:.3f} + {self.after_s:.3f}"
        talk = f", talked over {self.over_s:.2f} s" if self.over_s else ""
        trouble = f", {' '.join(self.errors)}" if self.errors else ""
        return f"{shown}{talk}{trouble} {self.transcript[:48]!r} -> {self.said[:40]!r}"

    @property
    def answered(self) -> bool:
        """Whether the reply came, after the user had finished."""
        return (
            self.first_voiced_at is not None
            and self.stopped_at is not None
            and self.stopped_at > self.last_voiced_at
        )

    @property
    def gap_s(self) -> float:
        """From the last voiced sample sent to the first one received."""
        assert self.first_voiced_at is not None
        return self.first_voiced_at - self.last_voiced_at

    @property
    def wait_s(self) -> float:
        """Until the client was told that the user has finished."""
        assert self.stopped_at is not None
        return self.stopped_at - self.last_voiced_at

    @property
    def after_s(self) -> float:
        """From then on."""
        return self.gap_s - self.wait_s


def new_session(
    instructions: str,
    *,
    max_tokens: int | None = None,
    unique: bool = True,
) -> dict[str, Any]:
    """A session at the server's defaults. `unique`: no cached prompt is of use."""
    nonce = f"You are assistant {secrets.token_hex(4)}. " if unique else ""
    session: dict[str, Any] = {
        "instructions": f"{nonce}{instructions}",
        "audio": {"input": {"format": PCM}, "output": {"format": PCM}},
    }
    if max_tokens is not None:
        session["max_output_tokens"] = max_tokens
    return session


async def take_turn(
    url: str, session: Mapping[str, Any], samples: Samples, *, to_the_end: bool = False
) -> Turn:
    """Open a line, speak, listen until it is known how the reply begins (or ends), and hang up."""
    async with RealtimeCall(url, session) as call:
        await asyncio.sleep(_BEFORE_S)
        await call.say(samples)
        last = last_voiced_at(call.recording)
        with suppress(TimeoutError):
            await call.until(lambda: _is_answered(call.recording, last, to_the_end=to_the_end))
    await asyncio.sleep(_AFTER_S)
    return turn_of(call.recording)


def turn_of(recording: Recording) -> Turn:
    """What a recording of one turn shows."""
    last = last_voiced_at(recording)
    answer = _answer(recording, last)
    stops = [
        event.at
        for event in recording.of(_STOPPED)
        if answer is None or event.at <= answer.frames[0].at
    ]
    transcripts = recording.of("conversation.item.input_audio_transcription.completed")
    return Turn(
        last,
        stops[-1] if stops else None,
        answer.first_voiced_at() if answer else None,
        sum(_before(reply, last) for reply in recording.replies.values()),
        " | ".join(event.body["transcript"] for event in transcripts),
        "".join(
            event.body["delta"] for event in recording.of("response.output_audio_transcript.delta")
        ),
        sum(_tokens(event) for event in recording.of(_ENDED)),
        tuple(recording.errors()),
    )


def _tokens(ended: Event) -> int:
    usage = ended.body["response"].get("usage") or {}
    return usage.get("output_tokens") or 0


def last_voiced_at(recording: Recording) -> float:
    """When the user spoke the last voiced sample."""
    last = recording.sent.last_voiced_at()
    assert last is not None, "nothing was said"
    return last


def _answer(recording: Recording, last: float) -> Heard | None:
    """The first reply that began after the user had finished."""
    for reply in recording.replies.values():
        if reply.frames[0].at > last:
            return reply
    return None


def _before(reply: Heard, at: float) -> float:
    return sum(len(frame.samples) for frame in reply.frames if frame.at < at) / RATE


def _is_answered(recording: Recording, last: float, *, to_the_end: bool) -> bool:
    answer = _answer(recording, last)
    if answer is None:
        return False
    ended = bool(recording.of(_ENDED, since=answer.frames[0].at))
    return ended or (not to_the_end and answer.duration_s >= _ENOUGH_S)
