"""Text and recorded voices, as the prompt that S1-mini was trained on."""

import json
from collections.abc import Sequence
from typing import Any

import torch
from fish_speech.tokenizer import FishTokenizer
from torch import Tensor

from deployments.tts.openaudio.checkpoint import Checkpoint, DualArConfig

END_OF_SPEECH = "<|im_end|>"


class Words:
    """The checkpoint's tokenizer; control tokens in a text stay text."""

    def __init__(self, checkpoint: Checkpoint, config: DualArConfig) -> None:
        specials = _special_tokens(checkpoint, config)
        path = checkpoint.file("tokenizer.tiktoken")
        try:
            self._tokenizer: Any = FishTokenizer(str(path), specials)
        except Exception as error:
            raise checkpoint.wrong("'tokenizer.tiktoken' is no tokenizer of fish-speech") from error
        self.semantic: tuple[int, int] = (
            self._tokenizer.semantic_begin_id,
            self._tokenizer.semantic_end_id,
        )
        if self.semantic[1] >= config.vocab_size:
            raise checkpoint.wrong("the tokenizer has more tokens than the model")
        self.end_of_speech: int = self._tokenizer.get_token_id(END_OF_SPEECH)
        self._codebooks = config.num_codebooks
        self._opening = self._tokenizer.encode("<|interleave|>")
        self._speaker = self._tokenizer.encode("<|speaker:0|>")

    def prompt(self, text: str, spoken: Sequence[tuple[str, Tensor]] = ()) -> Tensor:
        """The prompt to speak `text` after what was `spoken`, [1 + codebooks, length].

        `spoken` are texts with their codes, [codebooks, frames].
        """
        pieces = [self._plain(self._opening)]
        for words, codes in spoken:
            pieces += [self._plain(self._speaker), self._text(words)]
            pieces.append(torch.cat([codes[:1] + self.semantic[0], codes]))
            pieces.append(self._plain([self.end_of_speech]))
        pieces += [self._plain(self._speaker), self._text(text)]
        return torch.cat(pieces, dim=1)

    def _text(self, text: str) -> Tensor:
        return self._plain(self._tokenizer.encode(text, allowed_special=False))

    def _plain(self, tokens: list[int]) -> Tensor:
        frames = torch.zeros((1 + self._codebooks, len(tokens)), dtype=torch.long)
        frames[0] = torch.tensor(tokens)
        return frames


def _special_tokens(checkpoint: Checkpoint, config: DualArConfig) -> list[str]:
    """Of `special_tokens.json` only the order counts, as in fish-speech."""
    path = checkpoint.file("special_tokens.json")
    try:
        names = [str(name) for name in json.loads(path.read_text(encoding="utf-8"))]
    except ValueError as error:
        raise checkpoint.wrong(f"special_tokens.json: {error}") from None
    codes = [f"<|semantic:{code}|>" for code in range(config.codebook_size)]
    begin = names.index(codes[0]) if codes[0] in names else len(names)
    if names[begin : begin + len(codes)] != codes:
        raise checkpoint.wrong("special_tokens.json lacks '<|semantic:…|>' tokens, or their order")
    for needed in ("<|interleave|>", END_OF_SPEECH):
        if needed not in names:
            raise checkpoint.wrong(f"special_tokens.json lacks '{needed}'")
    return names
