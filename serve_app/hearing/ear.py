"""Hears one stream: finds the utterances in it and keeps the audio that they need."""

from collections.abc import Iterator

from deployments.audio import BYTES_PER_SAMPLE, WHISPER_SAMPLE_RATE, Pcm
from serve_app.hearing.endpointing import Endpointer, Endpointing, HeardEvent
from serve_app.hearing.recording import Recording
from serve_app.hearing.voice_activity import SileroModel, VoiceActivity
from serve_app.hearing.window import SAMPLES_PER_MS, WINDOW_BYTES


def windows(samples: bytes) -> Iterator[bytes]:
    """The samples in pieces of a window, so that no silence in a long piece goes unseen."""
    for start in range(0, len(samples), WINDOW_BYTES):
        yield samples[start : start + WINDOW_BYTES]


class Ear:
    """One stream of 16 kHz mono audio, which it keeps as far as an utterance may need it.

    While nobody speaks that is the padding alone; of an utterance it is the last
    `max_utterance_s` and the padding. `config` None: nobody is listened for, as `hold` does.
    Pieces may end anywhere, in a sample too; what fills no window waits for the next piece.
    """

    def __init__(
        self, model: SileroModel, config: Endpointing | None, max_utterance_s: float
    ) -> None:
        self._voice = VoiceActivity(model)
        self._max_samples = int(max_utterance_s * WHISPER_SAMPLE_RATE)
        self._recording = Recording(self._max_samples)
        self._endpointer = Endpointer(Endpointing())
        self._pending = bytearray()
        self._listens = False
        self.configure(config)

    @property
    def position(self) -> int:
        """Samples of the stream so far, without those that fill no window yet."""
        return self._recording.end

    @property
    def silence_ms(self) -> int:
        """Time since the last voice."""
        return self._endpointer.silence_ms

    @property
    def voiced_ms(self) -> int:
        """Voice in the utterance so far, without its pauses."""
        return self._endpointer.voiced_ms

    @property
    def is_speaking(self) -> bool:
        """Whether an utterance has begun and does not pause."""
        return self._endpointer.is_speaking

    @property
    def in_utterance(self) -> bool:
        """Whether an utterance has begun and was not finished; it may pause."""
        return self._endpointer.in_utterance

    def configure(self, config: Endpointing | None) -> None:
        """Listen in another way from now on. An utterance that has begun goes on, unless None."""
        self._listens = config is not None
        padding_ms = 0
        if config is not None:
            self._endpointer.config = config
            padding_ms = config.prefix_padding_ms
        self._recording.max_samples = self._max_samples + padding_ms * SAMPLES_PER_MS

    def hear(self, samples: bytes) -> list[HeardEvent]:
        """Take a piece of the stream; what was heard in it, in order."""
        if not self._listens:
            self.hold(samples)
            return []
        self._pending += samples
        events: list[HeardEvent] = []
        whole = len(self._pending) // WINDOW_BYTES * WINDOW_BYTES
        for window in windows(bytes(self._pending[:whole])):
            self._recording.append(window)
            event = self._endpointer.feed(self._voice.probability(window))
            if event is not None:
                events.append(event)
            self._recording.forget_before(self._endpointer.needed_from)
        del self._pending[:whole]
        return events

    def hold(self, samples: bytes) -> None:
        """Take a piece of the stream and keep it, whether there is voice in it or not."""
        self._pending += samples
        whole = len(self._pending) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE
        self._recording.append(bytes(self._pending[:whole]))
        del self._pending[:whole]
        self._endpointer.skip(whole // BYTES_PER_SAMPLE)
        self._voice.reset()

    def utterance(self, start_sample: int, end_sample: int) -> Pcm:
        """The audio between two positions, as far as it is held."""
        return self._recording.slice(start_sample, end_sample)

    def finish(self) -> None:
        """The utterance is over; its audio is there until the next piece is heard."""
        self._endpointer.finish()

    def forget_before(self, sample: int) -> None:
        """Nothing before this position will be asked for."""
        self._recording.forget_before(sample)

    def reset(self) -> None:
        """Forget all audio and any utterance; positions go on."""
        self._pending.clear()
        self._recording.forget_before(self._recording.end)
        self._endpointer.reset()
        self._voice.reset()
