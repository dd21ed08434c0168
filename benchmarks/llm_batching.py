"""Many replies at once: this engine, a locked `Llama`, and `xllamacpp` if its Python is named.

Greedy, the same threads, prompts that nobody has seen, the systems one after the other and in turns
(A-B-C-C-B-A), in one run on a quiet machine. Then what a known prefix saves, and what a client that
goes away costs the others. `--peer` is the Python of an environment with xllamacpp:
`benchmarks/xllamacpp_peer.py` says how to make one.
"""

import argparse
import json
import secrets
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import llama_cpp

from benchmarks.spread import Goal, conclude, machine, percentile, ratio
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

PEER = Path(__file__).with_name("xllamacpp_peer.py")
LOCKED = Path(__file__).with_name("locked_llama.py")
CONTEXT_TOKENS = 2048
PAUSE_S = 0.1  # between two callers who come one after the other
PARTS = ("throughput", "staggered", "single", "prefix", "cancel")
WORDS = (
    "river", "stone", "garden", "winter", "letter", "market", "engine", "silver", "island", "window",
    "summer", "forest", "bridge", "candle", "planet", "button", "ladder", "coffee", "mirror", "violin",
)  # fmt: skip


@dataclass(frozen=True)
class Timing:
    """One reply: seconds to its first token and to its last one."""

    first_s: float
    total_s: float
    tokens: int
    text: str = ""


Round = Callable[[list[str], int], list[Timing]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded/smollm2-135m-instruct")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt-tokens", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-tokens", type=int, default=64)
    parser.add_argument("--gpu-layers", type=int, default=0)
    parser.add_argument("--peer", help="the Python of an environment with xllamacpp")
    parser.add_argument("--only", choices=PARTS, action="append")
    options = parser.parse_args()
    print(machine())
    bench = Bench(options)
    goals: list[Goal] = []
    for name in options.only or PARTS:
        goals += getattr(bench, name)()
    return conclude(goals)


class Bench:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.settings = LlamaCppSettings(
            model=options.model,
            parallel=options.streams,
            context_tokens=CONTEXT_TOKENS,
            threads=options.threads,
            batch_tokens=options.batch_tokens,
            gpu_layers=options.gpu_layers,
            flash_attention=options.gpu_layers != 0,
        )
        path = str(resolve_weights("llm.model", options.model, "gguf"))
        self.engine = LlamaCppEngine(self.settings, shared_prompts=(SYSTEM,))
        self.engine.warm_up()
        self.path = path
        self.tokenizer = llama_cpp.Llama(path, vocab_only=True, verbose=False)

    # ---- throughput ----

    def throughput(self) -> list[Goal]:
        """All streams at once."""
        options = self.options
        with ExitStack() as stack:
            locked = stack.enter_context(Locked(self.path, options))
            systems: dict[str, Round] = {"locked": locked, "ours": self.ours}
            if options.peer:
                systems["xllamacpp"] = stack.enter_context(
                    Xllamacpp(self.path, self.settings, options, self.tokenizer)
                )
            timings = self.compared(systems, options.streams)
        rates = {name: [rate(each) for each in rounds] for name, rounds in timings.items()}
        firsts = {
            name: [percentile([one.first_s for one in each], 95) for each in rounds]
            for name, rounds in timings.items()
        }
        for name in systems:
            print(
                f"{options.streams} streams, {name}: {statistics.median(rates[name]):.0f} tokens/s, "
                f"p95 first token {statistics.median(firsts[name]):.3f} s"
            )
        goals = [
            at_least("aggregate over a locked Llama", paired(rates, "ours", "locked"), 2.0),
            at_most("p95 first token over the lock's", paired(firsts, "ours", "locked"), 0.3),
        ]
        if options.peer:
            goals.append(
                at_least("aggregate over xllamacpp", paired(rates, "ours", "xllamacpp"), 1)
            )
        return goals

    def staggered(self) -> list[Goal]:
        """Callers who come one after the other, and whose replies end in another order."""
        with Locked(self.path, self.options) as locked:
            systems: dict[str, Round] = {
                "locked": locked.staggered,
                "ours": lambda prompts, tokens: staggered(self.ask_engine, prompts, tokens),
            }
            timings = self.compared(systems, self.options.streams)
        rates = {name: [rate(each) for each in rounds] for name, rounds in timings.items()}
        for name, values in rates.items():
            print(f"staggered, {name}: {statistics.median(values):.0f} tokens/s")
        return [at_least("staggered over a locked Llama", paired(rates, "ours", "locked"), 1.5)]

    def single(self) -> list[Goal]:
        """One stream."""
        with Locked(self.path, self.options) as bare:
            timings = self.compared({"bare": bare, "ours": self.ours}, 1)
        rates = {name: [rate(each) for each in rounds] for name, rounds in timings.items()}
        for name, values in rates.items():
            print(f"1 stream, {name}: {statistics.median(values):.1f} tokens/s")
        return [at_least("single stream over bare", paired(rates, "ours", "bare"), 0.97)]

    def compared(self, systems: dict[str, Round], streams: int) -> dict[str, list[list[Timing]]]:
        """The rounds of each system, taken in turns."""
        found: dict[str, list[list[Timing]]] = {name: [] for name in systems}
        for run in systems.values():
            run([text(self.options.prompt_tokens) for _ in range(streams)], 8)
        for number in range(self.options.rounds):
            order = list(systems)
            for name in order if number % 2 == 0 else reversed(order):
                prompts = [text(self.options.prompt_tokens) for _ in range(streams)]
                found[name].append(systems[name](prompts, self.options.tokens))
        return found

    def ours(self, prompts: list[str], tokens: int) -> list[Timing]:
        """This engine."""
        return at_once([lambda p=prompt: self.ask_engine(p, tokens) for prompt in prompts])

    def ask_engine(self, prompt: str, tokens: int) -> Timing:
        return timed(self.engine, self.request(prompt, tokens))

    def request(self, prompt: str, tokens: int) -> GenerationRequest:
        # Nobody stops early: the bare library and the peer go on behind the end, too.
        end = ((self.tokenizer.token_eos(), -100.0),)
        sampling = Sampling(max_tokens=tokens, temperature=0, logit_bias=end)
        return GenerationRequest(sampling=sampling, prompt=prompt)

    # ---- prefixes ----

    def prefix(self) -> list[Goal]:
        """The tenth turn of a long conversation, and a new one with the operator's instructions."""
        later, shared = [], []
        for number in range(self.options.rounds):
            owner = f"warm {number}"
            ninth = conversation(1400)
            written = self.ask(ninth, owner, 80)
            tenth = (*ninth, ChatMessage("assistant", written.text), ChatMessage("user", text(10)))
            warm = self.ask(tenth, owner)
            later.append(warm.first_s / self.ask(tenth, f"cold {number}").first_s)
        for number in range(self.options.rounds):
            self.ask(operators(), f"first {number}")
            unknown = self.ask(operators(system=text(500)), f"cold shared {number}")
            known = self.ask(operators(), f"second {number}")
            shared.append(known.first_s / unknown.first_s)
        return [
            at_most("turn 10 of 1,500 tokens, first token over cold", later, 0.10),
            at_most("new session with a known system prompt over cold", shared, 0.15),
        ]

    def ask(self, messages: tuple[ChatMessage, ...], owner: str, tokens: int = 1) -> Timing:
        sampling = Sampling(max_tokens=tokens, temperature=0.7)
        return timed(self.engine, GenerationRequest(messages, sampling, origin=Origin(owner)))

    # ---- clients that go away ----

    def cancel(self) -> list[Goal]:
        """The others' rate once a neighbour is gone, over that of a round without one."""
        ratios: list[float] = []
        freed: list[int] = []
        left: list[int] = []
        for number in range(self.options.rounds):
            pair = {}
            for name in ("alone", "after") if number % 2 else ("after", "alone"):
                pair[name] = self.rate_around_a_cancel(name == "after", freed, left)
            ratios.append(pair["after"] / pair["alone"])
        print(f"steps until the stream was free: {sorted(set(freed))}")
        return [
            at_least("neighbours' rate after a cancel", ratios, 0.97),
            Goal("steps until a cancelled stream is free", max(freed), 1),
            Goal("cells that a cancelled stream keeps", max(left), 0),
        ]

    def rate_around_a_cancel(self, gone: bool, freed: list[int], left: list[int]) -> float:  # noqa: FBT001
        """The neighbours' rate from where all of them are half done; there, one more may go."""
        half, stop = self.options.tokens, threading.Event()
        length = 2 * half + 4 * self.options.streams
        prompts = [text(self.options.prompt_tokens) for _ in range(self.options.streams)]
        arrivals: list[list[float]] = [[] for _ in prompts[1:]]
        threads = [
            threading.Thread(target=self.note_arrivals, args=(prompt, length, each))
            for prompt, each in zip(prompts[1:], arrivals, strict=True)
        ]
        if gone:
            leaving = self.engine.generate(self.request(prompts[0], 1500), stop)
            next(leaving)
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and min(map(len, arrivals)) < half:
            time.sleep(0.0005)
        if gone:
            before = self.engine.counts().steps
            stop.set()
            streams = self.engine._cache._streams  # noqa: SLF001
            while None not in streams:
                time.sleep(0.0005)
            freed.append(self.engine.counts().steps - before)
            left.append(self.engine._context.held(streams.index(None)))  # noqa: SLF001
        for thread in threads:
            thread.join()
        return rate_together(arrivals, half)

    def note_arrivals(self, prompt: str, tokens: int, arrivals: list[float]) -> None:
        """When each token of a reply came."""
        for event in self.engine.generate(self.request(prompt, tokens), threading.Event()):
            if isinstance(event, TextDelta):
                arrivals += [time.perf_counter()] * event.tokens


class Process:
    """Another system, in a process of its own."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.version = self._answer()["ready"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)

    def asked(self, **question: object) -> list[Timing]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return [Timing(first_s, total_s, int(count)) for first_s, total_s, count in self._answer()]

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(("[", "{")):
                return json.loads(line)
        raise RuntimeError("the other system has ended")


class Locked(Process):
    """The library, one caller at a time; a `Round`."""

    def __init__(self, path: str, options: argparse.Namespace) -> None:
        numbers = (CONTEXT_TOKENS, options.threads, options.gpu_layers)
        super().__init__([sys.executable, str(LOCKED), path, *map(str, numbers)])

    def __call__(self, prompts: list[str], tokens: int) -> list[Timing]:
        return self.asked(prompts=prompts, max_tokens=[tokens] * len(prompts), pause_s=0)

    def staggered(self, prompts: list[str], tokens: int) -> list[Timing]:
        lengths = [length(number, len(prompts), tokens) for number in range(len(prompts))]
        return self.asked(prompts=prompts, max_tokens=lengths, pause_s=PAUSE_S)


class Xllamacpp(Process):
    """xllamacpp; a `Round`."""

    def __init__(
        self,
        path: str,
        settings: LlamaCppSettings,
        options: argparse.Namespace,
        tokenizer: llama_cpp.Llama,
    ) -> None:
        numbers = (options.streams, settings.context_tokens, options.threads)
        super().__init__([options.peer, str(PEER), path, *map(str, numbers)])
        self.tokenizer = tokenizer
        print(f"xllamacpp {self.version}")

    def __call__(self, prompts: list[str], tokens: int) -> list[Timing]:
        read = [self.tokenizer.tokenize(prompt.encode(), add_bos=False) for prompt in prompts]
        return self.asked(prompts=read, max_tokens=tokens)


def timed(engine: LlamaCppEngine, request: GenerationRequest) -> Timing:
    started, first_s, tokens, text = time.perf_counter(), 0.0, 0, ""
    for event in engine.generate(request, threading.Event()):
        if isinstance(event, TextDelta):
            first_s = first_s or time.perf_counter() - started
            text += event.text
        else:
            tokens = event.completion_tokens
    total_s = time.perf_counter() - started
    return Timing(first_s or total_s, total_s, tokens, text)


def at_once(works: Sequence[Callable[[], Timing]]) -> list[Timing]:
    found: list[Timing | None] = [None] * len(works)

    def run(number: int) -> None:
        found[number] = works[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [each for each in found if each is not None]


def staggered(
    ask: Callable[[str, int], Timing], prompts: list[str], tokens: int, pause_s: float = PAUSE_S
) -> list[Timing]:
    """A reply more each pause, of half to one and a half times the tokens; from the first start on."""
    count = len(prompts)

    def later(number: int) -> Timing:
        time.sleep(number * pause_s)
        timing = ask(prompts[number], length(number, count, tokens))
        return replace(timing, total_s=timing.total_s + number * pause_s)

    return at_once([lambda n=number: later(n) for number in range(count)])


def length(number: int, count: int, tokens: int) -> int:
    """The tokens of the reply that begins after so many others."""
    return tokens // 2 + tokens * (count - number) // count


def rate_together(arrivals: list[list[float]], half: int) -> float:
    """Tokens a second of all, between where the last one is half done and where the first one ends."""
    start = max(each[half - 1] for each in arrivals)
    end = min(each[-1] for each in arrivals)
    return sum(start < at <= end for each in arrivals for at in each) / (end - start)


def rate(timings: list[Timing]) -> float:
    """Tokens a second of all together."""
    return sum(each.tokens for each in timings) / max(each.total_s for each in timings)


def text(tokens: int) -> str:
    """Words that nobody has seen in this order; about one token each."""
    return " ".join(secrets.choice(WORDS) for _ in range(tokens))


SYSTEM = text(500)


def conversation(tokens: int) -> tuple[ChatMessage, ...]:
    """Eight turns of so many tokens in all, and the ninth question."""
    each = tokens // 16
    turns = [ChatMessage(role, text(each)) for _ in range(8) for role in ("user", "assistant")]
    return (*turns, ChatMessage("user", text(10)))


def operators(system: str = SYSTEM) -> tuple[ChatMessage, ...]:
    return (ChatMessage("system", system), ChatMessage("user", text(10)))


def paired(values: dict[str, list[float]], one: str, other: str) -> list[float]:
    return [a / b for a, b in zip(values[one], values[other], strict=True)]


def at_most(name: str, ratios: list[float], limit: float) -> Goal:
    print(f"{name}: {ratio(ratios)}")
    return Goal(name, statistics.median(ratios), limit)


def at_least(name: str, ratios: list[float], limit: float) -> Goal:
    """A goal from below, as its inverse."""
    print(f"{name}: {ratio(ratios)}")
    return Goal(f"1 / ({name})", 1 / statistics.median(ratios), 1 / limit)


if __name__ == "__main__":
    sys.exit(main())
