"""`xllamacpp` as a program: runs in an environment of its own, without this project.

    python -m venv /tmp/xllamacpp && /tmp/xllamacpp/bin/pip install xllamacpp

Reads one JSON line for each round, `{"prompts": [[token, ...], ...], "max_tokens": N}`, sends all
prompts at once, and answers with one line: seconds to the first token, seconds in all, and tokens of
each. Arguments: the model, how many at once, context of each, threads.
"""

import json
import sys
import threading
import time

import xllamacpp  # pyright: ignore[reportMissingImports]


def main() -> None:
    model, parallel, context, threads = sys.argv[1], *map(int, sys.argv[2:5])
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.n_parallel = parallel
    parameters.n_ctx = parallel * context
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.n_gpu_layers = 0
    parameters.verbosity = 0
    server = xllamacpp.Server(parameters)
    print(json.dumps({"ready": xllamacpp.__version__}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        rows: list[list[float]] = [[] for _ in asked["prompts"]]
        callers = [
            threading.Thread(target=ask, args=(server, prompt, asked["max_tokens"], row))
            for prompt, row in zip(asked["prompts"], rows, strict=True)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        print(json.dumps(rows), flush=True)


def ask(server, prompt: list[int], max_tokens: int, row: list[float]) -> None:
    started = time.perf_counter()
    times: list[float] = []

    def note(piece: dict) -> None:
        if piece["choices"][0]["finish_reason"] is None:
            times.append(time.perf_counter() - started)

    server.handle_completions(
        {
            "prompt": prompt,
            "n_predict": max_tokens,
            "stream": True,
            "temperature": 0.0,
            "repeat_penalty": 1.1,
            "cache_prompt": False,
            "ignore_eos": True,
            # What the service does by default.
            "samplers": ["penalties", "top_k"],
            "top_k": 1,
        },
        note,
    )
    row += [times[0], times[-1], len(times)]


if __name__ == "__main__":
    main()
