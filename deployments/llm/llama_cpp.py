"""Language models in GGUF files, on llama.cpp."""

import contextlib
import os
import queue
import secrets
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from configs.settings import LlamaCppSettings
from deployments.errors import (
    ContextOverflow,
    InvalidParameter,
    InvalidSetting,
    StageUnavailable,
)
from deployments.llm.batch_context import BatchContext
from deployments.llm.batch_loop import BatchLimits, BatchLoop
from deployments.llm.chat_template import (
    CHAT_TEMPLATE_KEY,
    ChatTemplate,
    PromptPart,
    choose_template,
)
from deployments.llm.exactness import exact_streams
from deployments.llm.generation import Delivery, Generation
from deployments.llm.grammar import gbnf, output_field
from deployments.llm.llama_loading import load_llama
from deployments.llm.prefix_tree import common_prefix
from deployments.llm.sequence_cache import Prompt, SequenceCache
from deployments.llm.stops import Reply, TextAssembler
from deployments.llm.token_sampler import GrammarRefusal, TokenSampler
from deployments.llm.vocabulary import Vocabulary
from deployments.llm.window import room_for_prompt, shortened
from deployments.messages import (
    BatchCounts,
    ChatMessage,
    GenerationEnd,
    GenerationEvent,
    GenerationRequest,
    Sampling,
)

T = TypeVar("T")

# llama.cpp draws a seed of its own for 0xFFFFFFFF.
_SEEDS = 0xFFFFFFFF

_STOP_POLL_S = 0.05


class LlamaCppEngine:
    """One model in one context, for many callers at once.

    What a prompt has in common with earlier ones of its owner, or with the operator's own prompts
    (`shared_prompts`), is not computed again. Where the reply must be repeatable (temperature 0, or
    a seed), only as much is used again, and only so many replies are written in one call, as leaves
    every bit on a CPU as in an empty context of its own.

    Raises:
        WeightsNotFound: the model is not there.
        InvalidSetting: the model, its template or the device cannot be used.
    """

    def __init__(self, settings: LlamaCppSettings, shared_prompts: Sequence[str] = ()) -> None:
        self._llama = load_llama(settings)
        self._vocabulary = Vocabulary(self._llama)
        source = choose_template(settings.chat_template, self._llama.metadata)
        for token in source.control:
            if not self._vocabulary.is_control(token):
                raise InvalidSetting(CHAT_TEMPLATE_KEY, f"the model has no token '{token}'")
        self._template = ChatTemplate(source, self._vocabulary.bos, self._vocabulary.eos)
        self._overflow = settings.overflow
        self._shared_prompts = frozenset(shared_prompts)
        self._shared_tokens = lru_cache(maxsize=8)(self._tokens_before_a_user)
        self._context = BatchContext(self._llama, settings, settings.threads or _default_threads())
        self._context_tokens = self._context.stream_tokens
        self._cache = SequenceCache(self._context, settings.parallel, settings.cache_tokens)
        limits = BatchLimits(
            streams=settings.parallel,
            queue=settings.queue,
            batch_tokens=settings.batch_tokens,
            exact_streams=_in_a_thread_that_ends(lambda: exact_streams(self._context)),
        )
        self._loop = BatchLoop(self._context, self._cache, self._vocabulary, limits)
        weakref.finalize(self, self._loop.close)

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
            StageOverloaded: too many wait.
            StageUnavailable: the engine broke.
        """
        self._check_biases(request.sampling)
        grammar = None if request.output is None else gbnf(request.output)
        prompt, dropped = self._prompt(request)
        prompt_tokens = len(prompt.tokens)
        room = self._context_tokens - prompt_tokens
        if room < 1:
            raise ContextOverflow(prompt_tokens, self._context_tokens)
        if stop.is_set():
            return
        most = min(request.sampling.max_tokens, room)
        sampler = self._sampler(request, grammar)
        begun = self._go_on(request, sampler)
        written = 0 if request.written is None else request.written.tokens
        if written >= most or len(begun) >= room:
            sampler.close()
            yield GenerationEnd("length", prompt_tokens, written, dropped)
            return
        generation = Generation(
            prompt,
            sampler,
            Reply(self._assembler(request), most, written),
            stop,
            live=request.origin.live,
            prompt_tokens=prompt_tokens,
            dropped_messages=dropped,
        )
        if prompt.exact:  # to write it again rounds as it did; to read it is quicker
            generation.written.extend(begun)
        else:
            generation.prompt = replace(prompt, tokens=prompt.tokens + begun)
        self._loop.submit(generation)
        try:
            yield from self._events(generation, stop)
        finally:
            self._loop.give_up(generation)

    def counts(self) -> BatchCounts:
        """What was done since the start.

        Raises:
            RuntimeError: the engine broke.
        """
        return self._loop.counts()

    def _events(self, generation: Generation, stop: threading.Event) -> Iterator[GenerationEvent]:
        while not stop.is_set():
            try:
                delivery: Delivery = generation.events.get(timeout=_STOP_POLL_S)
            except queue.Empty:
                continue
            if delivery is None:
                return
            if isinstance(delivery, Exception):
                raise delivery
            yield delivery

    def _go_on(self, request: GenerationRequest, sampler: TokenSampler) -> list[int]:
        """The tokens of what is written of a reply, which the sampler takes as its own."""
        if request.written is None:
            return []
        # The space that a base model begins with is not in what was shown.
        space = " " if self._strips_start(request) else ""
        tokens = self._vocabulary.plain(space + request.written.text)
        try:
            sampler.accept(tokens)
        except RuntimeError as error:
            sampler.close()
            raise StageUnavailable("llm") from error
        return tokens

    def _strips_start(self, request: GenerationRequest) -> bool:
        return (
            request.prompt is None and request.output is None and self._template.source.strip_start
        )

    def _sampler(self, request: GenerationRequest, grammar: str | None) -> TokenSampler:
        seed = request.sampling.seed
        drawn = secrets.randbelow(_SEEDS) if seed is None else seed % _SEEDS
        silent = self._vocabulary.silent
        try:
            return TokenSampler(self._context, request.sampling, drawn, grammar, silent)
        except GrammarRefusal:
            raise InvalidParameter(
                output_field(request.output), "llama.cpp cannot compile its grammar."
            ) from None

    def _check_biases(self, sampling: Sampling) -> None:
        size = self._context.size
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
        return TextAssembler(stop, strip_start=source.strip_start and request.written is None)

    def _prompt(self, request: GenerationRequest) -> tuple[Prompt, int]:
        """What to read, and how many messages are not in it."""
        sampling, owner = request.sampling, request.origin.owner
        exact = sampling.temperature == 0 or sampling.seed is not None
        if request.prompt is not None:
            tokens = self._vocabulary.tokenize([PromptPart(request.prompt, is_content=True)])
            if not tokens:
                raise InvalidParameter("prompt", "it is empty.")
            return Prompt(tokens, owner, exact=exact), 0
        tokens, dropped = self._conversation(request)
        return Prompt(tokens, owner, self._shared(request.messages, tokens), exact), dropped

    def _conversation(self, request: GenerationRequest) -> tuple[list[int], int]:
        """The tokens of a conversation, and how many messages are not in them."""
        prompt = self._rendered(request.messages)
        room = room_for_prompt(self._context_tokens, request.sampling.max_tokens)
        drops = self._overflow == "drop_oldest" or (
            self._overflow == "by_request" and request.drop_oldest
        )
        if not drops or len(prompt) <= room:
            return prompt, 0
        around = self._tokens_around_a_message()
        sizes = [self._vocabulary.count(message.content) + around for message in request.messages]
        read = (prompt, 0)
        for dropped, kept in shortened(request.messages, sizes, room):
            read = (self._rendered(kept), dropped)
            if len(read[0]) <= room:
                break
        return read

    def _shared(self, messages: Sequence[ChatMessage], tokens: list[int]) -> int:
        """How many of a prompt's first tokens are the operator's own, and no caller's."""
        first = messages[0] if messages else None
        if first is None or first.role != "system" or first.content not in self._shared_prompts:
            return 0
        return common_prefix(tokens, self._shared_tokens(first.content))

    def _tokens_before_a_user(self, system: str) -> list[int]:
        """What every conversation with these instructions begins with, whatever the user says."""
        one, other = (
            self._rendered((ChatMessage("system", system), ChatMessage("user", said)))
            for said in ("a", "0")
        )
        return one[: common_prefix(one, other)]

    def _rendered(self, messages: Sequence[ChatMessage]) -> list[int]:
        return self._vocabulary.tokenize(self._template.render(messages))

    def _tokens_around_a_message(self) -> int:
        """What the chat template adds to each message."""
        turn = (ChatMessage("user", "a"), ChatMessage("assistant", "a"))
        more = len(self._rendered((*turn, *turn[:1]))) - len(self._rendered(turn[:1]))
        return max(more // len(turn), 0)


def _in_a_thread_that_ends(work: Callable[[], T]) -> T:
    """Compute without leaving OpenMP threads behind.

    libgomp keeps a team for each thread that has computed. Once there are more of them than CPUs, it
    hardly spins any more, and each of a token's hundreds of barriers is a sleep: a third of the speed.
    """
    with ThreadPoolExecutor(1) as short_lived:
        return short_lived.submit(work).result()


def _default_threads() -> int:
    """Half the CPUs that this process may use: llama.cpp's threads wait by spinning."""
    return max(min(len(os.sched_getaffinity(0)), _cpu_quota()) // 2, 1)


def _cpu_quota(file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """How many CPUs a container's limit lets the process use at a time; many without one."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = map(int, file.read_text().split())
        return max(round(quota / period), 1)
    return sys.maxsize
