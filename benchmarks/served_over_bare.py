"""Served time over the bare library's: speech to text, first token, first audio; and idle memory.

Same model, threads and input, one after the other in one run (A-B-A-B); prints the median of the
paired ratios and their quartiles. `make bench`, on a quiet machine.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from benchmarks.bare_models import bare_llama, bare_piper, bare_whisper
from benchmarks.server import Server, serving
from configs.settings import load_settings

ROOT = Path(__file__).parent.parent
SPEECH = sorted((ROOT / "tests/data/speech").glob("en_*.wav"))
TOPICS = (
    "the sea", "old maps", "honey", "night trains", "glass", "chess", "rain", "bridges", "salt",
    "violins", "comets", "bread", "deserts", "clocks", "whales", "paper", "volcanoes", "bicycles",
    "silk", "lighthouses", "tea", "owls", "rivers", "coins", "kites", "amber", "tunnels", "moss",
    "windmills", "ink", "snow", "harbours",
)  # fmt: skip


def main() -> int:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--only", choices=["stt", "llm", "tts", "dialogue", "memory"])
    options = parser.parse_args()
    config = str(ROOT / "serve_config.yaml")
    tree = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    settings, _ = load_settings(tree["applications"][0]["args"])
    print(f"load average before: {os.getloadavg()[0]:.2f}, CPUs: {len(os.sched_getaffinity(0))}")
    with serving(config) as server:
        if options.only in (None, "memory"):
            memory(server)
        if options.only in (None, "stt"):
            compare("STT, whole transcript", *stt(server, settings.stt), options.rounds)
        if options.only in (None, "llm"):
            compare("LLM, first token", *llm(server, settings.llm), options.rounds)
        if options.only in (None, "tts"):
            compare("TTS, first audio", *tts(server, settings.tts), options.rounds)
        if options.only in (None, "dialogue"):
            dialogue(server, max(3, options.rounds // 3))
    return 0


Timed = Callable[[int], float]


def compare(name: str, served: Timed, bare: Timed, rounds: int) -> None:
    """Time both, alternating which goes first."""
    served(-1), bare(-1)
    pairs: list[tuple[float, float]] = []
    for i in range(rounds):
        if i % 2:
            first = bare(i)
            pairs.append((served(i), first))
        else:
            first = served(i)
            pairs.append((first, bare(i)))
    ratios = [s / b for s, b in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"{name}: served {1000 * statistics.median(s for s, _ in pairs):.0f} ms, "
        f"bare {1000 * statistics.median(b for _, b in pairs):.0f} ms, "
        f"ratio median {middle:.3f} (quartiles {low:.3f} to {high:.3f}, n={rounds})"
    )


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def stt(server: Server, settings) -> tuple[Timed, Timed]:
    """The same recording through the server and through faster-whisper."""
    model = bare_whisper(settings)

    def served(i: int) -> float:
        data = SPEECH[i % len(SPEECH)].read_bytes()
        return timed(lambda: server.client.post("/v1/speech-to-text", files={"file": data}))

    def bare(i: int) -> float:
        def work() -> None:
            segments, _ = model.transcribe(
                str(SPEECH[i % len(SPEECH)]),
                beam_size=settings.beam_size,
                vad_filter=settings.vad_filter,
            )
            list(segments)

        return timed(work)

    return served, bare


def llm(server: Server, settings) -> tuple[Timed, Timed]:
    """First token of a new question with the same system prompt, both with their caches."""
    model = bare_llama(settings)
    system = "You are a helpful assistant."

    def served(i: int) -> float:
        body = {"prompt": question(i), "system_prompt": system, "max_tokens": 8}

        start = time.perf_counter()
        mark = 0.0
        with server.client.stream("POST", "/v1/generate_stream", json=body) as response:
            for line in response.iter_lines():
                if line == "event: text":
                    mark = mark or time.perf_counter() - start
        return mark

    def bare(i: int) -> float:
        messages = [
            {"role": "system", "content": system},
            {"role": "user", "content": question(i)},
        ]
        start = time.perf_counter()
        mark = 0.0
        for chunk in model.create_chat_completion(messages, stream=True, max_tokens=8):
            if chunk["choices"][0]["delta"].get("content"):
                mark = mark or time.perf_counter() - start
        return mark

    return served, bare


def question(i: int) -> str:
    """A question that no other round asks."""
    return f"Tell me, in a few plain words, something about {TOPICS[i % len(TOPICS)]}, please."


def tts(server: Server, settings) -> tuple[Timed, Timed]:
    """First audio of the same sentence."""
    voice = bare_piper(settings)

    def served(i: int) -> float:
        body = {"text": sentence(i), "stream": True, "format": "wav"}
        headers = {"Accept": "audio/wav"}
        start = time.perf_counter()
        mark, received = 0.0, 0
        with server.client.stream("POST", "/v1/text-to-speech", json=body, headers=headers) as r:
            for data in r.iter_bytes():
                received += len(data)
                if received > 44:  # the header alone is no audio
                    mark = mark or time.perf_counter() - start
        return mark

    def bare(i: int) -> float:
        start = time.perf_counter()
        mark = 0.0
        for chunk in voice.synthesize(sentence(i)):
            mark = mark or time.perf_counter() - start
            _ = chunk.audio_int16_bytes
        return mark

    return served, bare


def sentence(i: int) -> str:
    """A sentence that no other round speaks."""
    topic = TOPICS[i % len(TOPICS)]
    return f"There is a lot to be said about {topic}, and most of it is true."


def dialogue(server: Server, rounds: int) -> None:
    """When the first audio of a streamed turn leaves, over when the whole reply is spoken."""
    print("Dialogue, streamed (one reply a line; the promise is for replies over 60 tokens):")
    speech = {"text": "Please tell me all about the sea, and about the wind above it."}
    audio = server.client.post(
        "/v1/text-to-speech", json=speech, headers={"Accept": "audio/wav"}
    ).content
    for i in range(rounds):
        form = {
            "stream_audio": "true",
            "instructions": "Answer in two long sentences.",
            "generation_config": json.dumps({"max_tokens": 160, "seed": i}),
        }
        start = time.perf_counter()
        first, deltas = 0.0, 0
        with server.client.stream(
            "POST", "/v1/dialogue", files={"file": audio}, data=form
        ) as response:
            for line in response.iter_lines():
                event = json.loads(line)["event"]
                deltas += event == "assistant_text_delta"
                if event == "audio_chunk":
                    first = first or time.perf_counter() - start
        total = time.perf_counter() - start
        print(
            f"  about {deltas} tokens: first audio {first:.2f} s, whole reply {total:.2f} s, "
            f"ratio {first / total:.2f}"
        )


def memory(server: Server) -> None:
    """Idle resident memory of every process."""
    rows = server.memory_mb()
    print("Idle memory, MB (resident / own):")
    for name, resident, own in rows:
        print(f"  {resident:7.0f} {own:7.0f}  {name}")
    print(f"  {sum(r for _, r, _ in rows):7.0f} {sum(o for _, _, o in rows):7.0f}  all")


if __name__ == "__main__":
    sys.exit(main())
