"""Random joins, leaves, cancels, forks and cuts over one engine, with a checker.

Every reply that is read to its end must be, token for token, what the bare library writes for the same
prompt in an empty context; one that is cancelled must be a beginning of it. At the end nothing may be
left: no sequence in use, no cell that nobody holds, no more memory than in the middle.

    python -m benchmarks.llm_soak --seconds 600
"""

# ruff: noqa: SLF001 - it looks into the engine

import argparse
import os
import random
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import llama_cpp

from benchmarks.spread import machine
from configs.settings import LlamaCppSettings
from deployments.llm.llama_cpp import LlamaCppEngine
from deployments.messages import (
    ChatMessage,
    GenerationRequest,
    Origin,
    Sampling,
    TextDelta,
)
from deployments.weights import resolve_weights

SYSTEM = "You are a helpful assistant. Answer in one short sentence, and be kind to everybody. " * 4
QUESTIONS = (
    ("What is the capital of France?", "And of Italy?", "Which one is older, and why?"),
    ("Count to five.", "Now backwards. " * 30, "Thanks a lot."),
    ("the quick brown fox jumps over the lazy dog " * 60, "What was that?", "Say it again."),
    ("Name three colours.", "Name two more.", "Which is yours?"),
)
REPLY_TOKENS = 16


@dataclass(frozen=True)
class Case:
    """A prompt, and what the bare library writes."""

    messages: tuple[ChatMessage, ...]
    expected: str


@dataclass
class Tally:
    """What was done."""

    checked: int = 0
    cancelled: int = 0
    noise: int = 0
    wrong: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def cases(
    engine: LlamaCppEngine, settings: LlamaCppSettings, conversations: Sequence[Sequence[str]]
) -> list[Case]:
    """Conversations whose replies are kept whole, and cut where a listener stopped them."""
    bare = llama_cpp.Llama(
        str(resolve_weights("llm.model", settings.model, "gguf")),
        n_ctx=settings.context_tokens,
        n_threads=settings.threads,
        n_threads_batch=settings.threads,
        verbose=False,
    )
    found: list[Case] = []
    for questions in conversations:
        histories: list[tuple[ChatMessage, ...]] = [(ChatMessage("system", SYSTEM),)]
        for question in questions:
            longer: list[tuple[ChatMessage, ...]] = []
            for history in histories[:2]:
                messages = (*history, ChatMessage("user", question))
                reply = bare_reply(engine, bare, messages)
                found.append(Case(messages, reply))
                both = (reply, reply[: len(reply) // 2])
                longer += [(*messages, ChatMessage("assistant", said)) for said in both]
            histories = longer
    return found


def bare_reply(
    engine: LlamaCppEngine, bare: llama_cpp.Llama, messages: tuple[ChatMessage, ...]
) -> str:
    """What the library writes in an empty context, greedily."""
    prompt = engine._rendered(messages)
    assert len(prompt) + REPLY_TOKENS < bare.n_ctx(), len(prompt)
    bare.reset()
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(bare.ctx), True)  # noqa: FBT003
    written = b""
    for count, token in enumerate(bare.generate(prompt, temp=0.0, repeat_penalty=1.1), 1):
        if engine._vocabulary.is_end(token):
            break
        written += engine._vocabulary.bytes_of(token)
        if count == REPLY_TOKENS:
            break
    return written.decode("utf-8", "ignore")


def soak(engine: LlamaCppEngine, known: list[Case], seconds: float, callers: int) -> Tally:
    """Let callers come and go until the time is over."""
    tally, guard, until = Tally(), threading.Lock(), time.monotonic() + seconds

    def call(seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < until:
            case = chance.choice(known)
            kind = chance.choice(["whole", "whole", "cancel", "noise"])
            origin = Origin(chance.choice(["ada", "bob", None]), live=chance.random() < 0.5)
            sampling = Sampling(max_tokens=REPLY_TOKENS, temperature=0)
            if kind == "noise":
                sampling = Sampling(max_tokens=chance.randint(1, 60), temperature=0.9)
            stop = threading.Event()
            if kind == "cancel":
                threading.Timer(chance.random() * 1.5, stop.set).start()
            request = GenerationRequest(case.messages, sampling, origin=origin)
            try:
                text, ended = answer(engine, request, stop)
            except Exception as error:  # noqa: BLE001 - whatever it is, the soak has failed
                with guard:
                    tally.errors.append(repr(error))
            else:
                with guard:
                    note(tally, case, kind, text, ended=ended)
            time.sleep(chance.random() * 0.2)

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally


def answer(
    engine: LlamaCppEngine, request: GenerationRequest, stop: threading.Event
) -> tuple[str, bool]:
    """What was written, and whether it is the whole reply."""
    text, ended = "", False
    for event in engine.generate(request, stop):
        if isinstance(event, TextDelta):
            text += event.text
        else:
            ended = True
    return text, ended


def note(tally: Tally, case: Case, kind: str, text: str, *, ended: bool) -> None:
    if kind == "noise":
        tally.noise += 1
        return
    right = text == case.expected if ended else case.expected.startswith(text)
    if not ended and kind != "cancel":
        right = False
    if ended:
        tally.checked += 1
    else:
        tally.cancelled += 1
    if not right:
        tally.wrong.append(f"{case.messages[-1].content[:40]!r}: {text!r}, not {case.expected!r}")


def leaks(engine: LlamaCppEngine) -> list[str]:
    """What is left although nobody is there; the engine must be at rest."""
    deadline = time.monotonic() + 10
    while engine.counts().running or engine.counts().waiting:
        if time.monotonic() > deadline:
            return ["sequences are still in use"]
        time.sleep(0.01)
    found: list[str] = []
    for stream, held in enumerate(engine._cache._streams):
        cells = engine._context.held(stream)
        ready = 0 if held is None else held.ready
        if cells != ready:
            found.append(f"stream {stream} has {cells} cells for {ready} tokens")
        if held is not None and held.busy:
            found.append(f"stream {stream} is in use")
    return found


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded/smollm2-135m-instruct")
    parser.add_argument("--template", default="auto")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--callers", type=int, default=10)
    parser.add_argument("--streams", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    print(machine())
    settings = LlamaCppSettings.model_validate(
        {"model": options.model, "chat_template": options.template, "threads": options.threads}
        | {"parallel": options.streams, "context_tokens": 1536, "cache_tokens": 4096}
    )
    engine = LlamaCppEngine(settings, shared_prompts=(SYSTEM,))
    known = cases(engine, settings, QUESTIONS)
    failed = False
    memory: list[float] = []
    for half in (1, 2):
        tally = soak(engine, known, options.seconds / 2, options.callers)
        left = leaks(engine)
        memory.append(resident_mib())
        print(
            f"half {half}: {tally.checked} replies checked, {tally.cancelled} cancelled, "
            f"{tally.noise} others, {len(tally.wrong)} wrong, {len(tally.errors)} failed; left: {left or 'nothing'}; "
            f"{memory[-1]:.0f} MiB"
        )
        for flaw in (*tally.wrong[:5], *tally.errors[:5]):
            print(f"  {flaw}")
        failed = failed or bool(tally.wrong or tally.errors or left) or tally.checked == 0
    growth = memory[1] - memory[0]
    print(f"{engine.counts()}\nmemory grew by {growth:.0f} MiB behind the middle")
    return int(failed or growth > 100)


if __name__ == "__main__":
    sys.exit(main())
