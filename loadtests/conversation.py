"""A user of `/v1/realtime`: what they say and when, and what the server's events mean to them.

Knows no socket and no clock: the caller says what time it is.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from loadtests.playout import Playout
from loadtests.speech import FRAME_S, RATE, Samples, frames
from loadtests.visits import Outcome, Visit

ANSWER_S = 30.0  # the longest wait for the first sound
REPLY_S = 120.0  # the longest reply
_HEARD_S = 0.4  # of a reply, before it is interrupted
_PAUSE_S = 0.5  # between a reply and the next thing said
_SILENCE = bytes(round(RATE * FRAME_S) * 2)


class Step(Enum):
    """Where the conversation is."""

    SPEAKING = 0
    WAITING = 1
    HEARING = 2
    OVER = 3


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something to say; `interrupts`: while the reply before it is still heard."""

    samples: Samples
    interrupts: bool = False


class Conversation:
    """Says one utterance after the other, each when the last one was answered or is interrupted."""

    def __init__(self, utterances: Sequence[Utterance], visit: Visit) -> None:
        self.visit = visit
        self.step = Step.WAITING
        self._left = list(reversed(utterances))
        self._frames: list[bytes] = []
        self._interrupted: str | None = None
        self._begin(0.0)

    def microphone(self, at: float) -> bytes:
        """The frame whose last sample is heard now: PCM of `RATE`, 16 bit, mono."""
        match self.step:
            case Step.SPEAKING:
                return self._speak(at)
            case Step.WAITING:
                if at - self._spoken_at > ANSWER_S:
                    self._fail("no answer")
            case Step.HEARING:
                self._listen(at)
            case Step.OVER:
                pass
        return _SILENCE

    def take(self, event: Mapping[str, Any], at: float) -> None:
        """The server says something."""
        match event["type"]:
            case "error":
                self._fail(f"error {event['error'].get('code')}")
            case "conversation.item.input_audio_transcription.failed":
                self._fail(f"transcription {event['error'].get('code')}")
            case "input_audio_buffer.speech_stopped":
                self._note("end_of_turn", at)
            case "conversation.item.input_audio_transcription.completed":
                self._note("transcript", at)
            case "response.created":
                if self.step is Step.WAITING and self._answer is None:
                    self._answer = event["response"]["id"]
            case "response.output_audio_transcript.delta" if self._is_answer(event["response_id"]):
                self._note("first_token", at)
            case "response.output_audio.delta" if self._is_answer(event["response_id"]):
                self._note("first_audio", at)
                self.step = Step.HEARING
                self._playout.add(at, len(base64.b64decode(event["delta"])) / 2 / RATE)
            case "response.done":
                self._end_response(event["response"], at)
            case _:
                pass

    def _begin(self, at: float) -> None:
        """Say the next thing."""
        utterance = self._left.pop()
        self._frames = frames(utterance.samples)[::-1]
        self._tail_s = len(self._frames) * FRAME_S - len(utterance.samples) / RATE
        self._spoke_up_at, self._spoken_at = at, 0.0
        self._answer: str | None = None
        self._ended = False
        self._noted: set[str] = set()
        self._playout = Playout()
        self.step = Step.SPEAKING

    def _speak(self, at: float) -> bytes:
        frame = self._frames.pop()
        if not self._frames:
            self.step, self._spoken_at = Step.WAITING, at - self._tail_s
        return frame

    def _listen(self, at: float) -> None:
        began_at = self._playout.began_at or at
        interrupts = bool(self._left) and self._left[-1].interrupts
        if interrupts and at - began_at > _HEARD_S and at < self._playout.ends_at:
            if not self._ended:
                self._interrupted = self._answer
            self._close_reply()
            self._begin(at)
        elif self._ended and at > self._playout.ends_at + _PAUSE_S:
            self._close_reply()
            if self._left:
                self._begin(at)
            else:
                self.step = Step.OVER
                self.visit.complete()
        elif at - began_at > REPLY_S:
            self._fail("endless reply")

    def _close_reply(self) -> None:
        self.visit.replies += 1
        self.visit.gaps_s += self._playout.gaps_s

    def _end_response(self, response: Mapping[str, Any], at: float) -> None:
        stopped = response["status"] == "cancelled"
        if response["id"] == self._interrupted:
            self._interrupted = None
            if stopped:
                self.visit.note("interruption", at - self._spoke_up_at)
            else:
                self.visit.missed_interruptions += 1
        elif not self._is_answer(response["id"]):
            return
        elif response["status"] == "failed":
            self._fail("failed response")
        elif self.step is Step.HEARING:
            self._ended = True
        elif stopped:
            self._answer = None  # taken back before it was heard: another one follows
        else:
            self._fail("silent response")

    def _is_answer(self, response_id: str) -> bool:
        return self.step in (Step.WAITING, Step.HEARING) and response_id == self._answer

    def _note(self, phase: str, at: float) -> None:
        if self.step in (Step.WAITING, Step.HEARING) and phase not in self._noted:
            self._noted.add(phase)
            self.visit.note(phase, at - self._spoken_at)

    def _fail(self, problem: str) -> None:
        if self.visit.outcome is not Outcome.COMPLETED:
            self.step = Step.OVER
            self.visit.fail(problem)
