"""Real speech through the whole graph."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import av
import jiwer
import pytest
from faster_whisper import WhisperModel

from deployments.weights import resolve_weights
from tests.serve.cluster import ROOT, Cluster, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SPEECH = sorted((ROOT / "tests/data/speech").glob("*.wav"))
QUESTIONS = (
    "What is the capital of France?",
    "What is the capital of Italy?",
    "What do bees make?",
    "Who wrote Romeo and Juliet?",
    "What do cows drink?",
    "Why do people sleep?",
    "What is a bicycle?",
    "What is the sun?",
    "What colour is grass?",
    "What is rain?",
)
DIGITS = dict(
    zip("0123456789", "zero one two three four five six seven eight nine".split(), strict=True)
)


def spoken(served: Cluster, text: str) -> bytes:
    answer = served.client.post(
        "/v1/text-to-speech", json={"text": text}, headers={"Accept": "audio/wav"}, timeout=60
    )
    assert answer.headers["content-type"] == "audio/wav"
    return answer.content


def transcript(served: Cluster, audio: bytes) -> str:
    answer = served.client.post("/v1/speech-to-text", files={"file": audio}, timeout=120)
    return answer.json()["text"]


def turn(served: Cluster, audio: bytes, **generation: Any) -> dict[str, Any]:
    form = {"generation_config": json.dumps(generation)}
    answer = served.client.post("/v1/dialogue", files={"file": audio}, data=form, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer.json()


def words(text: str) -> str:
    text = re.sub(r"\b\d\b", lambda digit: DIGITS[digit[0]], text.lower())
    return " ".join(re.findall(r"[a-z0-9']+", text))


@pytest.mark.parametrize("path", SPEECH, ids=lambda path: path.stem)
def test_a_recording_gives_the_text_that_bare_faster_whisper_gives(
    served: Cluster, path: Path
) -> None:
    model = WhisperModel(str(resolve_weights("stt.model", "tiny.en", "whisper")), "cpu")
    # Without sampling: the library's fallback draws at random, also when it is used bare.
    segments, _ = model.transcribe(str(path), vad_filter=True, temperature=0)
    answer = served.client.post(
        "/v1/speech-to-text", files={"file": path.read_bytes()}, data={"temperature": "0"}
    )
    assert answer.json()["text"] == "".join(segment.text for segment in segments).strip()


def test_the_capital_of_france_comes_back_as_speech(served: Cluster) -> None:
    answer = turn(served, spoken(served, "What is the capital of France?"), seed=1)
    assert "the capital of france" in words(answer["transcript"]["text"])
    assert "Paris" in answer["response_text"]
    heard = transcript(served, base64.b64decode(answer["audio_base64"]))
    # tiny.en hears this voice's "France is" as "Francis", and the voice is never twice the same.
    assert jiwer.wer(words(answer["response_text"]), words(heard)) <= 0.5, heard
    timings = answer["timings"]
    order = [
        "decode_s",
        "transcript_s",
        "first_token_s",
        "first_clause_s",
        "first_audio_s",
        "total_s",
    ]
    assert [timings[phase] for phase in order] == sorted(timings[phase] for phase in order)


def test_ten_replies_are_spoken_as_they_are_written(served: Cluster) -> None:
    written: list[str] = []
    heard: list[str] = []
    for number, question in enumerate(QUESTIONS):
        answer = turn(served, spoken(served, question), seed=number, max_tokens=60)
        written.append(words(answer["response_text"]))
        heard.append(words(transcript(served, base64.b64decode(answer["audio_base64"]))))
    assert all(written)
    assert jiwer.wer(written, heard) <= 0.15, list(zip(written, heard, strict=True))


def test_the_instructions_are_computed_once_and_what_is_computed_is_counted(
    served: Cluster,
) -> None:
    question = spoken(served, QUESTIONS[0])
    for _ in range(2):
        assert turn(served, question, max_tokens=20)["response_text"]

    def counted() -> bool:
        page = served.metrics()
        written = page.total("app_llm_written_tokens_total")
        return written > 20 and page.total("app_llm_reused_tokens_total") > 20

    eventually(counted, 20, "the tokens of the model are on the metrics page")


def test_the_first_audio_leaves_while_the_model_is_still_writing(served: Cluster) -> None:
    form = {
        "stream_audio": "true",
        "instructions": "Answer in two long sentences.",
        "generation_config": json.dumps({"seed": 3, "max_tokens": 120}),
    }
    question = spoken(served, "Please tell me all about the sea.")
    events: list[str] = []
    audio = b""
    with served.client.stream(
        "POST", "/v1/dialogue", files={"file": question}, data=form, timeout=120
    ) as answer:
        for line in answer.iter_lines():
            event = json.loads(line)
            events.append(event["event"])
            if event["event"] == "audio_chunk":
                audio += base64.b64decode(event["data"]["audio_base64"])
    assert events[:2] == ["metadata", "transcript"]
    assert events[-1] == "done"
    assert events.count("assistant_text_delta") > 60
    assert events.index("audio_chunk") < events.index("assistant_text")
    with av.open(io.BytesIO(audio)) as container:
        rates = {frame.sample_rate for frame in container.decode(audio=0)}
    assert rates == {22_050}
