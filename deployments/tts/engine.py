"""What a text-to-speech engine must do."""

import threading
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from deployments.audio import Pcm
from deployments.errors import InvalidParameter
from deployments.messages import SpeechRequest, VoiceCatalog, VoiceReference


class TtsEngine(Protocol):
    """Speaks a text. Blocking: the server calls it in a thread."""

    def warm_up(self) -> None:
        """Run once before the first request, so that it is as fast as the rest."""
        ...

    def voices(self) -> VoiceCatalog:
        """The voices that `SpeechRequest.voice` may name."""
        ...

    def encode_voice(self, audio: Pcm, text: str) -> VoiceReference:
        """Encode a recording (mono, any rate) of a voice that says `text`, to speak with it.

        Raises:
            CloningUnsupported: the engine has no voice but its own.
        """
        ...

    def synthesize(self, request: SpeechRequest, stop: threading.Event) -> Iterator[Pcm]:
        """Yield the audio as it is made, every piece at the voice's own sample rate.

        Setting `stop` from another thread ends the work at the next piece. A text without anything
        to say gives no audio.

        Raises:
            VoiceNotFound: no voice has the name that was asked for.
            InvalidParameter: the engine has no such choice.
            CloningUnsupported: there are `references`, and the engine cannot speak with them.
        """
        ...


@runtime_checkable
class SelfChecking(Protocol):
    """An engine with work of its own that can break between two requests."""

    def check_health(self) -> None:
        """Return at once where the engine can speak.

        Raises:
            StageFailed: it cannot, and will not by itself.
        """
        ...


def refuse_top_p(request: SpeechRequest) -> None:
    """For engines that do not choose between likely sounds.

    Raises:
        InvalidParameter: the request asks for such a choice.
    """
    if request.top_p not in (None, 1.0):
        raise InvalidParameter("top_p", "this voice has no such choice; leave it out or use 1.0")
