"""Turns the bytes of tokens into text that may be shown, up to the first stop string."""

import codecs
from collections.abc import Iterator, Sequence

from deployments.messages import FinishReason, GenerationEnd, GenerationEvent, TextDelta


class TextAssembler:
    """Collects one reply; shows each character as soon as no stop string can begin there.

    Bytes that are no UTF-8 become U+FFFD; a character that the reply leaves unfinished is dropped.

    Attributes:
        stopped: A stop string was written; neither it nor anything after it is shown.
    """

    def __init__(self, stop: Sequence[str], *, strip_start: bool = False) -> None:
        self.stopped = False
        self._stop = tuple(text for text in stop if text)
        self._strip_start = strip_start
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""

    def feed(self, data: bytes) -> str:
        """Add the bytes of a token and return the text that may be shown now."""
        if self.stopped:
            return ""
        self._held += self._decoder.decode(data)
        starts = [at for at in (self._held.find(text) for text in self._stop) if at >= 0]
        if starts:
            self.stopped = True
            return self._release(min(starts))
        return self._release(len(self._held) - self._undecided())

    def flush(self) -> str:
        """Return what was held back when the reply is over without a stop string."""
        return "" if self.stopped else self._release(len(self._held))

    def _undecided(self) -> int:
        """Length of the longest end of the text in which a stop string may begin."""
        longest = max((len(text) - 1 for text in self._stop), default=0)
        for length in range(min(longest, len(self._held)), 0, -1):
            end = self._held[-length:]
            if any(text.startswith(end) for text in self._stop):
                return length
        return 0

    def _release(self, length: int) -> str:
        text, self._held = self._held[:length], self._held[length:]
        if self._strip_start:
            text = text.lstrip()
            self._strip_start = not text
        return text


class Reply:
    """One reply as it is written, token by token; `written` of them are with the caller already.

    Attributes:
        finish_reason: Why it is over; None while it goes on.
    """

    def __init__(self, text: TextAssembler, max_tokens: int, written: int = 0) -> None:
        self.finish_reason: FinishReason | None = None
        self._text = text
        self._max_tokens = max_tokens
        self._tokens = written
        self._unsent = 0

    def add(self, data: bytes) -> Iterator[TextDelta]:
        """Add the bytes of a token; what may be shown now, if anything."""
        self._tokens += 1
        self._unsent += 1
        shown = self._text.feed(data)
        if self._text.stopped:
            self.finish_reason = "stop"
        elif self._tokens >= self._max_tokens:
            self.finish_reason = "length"
        yield from self._delta(shown)

    def close(self, prompt_tokens: int, dropped_messages: int = 0) -> Iterator[GenerationEvent]:
        """What was held back, then the end; without another reason the model was done."""
        yield from self._delta(self._text.flush())
        reason = self.finish_reason or "stop"
        yield GenerationEnd(reason, prompt_tokens, self._tokens, dropped_messages)

    def _delta(self, text: str) -> Iterator[TextDelta]:
        if text:
            tokens, self._unsent = self._unsent, 0
            yield TextDelta(text, tokens)
