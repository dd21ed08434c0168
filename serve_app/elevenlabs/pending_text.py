"""Text that comes word by word, and what of it is spoken when."""

from serve_app.dialogue.clauses import ClauseSplitter


class PendingText:
    """Gives clauses as soon as they are complete, or (`schedule`) once there is so much of them."""

    def __init__(self) -> None:
        self._splitter = ClauseSplitter()
        self._held: list[str] = []
        self._schedule: list[int] = []
        self.chars = 0

    def schedule(self, lengths: list[int]) -> None:
        """Wait for so many characters: of the first piece, the second, …; the last is of all others."""
        self._schedule = list(lengths)

    def feed(self, text: str) -> list[str]:
        """Add text and take what is to be spoken now."""
        self._held += self._splitter.feed(text)
        self.chars += len(text)
        if self._schedule and sum(map(len, self._held)) < self._schedule[0]:
            return []
        if len(self._schedule) > 1 and self._held:
            self._schedule.pop(0)
        return self._taken()

    def flush(self) -> list[str]:
        """All that has come."""
        self._held += self._splitter.flush()
        self._splitter = ClauseSplitter()
        self.chars = 0
        return self._taken()

    def _taken(self) -> list[str]:
        taken, self._held = self._held, []
        if taken:
            self.chars = 0
        return taken
