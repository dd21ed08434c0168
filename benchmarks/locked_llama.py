"""`llama_cpp.Llama` behind a lock, as a program: what everyone does with several callers.

It is a process of its own, and one thread computes. libgomp keeps a team of threads for each thread
that has computed, and hardly spins once a process has more of them than CPUs: beside another context,
or called by a thread for each caller, the library is three times slower than it can be.

Reads one JSON line for each round, `{"prompts": [text, ...], "max_tokens": [N, ...], "pause_s": S}`: the
callers come S seconds after each other. Answers with one line: of each, seconds from its coming to its
first token, seconds from the first one's coming to its end, and tokens.
Arguments: the model, context, threads, layers on a GPU.
"""

import json
import sys
import time

import llama_cpp


def main() -> None:
    """Serve until the input ends."""
    model, context, threads, gpu_layers = sys.argv[1], *map(int, sys.argv[2:5])
    llama = llama_cpp.Llama(
        model,
        n_ctx=context,
        n_threads=threads,
        n_threads_batch=threads,
        n_gpu_layers=gpu_layers,
        flash_attn=gpu_layers != 0,
        verbose=False,
    )
    print(json.dumps({"ready": llama_cpp.__version__}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        rows: list[tuple[float, float, int]] = []
        began = time.perf_counter()
        for number, (prompt, most) in enumerate(
            zip(asked["prompts"], asked["max_tokens"], strict=True)
        ):
            came = began + number * asked["pause_s"]
            time.sleep(max(0.0, came - time.perf_counter()))
            first = write(llama, prompt, most)
            rows.append((first - came, time.perf_counter() - began, most))
        print(json.dumps(rows), flush=True)


def write(llama: llama_cpp.Llama, prompt: str, tokens: int) -> float:
    """Write a reply; when its first token came."""
    llama.reset()
    first = written = 0.0
    read = llama.tokenize(prompt.encode(), add_bos=False)
    for _ in llama.generate(read, temp=0.0, repeat_penalty=1.1):
        written += 1
        first = first or time.perf_counter()
        if written == tokens:
            break
    return first


if __name__ == "__main__":
    main()
