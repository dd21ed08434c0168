"""Choosing tokens as fish-speech does, a row at a time of a batch."""

import torch
from torch import Tensor

_COLDEST = 1e-5


def choose(
    logits: Tensor,
    noise: Tensor,
    choice: tuple[Tensor, Tensor, Tensor],
    recent: Tensor,
) -> Tensor:
    """One token for each row, [rows].

    logits [rows, tokens] and noise (drawn from an exponential distribution) of the same shape and type;
    `choice` is temperature, top-p and repetition penalty, each [rows, 1]; `recent` [rows, any] are the
    tokens that the penalty is for.
    """
    temperature, top_p, penalty = choice
    score = torch.gather(logits, -1, recent)
    score = torch.where(score < 0, score * penalty, score / penalty)
    logits = logits.scatter(-1, recent, score.to(logits.dtype))
    ordered, order = torch.sort(logits, descending=True)
    dropped = torch.cumsum(torch.softmax(ordered, dim=-1), dim=-1) > top_p
    dropped[:, 0] = False
    logits = logits.masked_fill(dropped.scatter(-1, order, dropped), -torch.inf)
    logits = logits / torch.clip(temperature, min=_COLDEST).to(logits.dtype)
    return torch.argmax(torch.softmax(logits, dim=-1) / noise, dim=-1)
