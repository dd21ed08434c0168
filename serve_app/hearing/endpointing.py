"""When somebody begins to speak, pauses and goes on, from one probability of voice per window."""

from dataclasses import dataclass

from serve_app.hearing.window import SAMPLES_PER_MS, WINDOW_MS, WINDOW_SAMPLES

_HYSTERESIS = 0.15


@dataclass(frozen=True, slots=True)
class Endpointing:
    """When speech begins and how long a silence ends it.

    Speech begins above `threshold` and ends 0.15 below it. Less than `min_speech_ms` of voice is a
    click. An utterance begins `prefix_padding_ms` before its first voice. After `pause_ms` without
    voice a pause is reported. It ends the utterance after `silence_ms` where sound and words say
    that the speaker has finished, after `unfinished_ms` where either says the opposite, and after
    `unheard_ms` where that is not known.
    """

    threshold: float = 0.5
    prefix_padding_ms: int = 500
    pause_ms: int = 96
    min_speech_ms: int = 96
    silence_ms: int = 900
    unfinished_ms: int = 1600
    unheard_ms: int = 1600


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    """Somebody speaks; the utterance begins at `start_sample`."""

    start_sample: int


@dataclass(frozen=True, slots=True)
class Paused:
    """The speaker is silent; what was said so far ends at `end_sample`."""

    end_sample: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """The speaker goes on with the utterance."""


HeardEvent = SpeechBegan | Paused | Resumed


@dataclass(frozen=True, slots=True)
class _Quiet:
    """Nobody speaks."""


@dataclass(frozen=True, slots=True)
class _Beginning:
    """There is voice since `onset`; a click, perhaps."""

    onset: int


@dataclass(frozen=True, slots=True)
class _Speaking:
    """The utterance that begins at `start` is being spoken."""

    start: int


@dataclass(frozen=True, slots=True)
class _Pausing:
    """The speaker of the utterance that begins at `start` is silent."""

    start: int
    end: int


class Endpointer:
    """Follows one stream; `config` may be changed at any time."""

    def __init__(self, config: Endpointing) -> None:
        self.config = config
        self._state: _Quiet | _Beginning | _Speaking | _Pausing = _Quiet()
        self._position = 0
        self._voiced_until = 0
        self._voiced_samples = 0
        self._earliest = 0  # where the next utterance may begin
        self._was_voiced = False

    @property
    def position(self) -> int:
        """Samples so far."""
        return self._position

    @property
    def silence_ms(self) -> int:
        """Time since the last voice (or since the stream was begun or reset)."""
        return (self._position - self._voiced_until) // SAMPLES_PER_MS

    @property
    def voiced_ms(self) -> int:
        """Voice in the utterance so far, without its pauses."""
        return self._voiced_samples // SAMPLES_PER_MS

    @property
    def is_speaking(self) -> bool:
        """Whether an utterance has begun and does not pause."""
        return isinstance(self._state, _Speaking)

    @property
    def in_utterance(self) -> bool:
        """Whether an utterance has begun and was not finished; it may pause."""
        return isinstance(self._state, _Speaking | _Pausing)

    @property
    def needed_from(self) -> int:
        """The first sample that an utterance, begun or to come, can have."""
        match self._state:
            case _Speaking(start=start) | _Pausing(start=start):
                return start
            case _Beginning(onset=onset):
                return self._padded(onset)
            case _Quiet():
                return self._padded(self._position)

    def feed(self, probability: float) -> HeardEvent | None:
        """Take the probability of voice in the next window; what it means, if anything new."""
        window_start = self._position
        self._position += WINDOW_SAMPLES
        voiced = self._is_voiced(probability)
        self._was_voiced = voiced
        if voiced:
            self._voiced_until = self._position
            self._voiced_samples += WINDOW_SAMPLES
            return self._on_voice(window_start)
        return self._on_silence()

    def skip(self, samples: int) -> None:
        """Let samples pass that nobody listens to; an utterance that has begun is dropped."""
        self._position += samples
        self.reset()

    def finish(self) -> None:
        """The utterance is over: voice from now on is a new one, which begins behind it."""
        state = self._state
        self._begin_anew(state.end if isinstance(state, _Pausing) else self._position)

    def reset(self) -> None:
        """Forget what was heard so far; positions go on."""
        self._was_voiced = False
        self._voiced_until = self._position
        self._begin_anew(self._position)

    def _begin_anew(self, earliest: int) -> None:
        self._state = _Quiet()
        self._voiced_samples = 0
        self._earliest = earliest

    def _is_voiced(self, probability: float) -> bool:
        threshold = self.config.threshold
        if self._was_voiced:
            threshold = max(threshold - _HYSTERESIS, threshold / 2)
        return probability >= threshold

    def _on_voice(self, window_start: int) -> HeardEvent | None:
        match self._state:
            case _Quiet():
                return self._begin(window_start)
            case _Beginning(onset=onset):
                return self._begin(onset)
            case _Pausing(start=start):
                self._state = _Speaking(start)
                return Resumed()
            case _Speaking():
                return None

    def _begin(self, onset: int) -> SpeechBegan | None:
        if self.voiced_ms < self.config.min_speech_ms:
            self._state = _Beginning(onset)
            return None
        start = self._padded(onset)
        self._state = _Speaking(start)
        return SpeechBegan(start)

    def _on_silence(self) -> Paused | None:
        if self.silence_ms < max(self.config.pause_ms, WINDOW_MS):
            return None
        match self._state:
            case _Beginning():
                self._state = _Quiet()
                self._voiced_samples = 0
            case _Speaking(start=start):
                end = self._voiced_until + max(self.config.pause_ms, 0) * SAMPLES_PER_MS
                self._state = _Pausing(start, end)
                return Paused(end)
            case _Quiet() | _Pausing():
                pass
        return None

    def _padded(self, onset: int) -> int:
        return max(onset - self.config.prefix_padding_ms * SAMPLES_PER_MS, self._earliest)


def required_silence_ms(
    config: Endpointing,
    sounds_finished: bool | None,  # noqa: FBT001 - three answers, not a switch
    words_finished: bool | None,  # noqa: FBT001
) -> int:
    """The silence that ends an utterance, by what is known of it; None is not known (yet)."""
    if sounds_finished is False or words_finished is False:
        return config.unfinished_ms
    if sounds_finished is None or words_finished is None:
        return config.unheard_ms
    return config.silence_ms
