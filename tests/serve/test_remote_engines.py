"""Our own service as somebody's hosted Whisper, and what a chain of engines shows of itself."""

import threading

import pytest

from configs.settings import OpenAiSttSettings
from deployments.errors import UnsupportedLanguage
from deployments.messages import TranscriptionRequest
from deployments.stt.engine import whole_transcript
from deployments.stt.openai_api import OpenAiSttEngine
from tests.contract.speech_files import speech
from tests.serve.calls import noise_wav, upload
from tests.serve.cluster import Cluster, eventually

pytestmark = pytest.mark.serve

FOX = TranscriptionRequest(speech("en_syn_quick_brown_fox"), word_timestamps=True)


def test_our_own_service_hears_for_another_one(cluster: Cluster) -> None:
    engine = OpenAiSttEngine(
        OpenAiSttSettings(base_url=f"{cluster.base_url}/v1", model="whisper-1")
    )
    assert engine.is_up()
    heard = whole_transcript(engine.transcribe(FOX, threading.Event()))
    assert (heard.text, heard.language) == ("What is the capital of France?", "en")
    words = [word.text.strip() for segment in heard.segments for word in segment.words]
    assert " ".join(words) == heard.text
    with pytest.raises(UnsupportedLanguage):
        strange = TranscriptionRequest(FOX.audio, language="xx")
        whole_transcript(engine.transcribe(strange, threading.Event()))


def test_a_chain_answers_and_tells_which_engine_did(cluster: Cluster) -> None:
    heard = cluster.client.post("/chained/v1/speech-to-text", files=upload(noise_wav()))
    assert (heard.status_code, heard.headers["x-engine"]) == (200, "fake")
    for stream in (True, False):
        spoken = cluster.client.post(
            "/chained/v1/text-to-speech", json={"text": "Hello.", "stream": stream}
        )
        assert (spoken.status_code, spoken.headers["x-engine"]) == (200, "fake")
        assert spoken.headers["x-sample-rate"] == "44100"
    body = {"input": "Hello.", "voice": "alloy", "model": "tts-1"}
    assert cluster.client.post("/chained/v1/audio/speech", json=body).headers["x-engine"] == "fake"
    assert cluster.client.post("/v1/audio/speech", json=body).headers["x-engine"] == "fake"
    eventually(lambda: _told(cluster), 30, "the metrics tell of the chain")


def _told(cluster: Cluster) -> bool:
    page, labels = cluster.metrics(), {"application": "chained", "stage": "tts"}
    return (
        page.total("app_engine_fallbacks_total", engine="fake", **labels) >= 3
        and page.total("app_engine_failures_total", engine="openaudio_api", **labels) >= 3
        and page.total("app_circuit_open", engine="openaudio_api", **labels) == 1
    )
