"""What is Piper's own."""

import threading
from typing import Any

import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from configs.settings import PiperSettings
from deployments.messages import SpeechRequest
from deployments.tts.piper import PiperEngine

pytestmark = pytest.mark.model


class StoppedAtWork:
    """A session whose caller goes away once a run has begun."""

    def __init__(self, session: Any, stop: threading.Event) -> None:
        self._session, self._stop = session, stop
        self.errors: list[Exception] = []

    def run(self, outputs: Any, inputs: Any, options: Any) -> Any:
        self._stop.set()
        try:
            return self._session.run(outputs, inputs, options)
        except Fail as error:
            self.errors.append(error)
            raise


def test_a_sentence_is_given_up_in_its_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = PiperEngine(PiperSettings(threads=1))
    (voice,) = engine._voices.values()
    stop = threading.Event()
    session = StoppedAtWork(voice.session, stop)
    monkeypatch.setattr(voice, "session", session)
    long_and_slow = SpeechRequest("and so it goes on and on " * 9, speed=0.25)
    assert list(engine.synthesize(long_and_slow, stop)) == []
    assert len(session.errors) == 1
    monkeypatch.undo()
    assert list(engine.synthesize(SpeechRequest("And on."), threading.Event()))
