"""What a speech-to-text engine must do."""

import threading
from typing import Protocol

from deployments.messages import Transcript, TranscriptionRequest


class SttEngine(Protocol):
    """Turns one utterance into text. Blocking: the server calls it in a thread."""

    def warm_up(self) -> None:
        """Run once before the first request, so that it is as fast as the rest."""
        ...

    def transcribe(self, request: TranscriptionRequest, stop: threading.Event) -> Transcript:
        """Hear the whole utterance; no speech gives an empty text.

        Setting `stop` from another thread ends the work at the next segment; what is returned then
        is only what was heard so far.

        Raises:
            UnsupportedLanguage: the model does not know the language, or cannot translate.
        """
        ...
