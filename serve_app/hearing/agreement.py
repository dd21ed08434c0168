"""Partial transcripts that stay: words that two hearings in a row agree on (LocalAgreement-2)."""

import re
from collections.abc import Sequence

_NOT_SPOKEN = re.compile(r"[\W_]+")
_SENTENCE_END = ".!?…。！？।؟"
_ANCHOR_WORDS = 2
_LARGEST_SHIFT = 3


class StableWords:
    """The words of one utterance, heard again and again while it grows."""

    def __init__(self) -> None:
        self._stable: list[str] = []  # as they are compared
        self._last: list[str] = []  # the last hearing, behind the stable words

    @property
    def tail(self) -> str:
        """The words that may still change."""
        return " ".join(self._last)

    def update(self, words: Sequence[str]) -> str:
        """Take all the words of a new hearing; those that have become stable with it.

        Case and punctuation do not count. What was given out is never taken back, so a sentence's
        end waits until more is heard behind it.
        """
        fresh = list(words[self._behind_stable(words) :])
        agreed = 0
        for old, new in zip(self._last, fresh, strict=False):
            if _spoken(old) != _spoken(new):
                break
            agreed += 1
        given = fresh[:agreed]
        if given and agreed == len(fresh):
            given[-1] = given[-1].rstrip(_SENTENCE_END) or given[-1]
        self._stable += map(_spoken, given)
        self._last = fresh[agreed:]
        return " ".join(given)

    def reset(self) -> None:
        """Begin another utterance."""
        self._stable.clear()
        self._last.clear()

    def _behind_stable(self, words: Sequence[str]) -> int:
        """Where the stable words end in a hearing that may have more or fewer words before that."""
        count = len(self._stable)
        anchor = self._stable[-_ANCHOR_WORDS:]
        for shift in sorted(range(-_LARGEST_SHIFT, _LARGEST_SHIFT + 1), key=abs):
            end = count + shift
            if end >= len(anchor) and [*map(_spoken, words[end - len(anchor) : end])] == anchor:
                return end
        return min(count, len(words))


def _spoken(word: str) -> str:
    return _NOT_SPOKEN.sub("", word.casefold()) or word
