"""What one visit of one user came to."""

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What somebody came for."""

    ONE_SHOT = "one_shot"
    CONVERSATION = "conversation"


class Outcome(StrEnum):
    """How a visit ended."""

    COMPLETED = "completed"
    REFUSED = "refused"  # by 429 or 503, before any work
    FAILED = "failed"
    NOT_SENT = "not_sent"  # the generator had no user left


@dataclass(slots=True)
class Visit:
    """Times in seconds. `at_s`: when it was due, since the beginning.

    A phase has one time for each turn: of a one-shot turn since the visit was due, of a conversation
    since the end of speech (`interruption`: since the user spoke up). `refused` and `total` are of
    the visit, since it was due.
    """

    kind: Kind
    at_s: float = 0.0
    late_s: float = 0.0  # the generator's longest delay: its beginning, or a frame of speech
    outcome: Outcome = Outcome.FAILED
    problem: str = "never ended"  # why it failed or was refused
    retry_after: bool = False  # the refusal said when to come again
    phases: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    replies: int = 0  # that were heard
    gaps_s: list[float] = field(default_factory=list[float])  # silences within replies
    missed_interruptions: int = 0

    def note(self, phase: str, seconds: float) -> None:
        """A phase of a turn has ended."""
        self.phases.setdefault(phase, []).append(seconds)

    def complete(self) -> None:
        """All was as it should be."""
        self.outcome, self.problem = Outcome.COMPLETED, ""

    def not_sent(self) -> None:
        """The generator had no user left to send."""
        self.outcome, self.problem = Outcome.NOT_SENT, "no user left"

    def fail(self, problem: str) -> None:
        """It went wrong; `problem` is a name, without anything private."""
        self.outcome, self.problem = Outcome.FAILED, problem

    def turn_away(self, status: int, *, retry_after: str | None, after_s: float) -> None:
        """An HTTP status other than success: 429 and 503 are refusals, the others failures."""
        if status not in (429, 503):
            self.fail(f"status {status}")
            return
        self.outcome, self.problem = Outcome.REFUSED, f"status {status}"
        self.retry_after = (
            retry_after is not None and retry_after.isascii() and retry_after.isdigit()
        )
        self.note("refused", after_s)
