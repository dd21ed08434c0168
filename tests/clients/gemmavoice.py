"""GemmaVoice-SpeechAPI's documented REST calls: its methods, paths, fields, headers and streams."""

import base64
import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.clients.openai_python import is_question
from tests.clients.target import QUESTION, Target
from tests.unit.http_answers import decoded, ndjson_events, problem, sse_events

FORMATS = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "pcm": "audio/pcm",
}
TEXT = "Today is a wonderful day to build something people love!"
ALL_SAMPLING = {
    "max_tokens": 32,
    "temperature": 0.2,
    "top_p": 0.95,
    "top_k": 40,
    "repeat_penalty": 1.1,
    "stop": ["###"],
    "seed": 7,
    "min_p": 0.05,
    "tfs_z": 1.0,
    "typical_p": 1.0,
}
# As its README has them, but for the address, and without the pipe behind them.
HEALTH = "curl http://localhost:6666/health"
GENERATE = """curl -X POST http://localhost:6666/v1/generate \
-H "Content-Type: application/json" \
-d '{
  "prompt": "What is the significance of the GGUF model format in the local LLM community?",
  "max_tokens": 256
}'"""
HEAR = """curl -X POST "http://localhost:6666/v1/speech-to-text" \
     -H "Authorization: Bearer key" \
     -F "file=@sample.wav" \
     -F "language=en" """
SPEAK = """curl -X POST "http://localhost:6666/v1/text-to-speech" \
     -H "Content-Type: application/json" \
     -d '{
       "text": "Today is a wonderful day to build something people love!",
       "format": "wav",
       "reference_id": "default"
     }'"""


class GemmaVoiceCalls:
    """The suite; a subclass gives the fixture `target`."""

    @pytest.fixture
    def http(self, target: Target) -> Iterator[httpx2.Client]:
        with httpx2.Client(base_url=target.url, timeout=120, trust_env=False) as client:
            yield client

    # ---- its README's samples ----

    @pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on the PATH")
    def test_the_samples_of_its_readme_work(self, target: Target, tmp_path: Path) -> None:
        (tmp_path / "sample.wav").write_bytes(QUESTION.read_bytes())

        def answer(sample: str) -> Any:
            command = shlex.split(sample.replace("http://localhost:6666", target.url))
            command[1:1] = ["--silent", "--fail", "--max-time", "120"]
            return json.loads(subprocess.check_output(command, cwd=tmp_path))

        assert answer(HEALTH)["status"] == "healthy"
        assert answer(GENERATE)["generated_text"]
        assert is_question(answer(HEAR)["text"])
        _, seconds = decoded(base64.b64decode(answer(SPEAK)["audio_base64"]))
        assert seconds > 2

    # ---- state ----

    def test_health_tells_of_every_stage(self, http: httpx2.Client) -> None:
        health = http.get("/health").json()
        assert set(health) == {"status", "components", "version"}
        assert set(health["components"]) == {"llm", "stt", "tts"}
        for stage, component in health["components"].items():
            assert set(component) == {"status", "message", "details"}
            assert http.get(f"/health/{stage}").json() == component
        assert http.get("/health/ready").json() == {
            "ready": True, "llm": True, "stt": True, "tts": True,
        }  # fmt: skip
        assert http.get("/health/live").json() == {"status": "alive"}

    @pytest.mark.parametrize("path", ["/metrics", "/docs", "/openapi.json"])
    def test_the_open_pages_are_there(self, http: httpx2.Client, path: str) -> None:
        assert http.get(path).status_code == 200

    def test_the_models_are_listed_and_each_is_found(self, http: httpx2.Client) -> None:
        models = http.get("/v1/models").json()["models"]
        assert models
        for model in models:
            assert {"id", "name", "description"} <= set(model)
            assert http.get(f"/v1/models/{model['id']}").json()["id"] == model["id"]

    def test_the_rooms_of_livekit_tell_whether_they_are_open(self, http: httpx2.Client) -> None:
        assert set(http.get("/v1/livekit/status").json()) == {"enabled", "url", "default_room"}

    # ---- text ----

    def test_a_prompt_is_answered_with_every_field_it_can_have(self, http: httpx2.Client) -> None:
        body = {"prompt": "Say hello.", "system_prompt": "You are kind.", **ALL_SAMPLING}
        answer = http.post("/v1/generate", json=body)
        assert list(answer.json()) == ["generated_text"]
        assert answer.json()["generated_text"]

    def test_an_answer_comes_as_events(self, http: httpx2.Client) -> None:
        answer = http.post("/v1/generate_stream", json={"prompt": "Say hello.", "max_tokens": 16})
        assert answer.headers["content-type"].startswith("text/event-stream")
        *texts, usage, done = sse_events(answer.text)
        assert all(name == "text" and list(data) == ["text"] for name, data in texts)
        assert "".join(data["text"] for _, data in texts)
        assert usage[0] == "usage"
        assert {"total_tokens", "finish_reason"} <= set(usage[1])
        assert done == ("done", {})

    def test_an_answer_comes_as_lines(self, http: httpx2.Client) -> None:
        answer = http.post(
            "/v1/generate_stream",
            json={"prompt": "Say hello.", "max_tokens": 16},
            headers={"Accept": "application/x-ndjson"},
        )
        texts = [json.loads(line)["generated_text"] for line in answer.text.splitlines()]
        assert len(texts) > 1
        assert all(later.startswith(text) for text, later in pairwise(texts))

    # ---- speech to text ----

    def test_a_recording_is_transcribed(self, http: httpx2.Client) -> None:
        fields = {"language": "en", "prompt": "France", "response_format": "json"}
        answer = http.post(
            "/v1/speech-to-text",
            files={"file": ("sample.wav", QUESTION.read_bytes(), "audio/wav")},
            data=fields | {"temperature": "0"},
        ).json()
        assert is_question(answer["text"])
        assert answer["language"] == "en"
        for segment in answer["segments"]:
            assert {"id", "start", "end", "text"} <= set(segment)

    # ---- text to speech ----

    def test_speech_comes_as_json(self, http: httpx2.Client) -> None:
        answer = http.post("/v1/text-to-speech", json={"text": TEXT})
        speech = answer.json()
        assert set(speech) == {"audio_base64", "response_format", "media_type", "sample_rate"}
        rate, seconds = decoded(base64.b64decode(speech["audio_base64"]))
        assert rate == speech["sample_rate"] == int(answer.headers["x-sample-rate"])
        assert speech["response_format"] == answer.headers["x-audio-format"]
        assert seconds > 2

    def test_openais_names_mean_the_same(self, http: httpx2.Client) -> None:
        body = {"input": TEXT, "response_format": "flac", "reference_id": "default"}
        answer = http.post("/v1/text-to-speech", json=body)
        assert answer.json()["media_type"] == "audio/flac"
        assert answer.json()["reference_id"] == answer.headers["x-reference-id"]

    @pytest.mark.parametrize("name", FORMATS)
    def test_speech_comes_bare_in_every_format_and_at_the_rate_that_is_asked_for(
        self, http: httpx2.Client, name: str
    ) -> None:
        answer = http.post(
            "/v1/text-to-speech",
            json={"text": TEXT, "format": name, "sample_rate": 24_000},
            headers={"Accept": "audio/*"},
        )
        assert answer.headers["content-type"].split(";")[0] == FORMATS[name]
        assert answer.headers["x-sample-rate"] == "24000"
        if name == "pcm":
            seconds = len(answer.content) / 48_000
        else:
            rate, seconds = decoded(answer.content)
            assert rate == (48_000 if name == "ogg" else 24_000)  # Opus is decoded at its own rate
        assert 2 < seconds < 10

    def test_every_field_of_speech_is_taken(self, http: httpx2.Client) -> None:
        body = {
            "text": TEXT,
            "format": "wav",
            "sample_rate": 16_000,
            "reference_id": "default",
            "normalize": True,
            "references": [],
            "temperature": 0.7,
            "chunk_length": 200,
            "latency": "normal",
            "speed": 2.0,
            "volume": -6.0,
            "stream": False,
        }
        fast = http.post("/v1/text-to-speech", json=body)
        assert fast.status_code == 200, fast.text
        plain = http.post("/v1/text-to-speech", json=body | {"speed": 1.0})
        seconds = [
            decoded(base64.b64decode(each.json()["audio_base64"]))[1] for each in (fast, plain)
        ]
        assert seconds[0] < 0.7 * seconds[1]

    def test_speech_is_streamed_as_events(self, http: httpx2.Client) -> None:
        answer = http.post("/v1/text-to-speech", json={"text": TEXT, "stream": True})
        assert answer.headers["content-type"].startswith("text/event-stream")
        *chunks, done = sse_events(answer.text)
        assert {name for name, _ in chunks} == {"audio_chunk"}
        assert done == ("done", {"status": "complete"})
        rate, seconds = decoded(b"".join(base64.b64decode(data) for _, data in chunks))
        assert str(rate) == answer.headers["x-sample-rate"]
        assert seconds > 2

    def test_speech_is_streamed_bare(self, http: httpx2.Client) -> None:
        body = {"text": "Welcome to the API!", "stream": True, "format": "wav"}
        answer = http.post("/v1/text-to-speech", json=body, headers={"Accept": "audio/wav"})
        assert answer.headers["content-type"] == "audio/wav"
        assert decoded(answer.content)[1] > 0.5

    def test_a_reference_comes_back_encoded(self, http: httpx2.Client) -> None:
        audio = QUESTION.read_bytes()
        answer = http.post("/v1/encode-reference", files={"file": ("a.wav", audio, "audio/wav")})
        assert base64.b64decode(answer.json()["reference_base64"]) == audio

    # ---- dialogue ----

    @pytest.mark.parametrize("path", ["/v1/conversation/dialogue", "/v1/dialogue"])
    def test_a_spoken_turn_is_answered(self, http: httpx2.Client, path: str) -> None:
        answer = http.post(path, **self._turn())
        turn = answer.json()
        assert {
            "transcript", "response_text", "audio_base64", "response_format", "media_type",
            "sample_rate",
        } <= set(turn)  # fmt: skip
        assert is_question(turn["transcript"]["text"])
        assert turn["response_text"]
        assert decoded(base64.b64decode(turn["audio_base64"]))[0] == turn["sample_rate"] == 16_000

    def test_a_spoken_turn_is_streamed(self, http: httpx2.Client) -> None:
        answer = http.post("/v1/conversation/dialogue", **self._turn(stream_audio="true"))
        events = ndjson_events(answer.text)
        names = [name for name, _ in events if name != "assistant_text_delta"]
        assert names[:2] == ["metadata", "transcript"]
        assert names[-1] == "done"
        assert set(names[2:-1]) == {"assistant_text", "audio_chunk"}
        data = dict(events)
        assert is_question(data["transcript"]["text"])
        assert data["assistant_text"]["text"]
        audio = [piece["audio_base64"] for name, piece in events if name == "audio_chunk"]
        rate, _ = decoded(b"".join(map(base64.b64decode, audio)))
        assert rate == data["metadata"]["sample_rate"]

    def _turn(self, **fields: str) -> dict[str, Any]:
        return {
            "files": {"file": ("question.wav", QUESTION.read_bytes(), "audio/wav")},
            "data": {
                "instructions": "Answer in one short sentence.",
                "generation_config": json.dumps({"max_tokens": 32, "temperature": 0.2, "seed": 1}),
                "synthesis_config": json.dumps({"format": "wav", "sample_rate": 16_000}),
                **fields,
            },
        }

    # ---- errors and keys ----

    def test_an_error_names_the_field(self, http: httpx2.Client) -> None:
        answer = http.post("/v1/generate", json={"prompt": "Hello", "max_tokens": 0})
        assert problem(answer) == (400, "invalid_parameter", "max_tokens")

    def test_keys_are_asked_for_in_its_header(self, target: Target) -> None:
        if target.keyed_url is None:
            pytest.skip("no key is asked for here")
        with httpx2.Client(base_url=target.keyed_url, trust_env=False) as http:

            def status(**headers: str) -> int:
                return http.get("/v1/models", headers=headers).status_code

            assert status() == 401
            assert status(**{"X-API-Key": "wrong"}) == 403
            assert status(**{"X-API-Key": target.api_key}) == 200
            assert http.get("/health").status_code == 200
