"""Chooses the next token, by llama.cpp's samplers and a grammar.

`llama_cpp.Llama` has samplers too, but with a grammar they end the process: where it cannot be
compiled, and where no token fits. They also try the grammar on all the vocabulary for each token.
"""

import ctypes
import math
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np

from deployments.llm.batch_context import BatchContext
from deployments.messages import Sampling

_LAST_TOKENS = 64  # what the penalties look at
_LOOKS = (64, 2048)  # so many of the likeliest tokens are held against a grammar, before all are
_TOKEN_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])

Candidates = np.ndarray[tuple[int], np.dtype[np.void]]


class GrammarRefusal(Exception):
    """llama.cpp cannot compile the grammar."""


class TokenSampler:
    """The choices for one reply; a `Chooser`.

    Raises:
        GrammarRefusal: the grammar cannot be used.
    """

    def __init__(
        self,
        context: BatchContext,
        sampling: Sampling,
        seed: int,
        grammar: str | None,
        forbidden: Sequence[int],
    ) -> None:
        self._context = context
        self._grammar = None if grammar is None else _compiled(context, grammar)
        # What the chain accepts its two halves accept, and it frees them.
        self._weigh, self._choose = _weigh(context.size, sampling), _choose(sampling, seed)
        self._chain = _chain([self._weigh, self._choose])
        self._counts = _counts(context.size, sampling)
        self._forbidden = np.array(forbidden, np.intp)
        self._candidates = np.zeros(context.size if grammar else 0, _TOKEN_DATA)

    def close(self) -> None:
        """Free the samplers; nothing may be called afterwards."""
        llama_cpp.llama_sampler_free(self._chain)
        if self._grammar is not None:
            llama_cpp.llama_sampler_free(self._grammar)

    def accept(self, tokens: Sequence[int]) -> None:
        """Go on behind these tokens of the reply.

        Raises:
            RuntimeError: the grammar does not allow one of them.
        """
        for token in tokens:
            if self._grammar is not None:
                if not self._fits(token, self._grammar):
                    raise RuntimeError("what is written does not fit the grammar")
                llama_cpp.llama_sampler_accept(self._grammar, token)
            llama_cpp.llama_sampler_accept(self._chain, token)

    def next_token(self, row: int) -> int:
        """The token after a row of the context's last call.

        Raises:
            RuntimeError: no token of the vocabulary fits the grammar.
        """
        if self._grammar is None:
            return self._context.sample(self._chain, row)
        # The grammar is slow: ask it for one token first, and for more only where that does not fit.
        token = _chosen(self._choose, self._weighed(row))
        if not self._fits(token, self._grammar):
            token = _chosen(self._choose, self._fitting(row, self._grammar))
            if not self._fits(token, self._grammar):
                raise RuntimeError("no token fits the grammar")
        # llama.cpp ends the process where a grammar is given a token that it does not allow.
        llama_cpp.llama_sampler_accept(self._grammar, token)
        llama_cpp.llama_sampler_accept(self._chain, token)
        return token

    def _weighed(self, row: int) -> Candidates:
        data = self._candidates
        data["id"] = np.arange(len(data))
        data["logit"] = self._context.logits(row)
        data["logit"][self._forbidden] = -math.inf
        _apply(self._weigh, _array(data))
        return data

    def _fitting(self, row: int, grammar: "llama_cpp.llama_sampler_p") -> Candidates:
        """The tokens of which the choice is the one among all that fit; others are impossible."""
        data = self._weighed(row)
        for size in _LOOKS:
            if self._counts <= size < len(data):
                likeliest = np.argpartition(data["logit"], -size)[-size:]
                some = data[np.sort(likeliest)]
                _apply(grammar, _array(some))
                if np.isfinite(some["logit"]).sum() >= self._counts:
                    return some
        _apply(grammar, _array(data))
        return data

    def _fits(self, token: int, grammar: "llama_cpp.llama_sampler_p") -> bool:
        one = np.array([(token, 1.0, 0.0)], _TOKEN_DATA)
        _apply(grammar, _array(one))
        return token not in self._forbidden and bool(np.isfinite(one["logit"][0]))


def _array(data: Candidates) -> llama_cpp.llama_token_data_array:
    pointer = data.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))
    return llama_cpp.llama_token_data_array(pointer, len(data), -1, sorted=False)


def _apply(
    sampler: "llama_cpp.llama_sampler_p", candidates: llama_cpp.llama_token_data_array
) -> None:
    pointer: Any = ctypes.byref(candidates)
    llama_cpp.llama_sampler_apply(sampler, pointer)


def _chosen(choose: "llama_cpp.llama_sampler_p", data: Candidates) -> int:
    candidates = _array(data)
    _apply(choose, candidates)
    if not 0 <= candidates.selected < candidates.size:
        raise RuntimeError("no token was chosen")
    return candidates.data[candidates.selected].id


def _compiled(context: BatchContext, grammar: str) -> "llama_cpp.llama_sampler_p":
    sampler = llama_cpp.llama_sampler_init_grammar(context.vocabulary, grammar.encode(), b"root")
    if sampler:
        return sampler
    raise GrammarRefusal


def _counts(size: int, sampling: Sampling) -> int:
    """How many of the likeliest tokens a choice looks at."""
    if sampling.temperature == 0:
        return 1
    return min(sampling.top_k, size) if sampling.top_k > 0 else size


def _weigh(size: int, sampling: Sampling) -> "llama_cpp.llama_sampler_p":
    """What changes weights; with `_choose` the samplers in the order of `llama_cpp.Llama`."""
    penalties = llama_cpp.llama_sampler_init_penalties(
        size,
        _LAST_TOKENS,
        sampling.repeat_penalty,
        sampling.frequency_penalty,
        sampling.presence_penalty,
    )
    if not sampling.logit_bias:
        return _chain([penalties])
    biases = (llama_cpp.llama_logit_bias * len(sampling.logit_bias))(*sampling.logit_bias)
    return _chain([llama_cpp.llama_sampler_init_logit_bias(size, len(biases), biases), penalties])


def _choose(sampling: Sampling, seed: int) -> "llama_cpp.llama_sampler_p":
    if sampling.temperature == 0:
        return _chain([llama_cpp.llama_sampler_init_greedy()])
    return _chain(
        [
            llama_cpp.llama_sampler_init_top_k(sampling.top_k),
            llama_cpp.llama_sampler_init_typical(sampling.typical_p, 1),
            llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1),
            llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1),
            llama_cpp.llama_sampler_init_temp(sampling.temperature),
            llama_cpp.llama_sampler_init_dist(seed),
        ]
    )


def _chain(samplers: "Sequence[llama_cpp.llama_sampler_p]") -> "llama_cpp.llama_sampler_p":
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    for sampler in samplers:
        llama_cpp.llama_sampler_chain_add(chain, sampler)
    return chain
