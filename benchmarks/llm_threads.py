"""Threads of the language model, on a quiet machine and beside a busy neighbour.

Tokens a second of one and of several replies at once, for each number of threads.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import time

from benchmarks.llm_batching import at_once, rate, text, timed
from benchmarks.spread import machine
from configs.settings import LlamaCppSettings
from deployments.llm.llama_cpp import LlamaCppEngine
from deployments.messages import GenerationRequest, Sampling


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded/smollm2-135m-instruct")
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    cpus = len(os.sched_getaffinity(0))
    for threads in sorted({1, max(cpus // 2, 1), cpus}):
        engine = LlamaCppEngine(
            LlamaCppSettings(
                model=options.model, parallel=options.streams, context_tokens=512, threads=threads
            )
        )
        engine.warm_up()
        for neighbours in (0, 1):
            busy = [
                multiprocessing.get_context("spawn").Process(target=spin, daemon=True)
                for _ in range(neighbours)
            ]
            for each in busy:
                each.start()
            time.sleep(1.0)
            rates = {
                streams: statistics.median(
                    measured(engine, streams, options.tokens) for _ in range(options.rounds)
                )
                for streams in (1, options.streams)
            }
            for each in busy:
                each.terminate()
                each.join()
            print(
                f"{threads} threads of {cpus} CPUs, {neighbours} busy neighbours: "
                + ", ".join(f"{n} at once {value:.0f} tokens/s" for n, value in rates.items())
            )
        del engine
    return 0


def measured(engine: LlamaCppEngine, streams: int, tokens: int) -> float:
    request = Sampling(max_tokens=tokens, temperature=0.7)
    return rate(
        at_once(
            [
                lambda: timed(engine, GenerationRequest(sampling=request, prompt=text(20)))
                for _ in range(streams)
            ]
        )
    )


def spin() -> None:
    """A neighbour that never rests."""
    while True:
        pass


if __name__ == "__main__":
    sys.exit(main())
