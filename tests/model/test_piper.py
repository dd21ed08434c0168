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


class Measured:
    """A session that remembers how random each run was to be."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.noise: list[tuple[float, float]] = []

    def run(self, outputs: Any, inputs: Any, options: Any) -> Any:
        noise, _, timing_noise = inputs["scales"].tolist()
        self.noise.append((noise, timing_noise))
        return self._session.run(outputs, inputs, options)


@pytest.mark.parametrize(
    ("temperature", "share", "timing_share"),
    [(None, 1, 1), (0.7, 1, 1), (0.0, 0, 0), (0.35, 0.5, 0.5), (1.4, 2, 1 / 0.7)],
)
def test_a_temperature_is_a_share_of_the_voices_own(
    monkeypatch: pytest.MonkeyPatch, temperature: float | None, share: float, timing_share: float
) -> None:
    engine = PiperEngine(PiperSettings())
    (voice,) = engine._voices.values()
    session = Measured(voice.session)
    monkeypatch.setattr(voice, "session", session)
    list(engine.synthesize(SpeechRequest("Yes.", temperature=temperature), threading.Event()))
    own = voice.config
    expected = (own.noise_scale * share, own.noise_w_scale * timing_share)
    assert session.noise == [pytest.approx(expected, rel=1e-6)]


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
