"""A model's tokens: what they mean, their bytes, and the way from a prompt's parts to them."""

import ctypes
import re
from collections.abc import Iterable, Iterator, Sequence

import llama_cpp

from deployments.llm.chat_template import PromptPart

_STRUCTURE = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
_NAMED = _STRUCTURE | llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED


class Vocabulary:
    """The vocabulary of a loaded model.

    Attributes:
        bos: The text of the token that begins a prompt; empty where the model has none.
        eos: The text of the token that ends a text; empty where the model has none.
        silent: Tokens that write no text and do not end it.
    """

    def __init__(self, llama: llama_cpp.Llama) -> None:
        self._llama = llama
        vocab = llama_cpp.llama_model_get_vocab(llama.model)
        if vocab is None:
            raise ValueError("the model has no vocabulary")
        self._vocab = vocab
        self._control: dict[str, int] = {}
        self._defined: set[str] = set()
        self._attributes: dict[int, int] = {}
        self._read_named_tokens(llama.n_vocab())
        self._split = _any_of(self._control)
        self.silent = tuple(token for token in self._attributes if not self.is_end(token))
        self.bos = self._text(llama.token_bos())
        self.eos = self._text(llama.token_eos())

    def is_end(self, token: int) -> bool:
        """Whether the model says with this token that its reply is over."""
        return bool(llama_cpp.llama_vocab_is_eog(self._vocab, token))

    def is_control(self, text: str) -> bool:
        """Whether `text` is exactly one control token."""
        return text in self._control

    def bytes_of(self, token: int) -> bytes:
        """The bytes that a token writes; none for control tokens."""
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            written = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, size, 0, False)  # noqa: FBT003
            if written >= 0:
                return buffer.raw[:written]
            size = -written

    def tokenize(self, parts: Sequence[PromptPart]) -> list[int]:
        """The tokens of a prompt; only the template's own control tokens are taken as such.

        For contents without control tokens these are the tokens of the whole text.
        """
        tokens: list[int] = []
        for run in self._runs(parts):
            tokens += [run] if isinstance(run, int) else self.plain(run)
        bos = self._llama.token_bos()
        if llama_cpp.llama_vocab_get_add_bos(self._vocab) and tokens[:1] != [bos]:
            tokens.insert(0, bos)
        return tokens

    def count(self, text: str) -> int:
        """How many tokens a text has, without any template."""
        return len(self.plain(text))

    def plain(self, text: str) -> list[int]:
        """The tokens of a text, without any template and without the one that begins a prompt."""
        if not text:
            return []
        return self._llama.tokenize(text.encode("utf-8", "replace"), add_bos=False, special=False)

    def _runs(self, parts: Sequence[PromptPart]) -> Iterator[int | str]:
        """Control tokens of the template, and whole texts between them.

        Template text and contents are one text there: the tokenizer may join them at the border.
        """
        structure = self._defined_structure(parts)
        text, after = "", 0
        for part in parts:
            if part.is_content:
                for index, piece in enumerate(_broken(part.text, structure)):
                    if index:
                        yield text
                        text = ""
                    text += piece
                continue
            for index, piece in enumerate(self._split.split(part.text)):
                if index % 2 == 0:
                    text += piece
                    continue
                token = self._control[piece]
                yield self._trimmed(text, after, token)
                yield token
                text, after = "", token
        yield self._trimmed(text, after, None)

    def _defined_structure(self, parts: Sequence[PromptPart]) -> re.Pattern[str] | None:
        """Tokens of the template that its file calls user-defined: always parsed, also in texts."""
        template = "".join(part.text for part in parts if not part.is_content)
        used = [text for text in self._defined if text in template]
        return _any_of(used) if used else None

    def _trimmed(self, text: str, before: int, after: int | None) -> str:
        """The text without the spaces that the tokens beside it swallow."""
        if self._attributes.get(before, 0) & llama_cpp.LLAMA_TOKEN_ATTR_RSTRIP:
            text = text.lstrip()
        if after and self._attributes.get(after, 0) & llama_cpp.LLAMA_TOKEN_ATTR_LSTRIP:
            text = text.rstrip()
        return text

    def _text(self, token: int) -> str:
        if token < 0:
            return ""
        return llama_cpp.llama_vocab_get_text(self._vocab, token).decode("utf-8", "replace")

    def _read_named_tokens(self, count: int) -> None:
        for token in range(count):
            attributes = llama_cpp.llama_vocab_get_attr(self._vocab, token)
            if not attributes & _NAMED:
                continue
            text = self._text(token)
            if attributes & _STRUCTURE:
                self._control[text] = token
                self._attributes[token] = attributes
            elif text.strip():
                self._defined.add(text)
        self._control.pop("", None)


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Finds any of the texts, the longest first, as llama.cpp does."""
    ordered = sorted(texts, key=len, reverse=True)
    return re.compile(
        "(" + "|".join(re.escape(text) for text in ordered) + ")" if ordered else "(?!)()"
    )


def _broken(text: str, tokens: re.Pattern[str] | None) -> list[str]:
    """The text, cut inside every one of the tokens in it."""
    if tokens is None:
        return [text]
    cuts = [match.start() + 1 for match in tokens.finditer(text)]
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
