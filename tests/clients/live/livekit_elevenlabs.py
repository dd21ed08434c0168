"""LiveKit's plugin for ElevenLabs: livekit_elevenlabs.py URL VOICE FOLDER SCENARIO…"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import speech
from livekit.plugins import elevenlabs

URL, VOICE, FOLDER, *SCENARIOS = sys.argv[1:]
TEXT = ("Hello there, this is ", "a test of the voice. ", "It has two sentences. ", "Goodbye.")


async def spoken(voice: elevenlabs.TTS, enough_s: float | None = None) -> dict[str, Any]:
    """Have a text spoken that comes piece by piece; stop when enough of it was heard."""
    audio, words, first_s = b"", [], None
    start = time.monotonic()
    async with voice.stream() as stream:

        async def write() -> None:
            for piece in TEXT:
                stream.push_text(piece)
                await asyncio.sleep(0.05)
            stream.end_input()

        writing = asyncio.create_task(write())
        async for event in stream:
            first_s = first_s or time.monotonic() - start
            audio += bytes(event.frame.data)
            timed = event.frame.userdata.get("lk.timed_transcripts", [])
            words += [[str(word), word.start_time, word.end_time] for word in timed]
            if enough_s is not None and len(audio) / 2 / speech.RATE > enough_s:
                break
        writing.cancel()
    return {
        "text": "".join(TEXT),
        "audio": speech.write(Path(FOLDER) / f"elevenlabs_{time.monotonic_ns()}.wav", audio),
        "audio_s": len(audio) / 2 / speech.RATE,
        "first_s": first_s,
        "words": words,
    }


async def stream(voice: elevenlabs.TTS) -> list[dict[str, Any]]:
    """Three texts over one connection; the second one is broken off."""
    return [await spoken(voice), await spoken(voice, 0.3), await spoken(voice)]


async def chunked(voice: elevenlabs.TTS) -> dict[str, Any]:
    """A whole text over HTTP."""
    frame = await voice.synthesize("".join(TEXT)).collect()
    return {"audio_s": frame.duration, "rate": frame.sample_rate}


async def main() -> None:
    known = {each.__name__: each for each in (stream, chunked)}
    async with aiohttp.ClientSession() as http:
        voice = elevenlabs.TTS(
            voice_id=VOICE,
            base_url=URL,
            api_key="none",
            encoding="pcm_24000",
            http_session=http,
            voice_settings=elevenlabs.VoiceSettings(stability=0.5, similarity_boost=0.75),
        )
        speech.report({name: await known[name](voice) for name in SCENARIOS})
        await voice.aclose()


asyncio.run(main())
