"""What a listener hears who plays each piece as soon as it and the ones before allow."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Playout:
    """One reply on a listener's clock; times in seconds."""

    began_at: float | None = None
    ends_at: float = 0.0
    gaps_s: list[float] = field(default_factory=list[float])  # underruns: silences between pieces

    def add(self, at: float, duration_s: float) -> None:
        """A piece of audio has come."""
        if self.began_at is None:
            self.began_at = self.ends_at = at
        elif at > self.ends_at:
            self.gaps_s.append(at - self.ends_at)
        self.ends_at = max(at, self.ends_at) + duration_s
