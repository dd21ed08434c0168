"""The two transformers of S1-mini, for rows at positions of their own.

fish-speech's modules speak for one caller at a time: all rows of a batch share one position. These have
the same weights under the same names, and the same arithmetic.
"""

import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from deployments.tts.openaudio.checkpoint import DualArConfig


class Past(Protocol):
    """Keys and values of the positions that came before, for one layer."""

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add those of this pass, [rows, n, heads, head_dim]; gives all, [rows, heads, m, head_dim]."""
        ...


class RmsNorm(nn.Module):
    """Computed in float32, scaled in the weights' own type."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        wide = x.float()
        scaled = wide * torch.rsqrt(torch.mean(wide * wide, dim=-1, keepdim=True) + self.eps)
        return scaled.type_as(x) * self.weight


class Attention(nn.Module):
    """Grouped-query attention; the queries of a group stand beside each other, so keys are not copied."""

    def __init__(
        self, dim: int, heads: tuple[int, int, int], *, qkv_bias: bool, o_bias: bool
    ) -> None:
        super().__init__()
        self.n_head, self.n_local_heads, self.head_dim = heads
        total = (self.n_head + 2 * self.n_local_heads) * self.head_dim
        self.wqkv = nn.Linear(dim, total, bias=qkv_bias)
        self.wo = nn.Linear(self.n_head * self.head_dim, dim, bias=o_bias)
        self.q_norm: nn.Module = nn.Identity()
        self.k_norm: nn.Module = nn.Identity()

    def norm_heads(self, eps: float) -> None:
        """Normalise queries and keys."""
        self.q_norm = nn.RMSNorm(self.head_dim, eps)
        self.k_norm = nn.RMSNorm(self.head_dim, eps)

    def forward(self, x: Tensor, rope: Tensor, mask: Tensor | None, past: Past) -> Tensor:
        """With x [rows, n, dim], rope [rows, n, head_dim / 2, 2], mask [rows, 1, group * n, m]."""
        rows, n, _ = x.shape
        local, size = self.n_local_heads, self.head_dim
        group = self.n_head // local
        q, k, v = self.wqkv(x).split([self.n_head * size, local * size, local * size], dim=-1)
        q = _rotate(self.q_norm(q.view(rows, n, self.n_head, size)), rope)
        k = _rotate(self.k_norm(k.view(rows, n, local, size)), rope)
        keys, values = past.extend(k, v.view(rows, n, local, size))
        q = q.view(rows, n, local, group, size).permute(0, 2, 3, 1, 4)
        q = q.reshape(rows, local, group * n, size)
        y = functional.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
        y = y.view(rows, local, group, n, size).permute(0, 3, 1, 2, 4)
        return self.wo(y.reshape(rows, n, self.n_head * size))


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, hidden, bias=False)
        self.w3 = nn.Linear(dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        return self.w2(functional.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    """One layer."""

    def __init__(self, attention: Attention, dim: int, hidden: int, eps: float) -> None:
        super().__init__()
        self.attention = attention
        self.feed_forward = FeedForward(dim, hidden)
        self.ffn_norm = RmsNorm(dim, eps)
        self.attention_norm = RmsNorm(dim, eps)

    def forward(self, x: Tensor, rope: Tensor, mask: Tensor | None, past: Past) -> Tensor:
        """As `Attention.forward`."""
        h = x + self.attention(self.attention_norm(x), rope, mask, past)
        return h + self.feed_forward(self.ffn_norm(h))


class DualAr(nn.Module):
    """A slow transformer that gives one token a frame, and a fast one that gives the frame's codes."""

    def __init__(self, config: DualArConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = nn.Embedding(config.vocab_size, config.dim)
        self.codebook_embeddings = nn.Embedding(
            config.codebook_size * config.num_codebooks, config.dim
        )
        self.layers = nn.ModuleList(_slow_block(config) for _ in range(config.n_layer))
        self.norm = RmsNorm(config.dim, config.norm_eps)
        if not config.tie_word_embeddings:
            self.output = nn.Linear(config.dim, config.vocab_size, bias=False)
        self.fast_project_in: nn.Module = nn.Identity()
        if config.fast_dim != config.dim:
            self.fast_project_in = nn.Linear(config.dim, config.fast_dim)
        self.fast_embeddings = nn.Embedding(config.codebook_size, config.fast_dim)
        self.fast_layers = nn.ModuleList(_fast_block(config) for _ in range(config.n_fast_layer))
        self.fast_norm = RmsNorm(config.fast_dim, config.norm_eps)
        self.fast_output = nn.Linear(config.fast_dim, config.codebook_size, bias=False)

    def embed(self, tokens: Tensor, speech: Tensor) -> Tensor:
        """From tokens [rows, 1 + codebooks, n], `speech` [rows, n] where they are sound: [rows, n, dim]."""
        config = self.config
        first = torch.arange(config.num_codebooks, device=tokens.device) * config.codebook_size
        sound = self.codebook_embeddings(tokens[:, 1:] + first[:, None]).sum(dim=1)
        speech = speech.unsqueeze(-1)
        x = self.embeddings(tokens[:, 0]) + sound.masked_fill(~speech, 0)
        if config.scale_codebook_embeddings:
            x = torch.where(speech, x / math.sqrt(config.num_codebooks + 1), x)
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """From [rows, dim] of the slow transformer, the next token's logits, [rows, vocabulary]."""
        slow = self.norm(hidden)
        if self.config.tie_word_embeddings:
            return functional.linear(slow, self.embeddings.weight)
        return self.output(slow)

    def fast(self, x: Tensor, rope: Tensor, pasts: list[Past]) -> Tensor:
        """From [rows, fast_dim], one code's place in a frame: the code's logits, [rows, codes]."""
        x = x.unsqueeze(1)
        for layer, past in zip(self.fast_layers, pasts, strict=True):
            x = layer(x, rope, None, past)
        return self.fast_output(self.fast_norm(x)).squeeze(1)


def rope_table(positions: int, head_dim: int, base: float, device: torch.device) -> Tensor:
    """Cosines and sines, [positions, head_dim / 2, 2], rounded to bfloat16 as the model was trained."""
    frequencies = 1.0 / (base ** (torch.arange(0, head_dim, 2)[: head_dim // 2].float() / head_dim))
    angles = torch.outer(torch.arange(positions), frequencies)
    cis = torch.polar(torch.ones_like(angles), angles)
    return torch.stack([cis.real, cis.imag], dim=-1).to(torch.bfloat16).to(device)


def _rotate(x: Tensor, rope: Tensor) -> Tensor:
    pairs = x.float().reshape(*x.shape[:-1], -1, 2)
    cos, sin = rope[:, :, None, :, 0], rope[:, :, None, :, 1]
    even, odd = pairs[..., 0], pairs[..., 1]
    turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1)
    return turned.flatten(3).type_as(x)


def _slow_block(config: DualArConfig) -> Block:
    attention = Attention(
        config.dim,
        (config.n_head, config.n_local_heads, config.head_dim),
        qkv_bias=config.attention_qkv_bias,
        o_bias=config.attention_o_bias,
    )
    if config.attention_qk_norm:
        attention.norm_heads(config.norm_eps)
    return Block(attention, config.dim, config.intermediate_size, config.norm_eps)


def _fast_block(config: DualArConfig) -> Block:
    attention = Attention(
        config.fast_dim,
        (config.fast_n_head, config.fast_n_local_heads, config.fast_head_dim),
        qkv_bias=config.fast_attention_qkv_bias,
        o_bias=config.fast_attention_o_bias,
    )
    if config.fast_attention_qk_norm:
        attention.norm_heads(config.norm_eps)
    return Block(attention, config.fast_dim, config.fast_intermediate_size, config.norm_eps)
