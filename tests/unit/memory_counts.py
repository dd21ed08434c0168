"""Metrics of the memory in Redis that only remember."""

from dataclasses import dataclass, field


@dataclass
class Counts:
    """What was told."""

    answers: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    is_away: bool = False

    def answered(self, operation: str, seconds: float) -> None:
        assert seconds >= 0
        self.answers.append(operation)

    def failed(self, operation: str, reason: str) -> None:
        self.failures.append((operation, reason))

    def away(self, *, is_away: bool) -> None:
        self.is_away = is_away
