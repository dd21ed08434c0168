"""Language models in GGUF files, on llama.cpp."""

import contextlib
import os
import secrets
import threading
from collections.abc import Generator, Iterator, Sequence

import llama_cpp

from configs.settings import LlamaCppSettings
from deployments.errors import ContextOverflow, InvalidParameter, InvalidSetting
from deployments.llm.abort import abort_on
from deployments.llm.chat_template import (
    CHAT_TEMPLATE_KEY,
    ChatTemplate,
    PromptPart,
    choose_template,
)
from deployments.llm.grammar import gbnf, output_field
from deployments.llm.llama_loading import load_llama
from deployments.llm.stops import Reply, TextAssembler
from deployments.llm.token_sampler import GrammarRefusal, TokenSampler
from deployments.llm.vocabulary import Vocabulary
from deployments.llm.window import room_for_prompt, shortened
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
            InvalidParameter: the chat template refuses the conversation, the form of the reply
                cannot be kept, or a token does not exist.
        """
        self._check_biases(request.sampling)
        grammar = None if request.output is None else gbnf(request.output)
        prompt, dropped = self._prompt(request)
        room = self._context_tokens - len(prompt)
        if room < 1:
            raise ContextOverflow(len(prompt), self._context_tokens)
        reply = Reply(self._assembler(request), min(request.sampling.max_tokens, room))
        with contextlib.closing(self._tokens(prompt, request, grammar, stop)) as tokens:
            for token in tokens:
                if self._vocabulary.is_end(token):
                    break
                yield from reply.add(self._vocabulary.bytes_of(token))
                if reply.finish_reason:
                    break
        if not stop.is_set():
            yield from reply.close(len(prompt), dropped)

    def _check_biases(self, sampling: Sampling) -> None:
        size = self._llama.n_vocab()
        for token, _ in sampling.logit_bias:
            if not 0 <= token < size:
                raise InvalidParameter(
                    "logit_bias", f"the model's tokens are 0 to {size - 1}, not {token}."
                )

    def _assembler(self, request: GenerationRequest) -> TextAssembler:
        if request.prompt is not None:
            return TextAssembler(request.sampling.stop)
        source = self._template.source
        stop = (*request.sampling.stop, *source.stop)
        return TextAssembler(stop, strip_start=source.strip_start)

    def _prompt(self, request: GenerationRequest) -> tuple[list[int], int]:
        """The tokens to read, and how many messages are not in them."""
        if request.prompt is not None:
            tokens = self._vocabulary.tokenize([PromptPart(request.prompt, is_content=True)])
            if not tokens:
                raise InvalidParameter("prompt", "it is empty.")
            return tokens, 0
        prompt = self._rendered(request.messages)
        room = room_for_prompt(self._context_tokens, request.sampling.max_tokens)
        if not request.drop_oldest or len(prompt) <= room:
            return prompt, 0
        around = self._tokens_around_a_message()
        sizes = [self._vocabulary.count(message.content) + around for message in request.messages]
        read = (prompt, 0)
        for dropped, kept in shortened(request.messages, sizes, room):
            read = (self._rendered(kept), dropped)
            if len(read[0]) <= room:
                break
        return read

    def _rendered(self, messages: Sequence[ChatMessage]) -> list[int]:
        return self._vocabulary.tokenize(self._template.render(messages))

    def _tokens_around_a_message(self) -> int:
        """What the chat template adds to each message."""
        turn = (ChatMessage("user", "a"), ChatMessage("assistant", "a"))
        more = len(self._rendered((*turn, *turn[:1]))) - len(self._rendered(turn[:1]))
        return max(more // len(turn), 0)

    def _tokens(
        self,
        prompt: Sequence[int],
        request: GenerationRequest,
        grammar: str | None,
        stop: threading.Event,
    ) -> Generator[int, None, None]:
        """What the model writes after the prompt, until `stop` is set."""
        seed, temperature = request.sampling.seed, request.sampling.temperature
        drawn = secrets.randbelow(_SEEDS) if seed is None else seed % _SEEDS
        silent = self._vocabulary.silent
        try:
            with TokenSampler(self._llama, request.sampling, drawn, grammar, silent) as sampler:
                if not self._read(prompt, stop, exact=seed is not None or temperature == 0):
                    return
                while True:
                    token = sampler.next_token()
                    yield token
                    if stop.is_set():
                        return
                    self._llama.eval([token])
        except GrammarRefusal:
            raise InvalidParameter(
                output_field(request.output), "llama.cpp cannot compile its grammar."
            ) from None
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
