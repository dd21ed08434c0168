"""fish-speech's own generation, as it is: what ours is measured against."""

import importlib.machinery
import sys
import types
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_LORA = "loralib"  # imported by its model, never called


class Upstream:
    """Its model of a checkpoint, speaking one text at a time; codes are [codebooks, frames]."""

    def __init__(
        self,
        folder: Path,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        *,
        compiled: bool = False,
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.module = _inference()
            self._device = device
            self.model, self._decode = self.module.init_model(
                str(folder), device, dtype, compile=compiled
            )
        self.model.setup_caches = lambda **_: None  # else it allocates caches for every text

    def codes(
        self, text: str, seed: int, frames: int, spoken: Sequence[tuple[str, Tensor]] = ()
    ) -> Tensor:
        """At most `frames` of them. It drops the last frame where it is cut off: it is asked for one more."""
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers = self.module.generate_long(
                model=self.model,
                device=self._device,
                decode_one_token=self._decode,
                text=text,
                max_new_tokens=frames + 1,
                temperature=0.8,
                top_p=0.8,
                repetition_penalty=1.1,
                prompt_text=[words for words, _ in spoken] or None,
                prompt_tokens=[codes for _, codes in spoken],
            )
            return next(iter(answers)).codes.long()


def _inference() -> Any:
    stand_in = types.ModuleType(_LORA)
    stand_in.__spec__ = importlib.machinery.ModuleSpec(_LORA, None)
    sys.modules.setdefault(_LORA, stand_in)
    import fish_speech.models.text2semantic.inference as inference
    from loguru import logger

    logger.remove()
    inference.tqdm = lambda steps, **_: steps
    return inference
