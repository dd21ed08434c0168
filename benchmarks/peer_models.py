"""llama-cpp-python and Piper behind the two OpenAI calls that `speech-to-speech` makes.

Its own models are others; this way it writes with the model and speaks with the voice that are
served: `python -m benchmarks.peer_models PORT [CONFIG]`.
"""

import json
import sys
import threading
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import soxr
import uvicorn
import yaml
from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import iterate_in_threadpool

from benchmarks.bare_models import bare_llama, bare_piper
from configs.settings import AppSettings, LlamaCppSettings, PiperSettings, load_settings

RATE = 24_000

Item = TypeVar("Item")
_ROLES = {"developer": "system"}


def build_api(settings: AppSettings) -> FastAPI:
    """Both calls; one text is written, and one spoken, at a time."""
    assert isinstance(settings.llm, LlamaCppSettings)
    assert isinstance(settings.tts, PiperSettings)
    llm, voice = bare_llama(settings.llm), bare_piper(settings.tts)
    writing, speaking = threading.Lock(), threading.Lock()
    api = FastAPI()

    def completion(messages: list[dict[str, Any]], *, stream: bool) -> Any:
        options = settings.spoken_sampling.model_dump()
        return llm.create_chat_completion(cast("Any", messages), stream=stream, **options)

    def written(messages: list[dict[str, Any]]) -> Generator[str, None, None]:
        with writing:
            for chunk in completion(messages, stream=True):
                yield f"data: {json.dumps(chunk)}\n\n"
        yield "data: [DONE]\n\n"

    def spoken(text: str) -> Generator[bytes, None, None]:
        with speaking:
            for chunk in voice.synthesize(text):
                samples = np.frombuffer(chunk.audio_int16_bytes, np.int16)
                yield soxr.resample(samples, chunk.sample_rate, RATE).tobytes()

    @api.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": "peer", "object": "model", "created": 0}]}

    @api.post("/v1/chat/completions")
    def chat(body: dict[str, Any]) -> Response:
        messages = [
            {"role": _ROLES.get(each["role"], each["role"]), "content": _text(each["content"])}
            for each in body["messages"]
        ]
        if body.get("stream"):
            return StreamingResponse(_closed(written(messages)), media_type="text/event-stream")
        with writing:  # its warm-up
            return JSONResponse(completion(messages, stream=False))

    @api.post("/v1/audio/speech")
    def speech(body: dict[str, Any]) -> StreamingResponse:
        return StreamingResponse(_closed(spoken(body["input"])), media_type="audio/pcm")

    return api


async def _closed(items: Generator[Item, None, None]) -> AsyncGenerator[Item, None]:
    """The same items; the work stops, and its lock is free, as soon as nobody wants them."""
    try:
        async for item in iterate_in_threadpool(items):
            yield item
    finally:
        items.close()


def _text(content: str | list[dict[str, Any]] | None) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content or ())


def main() -> None:
    """Serve on this machine alone."""
    path = Path(sys.argv[2] if len(sys.argv) > 2 else "serve_config.yaml")
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    settings, _ = load_settings(tree["applications"][0]["args"])
    uvicorn.run(build_api(settings), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()
