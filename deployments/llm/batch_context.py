"""llama.cpp's low-level interface: many sequences in one context, many tokens in one call."""

import ctypes
import threading
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np

from configs.settings import LlamaCppSettings
from deployments.errors import InvalidSetting

_NO_CELLS, _ABORTED = 1, 2
_CACHE_TYPES = {"f16": 1, "q8_0": 8, "q4_0": 2}  # ggml's numbers

# llama.cpp asks an abort callback before each of the thousands of steps of a prompt. A Python
# callback would wait for the interpreter lock each time, so the C library's `strlen` answers: it
# reads 0 (go on) from an empty string and 1 (abort) as soon as the string holds one character.
_ASK = ctypes.cast(ctypes.CDLL(None).strlen, llama_cpp.ggml_abort_callback)


class DecodeFailed(RuntimeError):
    """llama.cpp could not compute a batch; `code` is what it answered.

    `emptied` are the streams that lost also what was computed before.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"llama_decode answered {code}")
        self.code = code
        self.emptied: frozenset[int] = frozenset()


class Aborted(DecodeFailed):
    """The batch was given up because it was asked for."""


class NoCells(DecodeFailed):
    """No cell is free for a token."""


_FAILURES = {_NO_CELLS: NoCells, _ABORTED: Aborted}


class BatchContext:
    """One context of a model: `streams` sequences, each with cells for `stream_tokens` tokens.

    Each stream has its own cells in the order of its tokens, so that a sequence is computed from the
    same numbers in the same order whoever else is there. Only one thread may use it, but for `abort`.

    Raises:
        InvalidSetting: there is no memory for it, or the model writes no text.
    """

    def __init__(self, llama: llama_cpp.Llama, settings: LlamaCppSettings, threads: int) -> None:
        vocabulary = llama_cpp.llama_model_get_vocab(llama.model)
        if vocabulary is None:
            raise InvalidSetting("llm.model", "it has no vocabulary")
        self.vocabulary = vocabulary
        self.size = llama.n_vocab()
        self.streams = settings.parallel
        self._llama = llama  # keeps the model alive
        if settings.cache_type_v != "f16" and not settings.flash_attention:
            raise InvalidSetting("llm.cache_type_v", "it needs llm.flash_attention")
        parameters = _parameters(settings, threads)
        context = llama_cpp.llama_init_from_model(llama.model, parameters)
        if context is None:
            raise InvalidSetting("llm.context_tokens", "there is no memory for this context")
        self.pointer = context
        memory = llama_cpp.llama_get_memory(context)
        if memory is None:
            llama_cpp.llama_free(context)
            raise InvalidSetting("llm.model", "this model writes no text")
        self._memory = memory
        self.stream_tokens = min(
            settings.context_tokens, llama_cpp.llama_n_ctx(context) // self.streams
        )
        self._answer = ctypes.create_string_buffer(2)
        llama_cpp.llama_set_abort_callback(
            context, _ASK, ctypes.cast(self._answer, ctypes.c_void_p)
        )
        self._guard = threading.Lock()
        self._abortable: object = None
        self._batch = _Batch(max(settings.batch_tokens, self.streams), self.streams)

    def read(self, stream: int, tokens: Sequence[int], start: int, *, of: object) -> None:
        """Compute tokens of one sequence; `abort(of)` ends it. The last one has logits, in row 0.

        Raises:
            DecodeFailed: none of them is computed.
        """
        self._batch.fill(tokens, range(start, start + len(tokens)), [stream] * len(tokens))
        self._batch.logits[: len(tokens)] = 0
        self._batch.logits[len(tokens) - 1] = 1
        with self._guard:
            self._answer[0] = b"\x00"
            self._abortable = of
        try:
            self._decode()
        except DecodeFailed as error:
            if not self.keep(stream, start):
                error.emptied = frozenset([stream])
            raise
        finally:
            with self._guard:
                self._abortable = None
                self._answer[0] = b"\x00"

    def write(self, streams: Sequence[int], tokens: Sequence[int], at: Sequence[int]) -> None:
        """Compute one token of each of several sequences; their logits stand in that order.

        Raises:
            DecodeFailed: none of them is computed.
        """
        self._batch.fill(tokens, at, streams)
        self._batch.logits[: len(tokens)] = 1
        try:
            self._decode()
        except DecodeFailed as error:
            places = zip(streams, at, strict=True)
            error.emptied = frozenset(
                stream for stream, end in places if not self.keep(stream, end)
            )
            raise

    def abort(self, of: object) -> None:
        """From any thread: end the `read` that is made for this; nothing where there is none."""
        with self._guard:
            if self._abortable is of:
                self._answer[0] = b"\x01"

    def logits(self, row: int) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
        """The logits of a row of the last call; gone with the next call."""
        pointer = llama_cpp.llama_get_logits_ith(self.pointer, self._batch.output(row))
        return np.ctypeslib.as_array(pointer, shape=(self.size,))

    def sample(self, chain: "llama_cpp.llama_sampler_p", row: int) -> int:
        """The token that a sampler chooses from a row of the last call."""
        return llama_cpp.llama_sampler_sample(chain, self.pointer, self._batch.output(row))

    # ---- cells ----

    def keep(self, stream: int, tokens: int) -> bool:
        """Drop all but a sequence's first tokens; false: they had to be dropped too."""
        if llama_cpp.llama_memory_seq_rm(self._memory, stream, tokens, -1):
            return True
        llama_cpp.llama_memory_seq_rm(self._memory, stream, -1, -1)
        return False

    def copy(self, source: int, target: int) -> None:
        """Let a stream hold what another one holds."""
        llama_cpp.llama_memory_seq_rm(self._memory, target, -1, -1)
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def save(self, stream: int) -> bytes:
        """What a stream holds."""
        size = llama_cpp.llama_state_seq_get_size(self.pointer, _id(stream))
        buffer = (ctypes.c_uint8 * size)()
        written = llama_cpp.llama_state_seq_get_data(self.pointer, buffer, size, _id(stream))
        return bytes(memoryview(buffer)[:written])

    def restore(self, stream: int, saved: bytes) -> bool:
        """Let a stream hold what was saved; false: it is empty instead."""
        llama_cpp.llama_memory_seq_rm(self._memory, stream, -1, -1)
        data: Any = (ctypes.c_uint8 * len(saved)).from_buffer_copy(saved)
        read = llama_cpp.llama_state_seq_set_data(self.pointer, data, len(saved), _id(stream))
        if read == len(saved):
            return True
        llama_cpp.llama_memory_seq_rm(self._memory, stream, -1, -1)
        return False

    def held(self, stream: int) -> int:
        """How many tokens a stream holds."""
        return llama_cpp.llama_memory_seq_pos_max(self._memory, stream) + 1

    def close(self) -> None:
        """Free the context; nothing may be called afterwards."""
        llama_cpp.llama_free(self.pointer)

    def _decode(self) -> None:
        code = llama_cpp.llama_decode(self.pointer, self._batch.struct)
        if code != 0:
            raise _FAILURES.get(code, DecodeFailed)(code)


class _Batch:
    """A `llama_batch` whose arrays are NumPy's."""

    def __init__(self, capacity: int, streams: int) -> None:
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(capacity, np.int32)
        self._counts = np.ones(capacity, np.int32)
        self._streams = np.arange(streams, dtype=np.int32)
        self._of = np.zeros(capacity, np.uintp)
        self.logits = np.zeros(capacity, np.int8)
        self.struct = llama_cpp.llama_batch(
            n_tokens=0,
            token=_pointer(self._tokens, llama_cpp.llama_token),
            embd=None,
            pos=_pointer(self._positions, llama_cpp.llama_pos),
            n_seq_id=_pointer(self._counts, ctypes.c_int32),
            seq_id=_pointer(self._of, ctypes.POINTER(llama_cpp.llama_seq_id)),
            logits=_pointer(self.logits, ctypes.c_int8),
        )

    def fill(self, tokens: Sequence[int], positions: Sequence[int], streams: Sequence[int]) -> None:
        count = len(tokens)
        self._tokens[:count] = tokens
        self._positions[:count] = positions
        self._of[:count] = self._streams.ctypes.data + 4 * np.asarray(streams, np.uintp)
        self.struct.n_tokens = count

    def output(self, row: int) -> int:
        """The index, in the batch, of a row of logits."""
        return int(np.flatnonzero(self.logits[: self.struct.n_tokens])[row])


def _id(stream: int) -> Any:  # ctypes takes an int where the annotations name its own type
    return stream


def _pointer(array: "np.ndarray[Any, Any]", kind: Any) -> Any:
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))


def _parameters(settings: LlamaCppSettings, threads: int) -> llama_cpp.llama_context_params:
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = settings.context_tokens * settings.parallel
    parameters.n_seq_max = settings.parallel
    parameters.kv_unified = False
    # Cells of sliding-window layers are kept, so that a shared prefix can be used again.
    parameters.swa_full = True
    parameters.n_batch = parameters.n_ubatch = max(settings.batch_tokens, settings.parallel)
    if settings.micro_batch_tokens is not None:
        parameters.n_ubatch = min(settings.micro_batch_tokens, parameters.n_batch)
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.flash_attn_type = (
        llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
        if settings.flash_attention
        else llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    parameters.type_k = _CACHE_TYPES[settings.cache_type_k]
    parameters.type_v = _CACHE_TYPES[settings.cache_type_v]
    return parameters
