"""Language models in GGUF files, on llama.cpp."""

import contextlib
import os
import secrets
import threading
from collections.abc import Generator, Iterator, Sequence

import llama_cpp

from configs.settings import LlamaCppSettings
from deployments.errors import ContextOverflow, InvalidSetting
from deployments.llm.abort import abort_on
from deployments.llm.chat_template import CHAT_TEMPLATE_KEY, ChatTemplate, choose_template
from deployments.llm.llama_loading import load_llama
from deployments.llm.stops import Reply, TextAssembler
from deployments.llm.vocabulary import Vocabulary
from deployments.messages import (
    ChatMessage,
    GenerationEvent,
    GenerationRequest,
    Sampling,
)

# llama.cpp draws a seed of its own for 0xFFFFFFFF.
_SEEDS = 0xFFFFFFFF

# llama.cpp multiplies tokens in groups, and rounds the rest of a batch in another way.
_GROUP_TOKENS = 32


class LlamaCppEngine:
    """One model in one context.

    What a prompt has in common with the conversation before it is not computed again. Where the
    reply must be repeatable (temperature 0, or a seed), only as much is used again as leaves every
    bit on a CPU as in an empty context: whole groups of tokens that were read as a prompt.

    Raises:
        WeightsNotFound: the model is not there.
        InvalidSetting: the model, its template or the device cannot be used.
    """

    def __init__(self, settings: LlamaCppSettings) -> None:
        self._llama = load_llama(settings, settings.threads or _default_threads())
        memory = llama_cpp.llama_get_memory(self._llama.ctx)
        if memory is None:
            raise InvalidSetting("llm.model", "this model writes no text")
        self._memory = memory
        self._vocabulary = Vocabulary(self._llama)
        self._settled_tokens = 0
        self._context_tokens = min(settings.context_tokens, self._llama.n_ctx())
        source = choose_template(settings.chat_template, self._llama.metadata)
        for token in source.control:
            if not self._vocabulary.is_control(token):
                raise InvalidSetting(CHAT_TEMPLATE_KEY, f"the model has no token '{token}'")
        self._template = ChatTemplate(source, self._vocabulary.bos, self._vocabulary.eos)

    def warm_up(self) -> None:
        """Read all weights once: a short prompt and two tokens."""
        request = GenerationRequest((ChatMessage("user", "Hello"),), Sampling(max_tokens=2))
        for _ in self.generate(request, threading.Event()):
            pass

    def generate(
        self, request: GenerationRequest, stop: threading.Event
    ) -> Iterator[GenerationEvent]:
        """Yield the reply as it is written, then one `GenerationEnd`; see `LlmEngine`.

        Raises:
            ContextOverflow: the prompt leaves no room for a token.
            InvalidParameter: the chat template refuses the conversation.
        """
        prompt = self._vocabulary.tokenize(self._template.render(request.messages))
        room = self._context_tokens - len(prompt)
        if room < 1:
            raise ContextOverflow(len(prompt), self._context_tokens)
        source = self._template.source
        text = TextAssembler((*request.sampling.stop, *source.stop), strip_start=source.strip_start)
        reply = Reply(text, min(request.sampling.max_tokens, room))
        with contextlib.closing(self._tokens(prompt, request.sampling, stop)) as tokens:
            for token in tokens:
                if self._vocabulary.is_end(token):
                    break
                yield from reply.add(self._vocabulary.bytes_of(token))
                if reply.finish_reason:
                    break
        if not stop.is_set():
            yield from reply.close(len(prompt))

    def _tokens(
        self, prompt: Sequence[int], sampling: Sampling, stop: threading.Event
    ) -> Generator[int, None, None]:
        """What the model writes after the prompt, until `stop` is set."""
        try:
            seed = sampling.seed
            if not self._read(prompt, stop, exact=seed is not None or sampling.temperature == 0):
                return
            self._llama.set_seed(secrets.randbelow(_SEEDS) if seed is None else seed % _SEEDS)
            written = self._llama.generate(
                prompt,
                temp=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k,
                min_p=sampling.min_p,
                typical_p=sampling.typical_p,
                repeat_penalty=sampling.repeat_penalty,
                presence_penalty=sampling.presence_penalty,
                frequency_penalty=sampling.frequency_penalty,
            )
            while not stop.is_set():
                yield next(written)
        except RuntimeError:
            self._forget(0)
            raise

    def _read(self, prompt: Sequence[int], stop: threading.Event, *, exact: bool) -> bool:
        """Compute the prompt; whether it was read to its end."""
        known = self._known(prompt)
        self._forget(self._whole_groups(min(known, self._settled_tokens)) if exact else known)
        settled = self._settled_tokens == self._llama.n_tokens
        with abort_on(stop, self._llama):
            while (start := self._llama.n_tokens) < len(prompt):
                if stop.is_set():
                    return False
                try:
                    self._llama.eval(prompt[start : start + self._llama.n_batch])
                except RuntimeError:
                    if not stop.is_set():
                        raise
                    self._forget(0)
                    return False
        if settled:
            self._settled_tokens = self._whole_groups(len(prompt))
        return True

    def _whole_groups(self, tokens: int) -> int:
        """The count rounded down to where a batch may begin without another rounding."""
        batch = self._llama.n_batch
        return tokens - tokens % (batch if batch % _GROUP_TOKENS else _GROUP_TOKENS)

    def _known(self, prompt: Sequence[int]) -> int:
        """How many of the prompt's tokens the context holds; the last one is always read anew."""
        common = 0
        for known, token in zip(
            self._llama.input_ids[: self._llama.n_tokens], prompt[:-1], strict=False
        ):
            if known != token:
                break
            common += 1
        return common

    def _forget(self, keep: int) -> None:
        """Drop all but the first `keep` tokens from the context."""
        self._settled_tokens = self._whole_groups(min(self._settled_tokens, keep))
        if keep and llama_cpp.llama_memory_seq_rm(self._memory, 0, keep, -1):
            self._llama.n_tokens = keep
            return
        self._settled_tokens = 0
        self._llama.reset()
        llama_cpp.llama_memory_clear(self._memory, True)  # noqa: FBT003


def _default_threads() -> int:
    """Half the CPUs that this process may use: llama.cpp's threads wait by spinning."""
    return max(len(os.sched_getaffinity(0)) // 2, 1)
