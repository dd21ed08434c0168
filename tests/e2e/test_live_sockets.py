"""GemmaVoice's and ElevenLabs' sockets with the default models."""

import base64
import io
import wave

import jiwer
import pytest

from serve_app.media.wav import wav_header
from tests.clients.live_programs import QUESTION
from tests.e2e.test_live_clients import HEARD, SAID_AT_MOST, words
from tests.serve.cluster import Cluster
from tests.serve.test_gemmavoice_sockets import opened, say, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

TEXT = "The quick brown fox jumps over the lazy dog. And then it sleeps."


def check_said(served: Cluster, audio: bytes, said: str) -> None:
    answer = served.client.post("/v1/speech-to-text", files={"file": audio})
    heard = answer.raise_for_status().json()["text"]
    assert jiwer.wer(words(said), words(heard)) <= SAID_AT_MOST, (said, heard)


def test_a_conversation(served: Cluster) -> None:
    with opened(served, "/v1/conversation/ws") as socket:
        until(socket, type="ready")
        encoded = base64.b64encode(QUESTION.read_bytes()).decode()
        say(socket, {"type": "audio", "data": encoded, "format": "wav"}, {"type": "end_turn"})
        events = until(socket, type="ready")
    told = {each["type"]: each for each in events}
    assert words(told["transcript"]["content"]) == words(HEARD)
    files = [base64.b64decode(each["data"]) for each in events if each["type"] == "audio"]
    with wave.open(io.BytesIO(files[0])) as first:
        rate = first.getframerate()
    samples = b"".join(file[len(wav_header(rate, 0)) :] for file in files)  # one file a piece
    check_said(served, wav_header(rate, len(samples)) + samples, told["text"]["content"])


def test_a_recording_is_heard_while_it_grows(served: Cluster) -> None:
    recording = QUESTION.read_bytes()
    with opened(served, "/v1/speech-to-text/stream") as socket:
        say(socket, recording[: len(recording) // 2], recording[len(recording) // 2 :])
        say(socket, {"event": "stop"})
        assert words(until(socket, event="final")[-1]["data"]["text"]) == words(HEARD)


def test_a_text_is_spoken(served: Cluster) -> None:
    with opened(served, "/ws/tts") as socket:
        say(socket, {"text": TEXT, "format": "pcm", "sample_rate": 24_000})
        pieces = [each["data"]["audio_base64"] for each in until(socket, event="done")[1:-1]]
    samples = b"".join(map(base64.b64decode, pieces))
    check_said(served, wav_header(24_000, len(samples)) + samples, TEXT)


def test_elevenlabs_speaks_a_text_that_comes_in_pieces(served: Cluster) -> None:
    query = "output_format=pcm_24000&auto_mode=true"
    samples = b""
    with opened(served, f"/v1/text-to-speech/joe/stream-input?{query}") as socket:
        say(socket, {"text": " "})
        say(socket, *({"text": f"{word} "} for word in TEXT.split()), {"text": ""})
        for each in until(socket, isFinal=True):
            samples += base64.b64decode(each["audio"] or "")
    check_said(served, wav_header(24_000, len(samples)) + samples, TEXT)
