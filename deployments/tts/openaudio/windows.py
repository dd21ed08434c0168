"""How many frames are decoded at a time, so that a listener never waits once speech is real time."""

_SHARE = 0.5  # of what is still to be heard, which the next window may take to be made


class Windows:
    """Small at first, for an early sound; later as large as the lead over the listener allows.

    Sizes are multiples of `first`; `frame_s` is how long a frame sounds, times are seconds of one clock.
    """

    def __init__(self, first: int, most: int, frame_s: float) -> None:
        self._first, self._most, self._frame_s = first, most, frame_s
        self._sent = 0
        self._first_at = 0.0

    def size(self, now: float) -> int:
        """How many frames to wait for."""
        later = self._sent - self._first
        if later <= 0:
            return self._first
        elapsed = now - self._first_at
        lead_s = self._sent * self._frame_s - elapsed
        affordable = _SHARE * lead_s * later / max(elapsed, 1e-9)
        windows = int(min(affordable, self._most) // self._first)
        return self._first * max(1, windows)

    def sent(self, frames: int, now: float) -> None:
        """So many are on their way to the listener."""
        if self._sent == 0:
            self._first_at = now
        self._sent += frames
