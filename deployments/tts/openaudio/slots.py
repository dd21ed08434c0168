"""The state of the sequences that are spoken together: one slot each, in tensors that never move."""

from dataclasses import dataclass

import torch
from torch import Tensor

from deployments.tts.openaudio.checkpoint import DualArConfig

RECENT = 16  # frames that the repetition penalty looks back on
FAST_CODES = 1024  # of a residual codebook; the fast transformer's other outputs are never chosen


@dataclass(frozen=True, slots=True)
class Choice:
    """How tokens are chosen; the numbers are rounded to bfloat16, as fish-speech rounds them."""

    temperature: float = 0.8
    top_p: float = 0.8
    repetition_penalty: float = 1.1


class Slots:
    """Tensors with a row for each of `count` slots.

    `tokens` [slots, 1 + codebooks] is the frame that is read next, `positions` where it stands, `spoken`
    how many frames were made (-1: none). A slot that is not `live` keeps its position: what a step leaves
    there is overwritten by whatever is read next.
    """

    def __init__(
        self,
        count: int,
        max_seq_len: int,
        config: DualArConfig,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        def zeros(*shape: int, of: torch.dtype = torch.long) -> Tensor:
            return torch.zeros(shape, dtype=of, device=device)

        codebooks = config.num_codebooks
        cache = (config.n_layer, count, max_seq_len, config.n_local_heads, config.head_dim)
        fast = (
            config.n_fast_layer,
            count,
            codebooks,
            config.fast_n_local_heads,
            config.fast_head_dim,
        )
        self.keys, self.values = zeros(*cache, of=dtype), zeros(*cache, of=dtype)
        self.fast_keys, self.fast_values = zeros(*fast, of=dtype), zeros(*fast, of=dtype)
        self.tokens = zeros(count, 1 + codebooks)
        self.positions = zeros(count)
        self.spoken = zeros(count)
        self.live = zeros(count, of=torch.bool)
        self.recent = zeros(count, 1 + codebooks, RECENT)
        self.choice = torch.ones((3, count, 1), dtype=torch.bfloat16, device=device)
        self.noise = torch.ones((count, config.vocab_size), dtype=dtype, device=device)
        self.fast_noise = torch.ones(
            (count, codebooks - 1, min(FAST_CODES, config.codebook_size)),
            dtype=dtype,
            device=device,
        )

    def begin(self, slot: int, frame: Tensor, position: int, choice: Choice) -> None:
        """Let a slot speak: `frame` [1 + codebooks] is the last of its prompt, at `position`."""
        self.tokens[slot] = frame
        self.positions[slot] = position
        self.spoken[slot] = -1
        self.recent[slot] = 0
        numbers = (choice.temperature, choice.top_p, choice.repetition_penalty)
        for row, number in zip(self.choice, numbers, strict=True):
            row[slot] = number
        self.live[slot] = True

    def end(self, slot: int) -> None:
        """Leave a slot to the next sequence."""
        self.live[slot] = False
        self.positions[slot] = 0

    def draw(self, slot: int, generator: torch.Generator) -> None:
        """The noise of one frame, in the order in which fish-speech draws it."""
        self.noise[slot].exponential_(1, generator=generator)
        for row in self.fast_noise[slot]:
            row.exponential_(1, generator=generator)

    def remember(self, frames: Tensor) -> None:
        """Take a step's frames [rows, 1 + codebooks] as what is read next; dead rows are left."""
        rows = len(frames)
        spoken, recent = self.spoken[:rows], self.recent[:rows]
        live = self.live[:rows]
        full = (spoken >= RECENT)[:, None, None]
        shifted = torch.where(full, recent.roll(-1, dims=-1), recent)
        place = spoken.clamp(0, RECENT - 1)[:, None, None].expand(-1, recent.shape[1], 1)
        written = shifted.scatter(-1, place, frames.unsqueeze(-1))
        known = (live & (spoken >= 0))[
            :, None, None
        ]  # the first frame is not penalised by fish-speech
        self.recent[:rows] = torch.where(known, written, recent)
        self.tokens[:rows] = torch.where(live[:, None], frames, self.tokens[:rows])
        self.positions[:rows] += live
        self.spoken[:rows] += live
