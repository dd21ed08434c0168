"""Ends llama.cpp's work inside a prompt, where no Python code runs."""

import contextlib
import ctypes
import threading
from collections.abc import Generator

import llama_cpp

_POLL_S = 0.02

# llama.cpp asks an abort callback before each of the thousands of steps of a prompt. A Python
# callback would wait for the interpreter lock each time, so the C library's `strlen` answers: it
# reads 0 (go on) from an empty string and 1 (abort) as soon as the string holds one character.
_ASK = ctypes.cast(ctypes.CDLL(None).strlen, llama_cpp.ggml_abort_callback)
_NEVER = llama_cpp.ggml_abort_callback()


@contextlib.contextmanager
def abort_on(stop: threading.Event, llama: llama_cpp.Llama) -> Generator[None]:
    """While the block runs, make `llama` give up its decoding soon after `stop` is set."""
    answer = ctypes.create_string_buffer(2)
    done = threading.Event()
    watcher = threading.Thread(
        target=_watch, args=(stop, done, answer), name="llm-abort", daemon=True
    )
    llama_cpp.llama_set_abort_callback(llama.ctx, _ASK, ctypes.cast(answer, ctypes.c_void_p))
    watcher.start()
    try:
        yield
    finally:
        done.set()
        llama_cpp.llama_set_abort_callback(llama.ctx, _NEVER, ctypes.c_void_p())


def _watch(
    stop: threading.Event, done: threading.Event, answer: "ctypes.Array[ctypes.c_char]"
) -> None:
    while not done.is_set():
        if stop.wait(_POLL_S):
            answer[0] = b"\x01"
            return
