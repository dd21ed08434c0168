"""The thread that speaks all sequences together, a frame of each at a time."""

import logging
import queue
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from deployments.errors import SpeechError, StageFailed, StageOverloaded
from deployments.tts.openaudio.frames import FrameMaker
from deployments.tts.openaudio.slots import Choice

logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Sequence:
    """One text to speak: a prompt [1 + codebooks, length], and at most `longest` frames after it.

    Setting `stop`, or leaving it, ends it at the next frame.
    """

    prompt: Tensor
    longest: int
    choice: Choice
    generator: torch.Generator
    stop: threading.Event
    read: int = 0
    frames: int = 0
    left: bool = False
    _out: queue.SimpleQueue[list[int] | SpeechError | None] = field(
        default_factory=queue.SimpleQueue[list[int] | SpeechError | None]
    )

    def __iter__(self) -> Iterator[list[int]]:
        """Wait for its frames: the codes of each, [codebooks].

        Raises:
            StageFailed: the model broke.
        """
        while (item := self._out.get()) is not None:
            if isinstance(item, SpeechError):
                raise item
            yield item

    def leave(self) -> None:
        """Nobody waits for its frames any more."""
        self.left = True

    @property
    def over(self) -> bool:
        """Whether nobody wants any more of it."""
        return self.left or self.stop.is_set()

    def put(self, codes: list[int]) -> None:
        """Hand a frame on."""
        self.frames += 1
        self._out.put(codes)

    def finish(self, error: SpeechError | None = None) -> None:
        """Nothing more comes."""
        self._out.put(error)

    @property
    def unread(self) -> int:
        """How much of the prompt is to be read before frames are made; the last of it makes the first."""
        return self.prompt.shape[1] - 1 - self.read


class Speaker:
    """Sequences join and leave between two frames; as many wait as there are slots."""

    def __init__(self, maker: FrameMaker, end_of_speech: int, read_tokens: int) -> None:
        self._maker, self._end, self._read_tokens = maker, end_of_speech, read_tokens
        self._device = maker.slots.positions.device
        self._speaking: list[Sequence | None] = [None] * len(maker.slots.positions)
        self._reading: list[int] = []  # slots, in the order in which they joined
        self._waiting: deque[Sequence] = deque()
        self._changed = threading.Condition()
        self._failed_steps = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="tts-speaker", daemon=True)
        self._thread.start()

    def speak(self, sequence: Sequence) -> Sequence:
        """Take a sequence; its frames come when it is iterated.

        Raises:
            StageOverloaded: too many wait.
            StageFailed: the model is broken.
        """
        with self._changed:
            if self._closed:
                raise StageFailed("tts")
            if len(self._waiting) >= len(self._speaking):
                raise StageOverloaded("tts")
            self._waiting.append(sequence)
            self._changed.notify()
        return sequence

    def check_health(self) -> None:
        """Raises StageFailed where nothing will be spoken any more."""
        if self._closed:
            raise StageFailed("tts")

    def close(self) -> None:
        """End the thread; what it spoke breaks off."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            on_cuda = self._device.type == "cuda"
            current = torch.cuda.device(self._device) if on_cuda else nullcontext()
            with torch.inference_mode(), current:
                while self._admit():
                    self._read_some()
                    self._step()
        except Exception:
            logger.exception("the voice model cannot go on")
        finally:
            with self._changed:
                self._closed = True
                left = [*self._waiting, *filter(None, self._speaking)]
            for sequence in left:
                sequence.finish(StageFailed("tts"))

    def _admit(self) -> bool:
        """Give free slots to those who wait; sleep where nobody does. False: it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting or any(self._speaking))
            for sequence in [each for each in self._waiting if each.over]:
                self._waiting.remove(sequence)
                sequence.finish()
            for slot, speaking in enumerate(self._speaking):
                if speaking is not None and speaking.over:
                    self._leave(slot)
                if self._speaking[slot] is None and self._waiting:
                    self._speaking[slot] = self._waiting.popleft()
                    self._reading.append(slot)
            return not self._closed

    def _leave(self, slot: int, error: SpeechError | None = None) -> None:
        sequence = self._speaking[slot]
        if sequence is not None:
            self._speaking[slot] = None
            if slot in self._reading:
                self._reading.remove(slot)
            sequence.finish(error)
            self._maker.slots.end(slot)

    def _read_some(self) -> None:
        """Read on in prompts, as much as may hold up those who speak.

        A prompt is always read in the same pieces, so that what else is read changes no bit of it.
        """
        left = self._read_tokens
        for slot in self._reading.copy():
            sequence = self._speaking[slot]
            if sequence is None:
                continue
            count = min(sequence.unread, self._read_tokens)
            if count > left:
                return
            left -= count
            try:
                piece = sequence.prompt[:, sequence.read : sequence.read + count]
                self._maker.read(slot, piece.to(self._device), sequence.read)
                sequence.read += count
                if not sequence.unread:
                    self._begin(slot, sequence)
            except Exception:
                logger.exception("a prompt could not be read")
                self._leave(slot, StageFailed("tts"))

    def _begin(self, slot: int, sequence: Sequence) -> None:
        self._reading.remove(slot)
        last = sequence.prompt[:, -1].to(self._device)
        self._maker.slots.begin(slot, last, sequence.prompt.shape[1] - 1, sequence.choice)

    def _step(self) -> None:
        """One frame of every sequence whose prompt is read."""
        live = [
            (slot, each) for slot, each in enumerate(self._speaking) if each and not each.unread
        ]
        if not live:
            return
        # Those who are still read stand in the batch too, and must be within the span.
        longest = max(each.read + 1 + each.frames for each in self._speaking if each)
        try:
            for slot, sequence in live:
                self._maker.slots.draw(slot, sequence.generator)
            frames = self._maker.frames(live[-1][0] + 1, longest).tolist()
        except Exception:
            self._failed_steps += 1
            if self._failed_steps > 1:
                raise
            logger.exception("a frame could not be made")
            for slot, _ in live:
                self._leave(slot, StageFailed("tts"))
            return
        self._failed_steps = 0
        for slot, sequence in live:
            if frames[slot][0] == self._end:
                self._leave(slot)
                continue
            sequence.put(frames[slot][1:])
            if sequence.frames >= sequence.longest:
                self._leave(slot)
