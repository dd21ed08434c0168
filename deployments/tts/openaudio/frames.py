"""One pass of the model over the slots: prompts are read, frames are made."""

import torch
from torch import Tensor

from deployments.tts.openaudio.graphs import StepGraphs
from deployments.tts.openaudio.model import DualAr, rope_table
from deployments.tts.openaudio.sampling import choose
from deployments.tts.openaudio.slots import Slots

_SHORTEST_SPAN = 512


class _SlowPast:
    """The cache of one slow layer, for the slots `rows`, as far as `span`."""

    def __init__(
        self, cache: tuple[Tensor, Tensor], rows: slice, positions: Tensor, span: int
    ) -> None:
        self._keys, self._values = (each[rows, :span] for each in cache)
        self._at = torch.arange(len(positions), device=positions.device)[:, None], positions

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        self._keys[self._at], self._values[self._at] = keys, values
        return self._keys.transpose(1, 2), self._values.transpose(1, 2)


class _FastPast:
    """The cache of one fast layer: the codes of this frame before `place`, and the one there."""

    def __init__(self, keys: Tensor, values: Tensor, place: int) -> None:
        self._keys, self._values, self._place = keys, values, place

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        place = self._place
        self._keys[:, place], self._values[:, place] = keys[:, 0], values[:, 0]
        seen = slice(0, place + 1)
        return self._keys[:, seen].transpose(1, 2), self._values[:, seen].transpose(1, 2)


class FrameMaker:
    """The model with its slots. `semantic` is the first and last token that stands for sound."""

    def __init__(self, model: DualAr, slots: Slots, semantic: tuple[int, int]) -> None:
        config, device = model.config, slots.positions.device
        self._model, self.slots = model, slots
        self._first, self._last = semantic
        self.max_seq_len = slots.keys.shape[2]
        self._rope = rope_table(self.max_seq_len, config.head_dim, config.rope_base, device)
        self._fast_rope = rope_table(
            config.num_codebooks, config.fast_head_dim, config.rope_base, device
        )
        self._graphs: StepGraphs | None = None
        self._places = torch.arange(self.max_seq_len, device=device)

    def frames(self, rows: int, positions: int) -> Tensor:
        """A step for the first `rows` slots, of which the longest has so many positions.

        Without graphs all slots are always computed: the same kernels then make a row, whoever speaks
        beside it.
        """
        span = self.span(positions)
        if self._graphs is None:
            return self.step(len(self.slots.positions), span)
        return self._graphs.replay(rows, span)

    def record(self) -> None:
        """Record the step as CUDA graphs."""
        spans = {self.span(positions) for positions in range(1, self.max_seq_len + 1)}
        with torch.inference_mode(), torch.cuda.device(self.slots.positions.device):
            self._graphs = StepGraphs(self.step, len(self.slots.positions), sorted(spans))

    def span(self, positions: int) -> int:
        """How much of the cache is looked at where the longest sequence has so many positions.

        Spans are few, since each has CUDA graphs of its own, and double from 512 on, the width of
        PyTorch's blocks on the CPU: what is masked at the end of a span changes no bit of a row.
        """
        span = _SHORTEST_SPAN
        while span < positions:
            span *= 2
        return min(span, self.max_seq_len)

    def read(self, slot: int, prompt: Tensor, start: int) -> None:
        """Read a piece of a prompt, [1 + codebooks, n], into a slot whose position is `start`."""
        positions = torch.arange(start, start + prompt.shape[1], device=prompt.device)[None]
        span = self.span(start + prompt.shape[1])
        self._slow(prompt[None], slice(slot, slot + 1), positions, span)
        self.slots.positions[slot] = start + prompt.shape[1]

    def step(self, rows: int, span: int) -> Tensor:
        """One frame for each of the first `rows` slots: [rows, 1 + codebooks], and they go on from it."""
        slots, model = self.slots, self._model
        hidden = self._slow(
            slots.tokens[:rows, :, None], slice(0, rows), slots.positions[:rows, None], span
        )[:, -1]
        temperature, top_p, penalty = slots.choice[:, :rows]
        choice = (temperature, top_p, torch.where(slots.spoken[:rows, None] < 0, 1, penalty))
        recent = slots.recent[:rows]
        # fish-speech penalises the codes of one frame here, not the tokens of many.
        token = choose(model.logits(hidden), slots.noise[:rows], choice, recent[:, :, 0])
        code = (token - self._first).clamp(0, self._last - self._first)
        frame = [token, code]
        self._fast(model.fast_project_in(hidden), rows, 0)
        for place in range(1, model.config.num_codebooks):
            logits = self._fast(model.fast_embeddings(code), rows, place)
            noise = slots.fast_noise[:rows, place - 1]
            logits = logits[:, : noise.shape[-1]]
            code = choose(logits, noise, choice, recent[:, place + 1])
            frame.append(code)
        frames = torch.stack(frame, dim=1)
        slots.remember(frames)
        return frames

    def _slow(self, tokens: Tensor, rows: slice, positions: Tensor, span: int) -> Tensor:
        slots, model = self.slots, self._model
        speech = (tokens[:, 0] >= self._first) & (tokens[:, 0] <= self._last)
        x = model.embed(tokens, speech)
        rope = self._rope[positions]
        group = model.config.n_head // model.config.n_local_heads
        mask = (self._places[:span] <= positions[..., None]).repeat(1, group, 1).unsqueeze(1)
        for index, layer in enumerate(model.layers):
            past = _SlowPast((slots.keys[index], slots.values[index]), rows, positions, span)
            x = layer(x, rope, mask, past)
        return x

    def _fast(self, x: Tensor, rows: int, place: int) -> Tensor:
        keys, values = self.slots.fast_keys[:, :rows], self.slots.fast_values[:, :rows]
        pasts = [_FastPast(k, v, place) for k, v in zip(keys, values, strict=True)]
        return self._model.fast(x, self._fast_rope[None, place : place + 1], list(pasts))
