"""A server in this process that speaks fish-speech's protocol and OpenAI's, on the fake engines."""

import base64
import io
import threading
import time
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from configs.settings import FakeSttSettings, FakeTtsSettings
from deployments.audio import Pcm
from deployments.errors import UnsupportedLanguage
from deployments.languages import language_name
from deployments.messages import SpeechRequest, TranscriptionRequest
from deployments.stt.engine import whole_transcript
from deployments.stt.fake import FakeSttEngine
from deployments.tts.fake import FakeTtsEngine

RATE = 44_100
KEY = "key-of-the-remote"


class RemoteSpeech:
    """What it was asked for, and how it answers."""

    def __init__(self, said: str = "What is the capital of France?") -> None:
        self.asked: list[dict[str, Any]] = []
        self._voice = FakeTtsEngine(
            FakeTtsSettings(first_audio_s=0, real_time_factor=0, sample_rate=RATE)
        )
        self._ear = FakeSttEngine(FakeSttSettings(text=said, latency_s=0))
        self.app = Starlette(
            routes=[
                Route("/v1/tts", self.speak, methods=["POST"]),
                Route("/v1/health", self.health),
                Route("/v1/models", self.health),
                Route("/v1/audio/transcriptions", self.hear, methods=["POST"]),
                Route("/v1/audio/translations", self.hear, methods=["POST"]),
            ]
        )

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def speak(self, request: Request) -> Response:
        """As fish-speech: a stream is bare samples, whatever its type says."""
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"statusCode": 401, "message": "Invalid token"}, 401)
        body = await request.json()
        self.asked.append(body)
        voice = "high" if body.get("reference_id") == "high" or body.get("references") else "tone"
        for reference in body.get("references", ()):
            with wave.open(io.BytesIO(base64.b64decode(reference["audio"]))) as file:
                assert file.getnframes() > 0
        pieces = list(self._voice.synthesize(SpeechRequest(body["text"], voice), threading.Event()))
        samples = b"".join(piece.samples for piece in pieces)
        if not body["streaming"]:
            return Response(wav(Pcm(samples, RATE)), media_type="audio/wav")
        return StreamingResponse(_odd_pieces(samples), media_type="audio/wav")

    async def hear(self, request: Request) -> Response:
        form = await request.form()
        fields = {name: form.getlist(name) for name in form if name != "file"}
        self.asked.append({"path": request.url.path, **fields})
        upload: Any = form["file"]
        with wave.open(upload.file, "rb") as file:
            audio = Pcm(file.readframes(file.getnframes()), file.getframerate())
        wish = TranscriptionRequest(
            audio,
            language=str(form.get("language")) if "language" in form else None,
            temperature=float(str(form.get("temperature", 0))),
            word_timestamps="word" in form.getlist("timestamp_granularities[]"),
        )
        try:
            heard = whole_transcript(self._ear.transcribe(wish, threading.Event()))
        except UnsupportedLanguage as error:
            detail = {"message": str(error), "param": "language", "code": error.code}
            return JSONResponse({"error": detail}, 400)
        answer: dict[str, Any] = {"text": heard.text}
        if form.get("response_format") == "verbose_json":
            answer |= {
                "language": language_name(heard.language),
                "duration": heard.duration_s,
                "segments": [
                    {"start": each.start_s, "end": each.end_s, "text": each.text, "id": each.id - 1}
                    | {"temperature": each.temperature, "avg_logprob": each.avg_logprob}
                    for each in heard.segments
                ],
                "words": [
                    {"word": word.text.strip(), "start": word.start_s, "end": word.end_s}
                    for each in heard.segments
                    for word in each.words
                ],
            }
        return JSONResponse(answer)


def wav(audio: Pcm) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setparams((1, 2, audio.sample_rate, 0, "NONE", ""))
        written.writeframes(audio.samples)
    return file.getvalue()


async def _odd_pieces(samples: bytes) -> AsyncIterator[bytes]:
    """Pieces that end in the middle of a sample."""
    step = 30_001
    for start in range(0, len(samples), step):
        yield samples[start : start + step]


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an application in a thread; its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
