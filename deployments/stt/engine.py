"""What a speech-to-text engine must do."""

import threading
from collections.abc import Iterator
from typing import Protocol

from deployments.messages import Segment, Transcript, TranscriptionRequest


class SttEngine(Protocol):
    """Turns one utterance into text. Blocking: the server calls it in a thread."""

    def warm_up(self) -> None:
        """Run once before the first request, so that it is as fast as the rest."""
        ...

    def transcribe(
        self, request: TranscriptionRequest, stop: threading.Event
    ) -> Iterator[Segment | Transcript]:
        """Yield each segment as it is heard, then the whole; no speech gives an empty text.

        Setting `stop` from another thread ends the work at the next segment; the transcript is then
        only what was heard so far.

        Raises:
            UnsupportedLanguage: the model does not know a language.
            EngineIncapable: the model cannot do what is asked, as to translate.
            AudioTooLong: the engine does not take so much at once.
        """
        ...


def whole_transcript(heard: Iterator[Segment | Transcript]) -> Transcript:
    """The last item of a transcription."""
    *_, transcript = heard
    assert isinstance(transcript, Transcript)  # noqa: S101 - what an engine promises
    return transcript
