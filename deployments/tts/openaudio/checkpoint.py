"""S1-mini's folder: its sizes and its weights, all of them and nothing else."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from deployments.errors import WeightsNotFound

_SHOWN = 3
_Size = Annotated[int, Field(ge=1, le=1 << 20)]


class DualArConfig(BaseModel):
    """`config.json`, as far as the model's shape depends on it; names are fish-speech's."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model_type: Literal["dual_ar"]
    is_reward_model: Literal[False] = False
    vocab_size: _Size
    n_layer: _Size
    n_head: _Size
    n_local_heads: _Size
    head_dim: _Size
    dim: _Size
    intermediate_size: _Size
    max_seq_len: _Size
    rope_base: float = Field(gt=1)
    norm_eps: float = Field(gt=0)
    tie_word_embeddings: bool = True
    attention_qkv_bias: bool = False
    attention_o_bias: bool = False
    attention_qk_norm: bool = False
    scale_codebook_embeddings: bool = False
    codebook_size: _Size
    num_codebooks: int = Field(ge=2, le=64)
    n_fast_layer: _Size
    fast_dim: _Size
    fast_n_head: _Size
    fast_n_local_heads: _Size
    fast_head_dim: _Size
    fast_intermediate_size: _Size
    fast_attention_qkv_bias: bool = False
    fast_attention_o_bias: bool = False
    fast_attention_qk_norm: bool = False


class Checkpoint:
    """A folder in S1-mini's layout; `key` is the setting that names it."""

    def __init__(self, key: str, folder: Path) -> None:
        self._key, self._folder = key, folder

    def file(self, name: str) -> Path:
        """The full path of one of its files.

        Raises:
            WeightsNotFound: there is no such file.
        """
        path = self._folder / name
        if not path.is_file():
            raise self.wrong(f"the folder holds no '{name}'")
        return path

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self._folder / name).is_file()

    def config(self) -> DualArConfig:
        """The model's sizes.

        Raises:
            WeightsNotFound: `config.json` is missing or describes another model.
        """
        path = self.file("config.json")
        try:
            return DualArConfig.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise self.wrong(f"config.json: '{field}': {first['msg']}") from None
        except ValueError as error:
            raise self.wrong(f"config.json: {error}") from None

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        """The tensors of a `.pth` file, mapped from the disk and not yet read.

        Raises:
            WeightsNotFound: the file is missing or holds something else.
        """
        path = self.file(name)
        try:
            loaded: Any = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        except Exception as error:
            raise self.wrong(f"'{name}' is no PyTorch checkpoint of plain weights") from error
        if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
            loaded = loaded["state_dict"]
        if not isinstance(loaded, dict) or not all(map(torch.is_tensor, loaded.values())):
            raise self.wrong(f"'{name}' does not hold named weights")
        return loaded

    def fill(self, module: nn.Module, name: str, weights: dict[str, torch.Tensor]) -> None:
        """Give a module that stands on `meta` its weights.

        Raises:
            WeightsNotFound: a weight is missing, is too many, or has another shape.
        """
        wanted = module.state_dict()
        self._refuse(name, "lacks", wanted.keys() - weights.keys())
        self._refuse(name, "holds what the model has not:", weights.keys() - wanted.keys())
        for weight, tensor in weights.items():
            if tensor.shape != wanted[weight].shape:
                shapes = f"{tuple(tensor.shape)}, not {tuple(wanted[weight].shape)}"
                raise self.wrong(f"'{name}': '{weight}' has the shape {shapes}")
        module.load_state_dict(weights, assign=True)

    def wrong(self, reason: str) -> WeightsNotFound:
        """The error that names the setting and the folder."""
        return WeightsNotFound(self._key, str(self._folder), reason)

    def _refuse(self, name: str, what: str, weights: Iterable[str]) -> None:
        names = sorted(weights)
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise self.wrong(f"'{name}' {what} {', '.join(names[:_SHOWN])}{more}")
