"""One request on its way through the batch."""

import queue
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from deployments.llm.sequence_cache import Held, Prompt
from deployments.llm.stops import Reply
from deployments.messages import GenerationEvent


class Chooser(Protocol):
    """Chooses one reply's tokens. It is used by the thread of the batch, and closed by it."""

    def next_token(self, row: int) -> int:
        """The token after a row of the last batch. Raises `RuntimeError` where none fits."""
        ...

    def close(self) -> None:
        """Free what it holds; nothing may be called afterwards."""
        ...


# An event of the reply, the error that ended it, or None behind the last event.
Delivery = GenerationEvent | Exception | None


@dataclass(slots=True, eq=False)
class Generation:
    """What is read, how it is answered, and how far it is.

    Attributes:
        events: What the caller takes; as many at most as the reply has tokens, and two.
        held: Its sequence, from when the first of its prompt is read.
        token: What was chosen and is not computed yet; None while the prompt is read.
        turn_tokens: What was read of its prompt since others had their turn.
        started: Its prompt was begun, and its wait is counted.
        suspended: It has made way for a live conversation, which it does only once.
        placed: It was let in while a live conversation waited, and nothing is computed since.
        again: Its sequence was lost, and is read a second time.
        given_up: Nobody takes its events any more.
        written: What comes first in the reply, and is with the caller already.
    """

    prompt: Prompt
    chooser: Chooser
    reply: Reply
    stop: threading.Event
    live: bool = False
    prompt_tokens: int = 0
    dropped_messages: int = 0
    events: "queue.SimpleQueue[Delivery]" = field(default_factory=queue.SimpleQueue)
    submitted_at: float = field(default_factory=time.perf_counter)
    held: Held | None = None
    token: int | None = None
    turn_tokens: int = 0
    started: bool = False
    suspended: bool = False
    placed: bool = False
    again: bool = False
    given_up: bool = False
    written: deque[int] = field(default_factory=deque[int])

    @property
    def is_stopped(self) -> bool:
        """Whether it is to end without a last event."""
        return self.given_up or self.stop.is_set()
