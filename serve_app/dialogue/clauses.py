"""Tokens in, speakable clauses out."""

import re

from deployments.sentences import (
    FIRST_CLAUSE_CHARS,
    LONGEST_FIRST_CLAUSE_CHARS,
    sentence_end,
    soft_break,
)

_LONGEST_CLAUSE_CHARS = 240
_LONGEST_ADDRESS_CHARS = 2000  # cut in the middle, its rest would be read as words
_ADDRESS = re.compile(r"(?:https?://|www\.)\S*$")


class ClauseSplitter:
    """Cuts the first clause early (a comma will do), so that the voice can start; then sentences."""

    def __init__(self) -> None:
        self._pending = ""
        self._first = True

    def feed(self, text: str) -> list[str]:
        """Add a piece of the reply and take the clauses that are complete."""
        self._pending += text
        clauses: list[str] = []
        while (end := self._clause_end()) is not None:
            self._take(end, clauses)
        return clauses

    def flush(self) -> list[str]:
        """The rest, when the reply is complete."""
        clauses: list[str] = []
        while (end := sentence_end(self._pending, final=True)) is not None:
            self._take(end, clauses)
        self._take(len(self._pending), clauses)
        return clauses

    def _take(self, end: int, clauses: list[str]) -> None:
        clause, self._pending = self._pending[:end].strip(), self._pending[end:]
        if any(char.isalnum() for char in clause):
            clauses.append(clause)
            self._first = False

    def _clause_end(self) -> int | None:
        end = sentence_end(self._pending, final=False)
        if end is None and self._first:
            end = soft_break(self._pending, FIRST_CLAUSE_CHARS)
        longest = LONGEST_FIRST_CLAUSE_CHARS if self._first else _LONGEST_CLAUSE_CHARS
        if len(self._pending) > longest and (end is None or end > longest):
            space = self._pending.rfind(" ", 1, longest)
            if space > 0:
                return space
            if self._in_address(longest):
                return end
            end = longest
        return end

    def _in_address(self, at: int) -> bool:
        """Whether a web address goes on there."""
        if len(self._pending) > _LONGEST_ADDRESS_CHARS:
            return False
        return _ADDRESS.search(self._pending, 0, at) is not None
