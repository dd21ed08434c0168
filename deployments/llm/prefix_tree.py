"""Finds which of the token sequences that are held begin as a prompt does."""

from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class _Node(Generic[K]):
    """Tokens that follow each other in every sequence below; `keys` are those sequences."""

    __slots__ = ("children", "keys", "tokens")

    def __init__(self, tokens: tuple[int, ...], keys: set[K]) -> None:
        self.tokens = tokens
        self.keys = keys
        self.children: dict[int, _Node[K]] = {}


class PrefixTree(Generic[K]):
    """Token sequences by key, what they have in common kept once (a radix tree)."""

    def __init__(self) -> None:
        self._root: _Node[K] = _Node((), set())
        self._lengths: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._lengths)

    def __contains__(self, key: K) -> bool:
        return key in self._lengths

    def put(self, key: K, tokens: Sequence[int]) -> None:
        """Hold a sequence, in place of what the key held before."""
        self.remove(key)
        self._lengths[key] = len(tokens)
        node, at = self._root, 0
        rest = tuple(tokens)
        while at < len(rest):
            child = node.children.get(rest[at])
            if child is None:
                node.children[rest[at]] = _Node(rest[at:], {key})
                return
            same = common_prefix(child.tokens, rest[at : at + len(child.tokens)])
            if same < len(child.tokens):
                self._split(node, child, same)
                child = node.children[rest[at]]
            child.keys.add(key)
            node, at = child, at + same

    def remove(self, key: K) -> None:
        """Forget the key's sequence, if there is one."""
        if self._lengths.pop(key, None) is None:
            return
        node = self._root
        while True:
            child = next((each for each in node.children.values() if key in each.keys), None)
            if child is None:
                return
            child.keys.discard(key)
            if not child.keys:
                del node.children[child.tokens[0]]
                return
            node = child

    def matches(self, tokens: Sequence[int]) -> dict[K, int]:
        """How many first tokens each sequence has in common with these; those with none left out."""
        found: dict[K, int] = {}
        node, at = self._root, 0
        while at < len(tokens):
            child = node.children.get(tokens[at])
            if child is None:
                break
            same = common_prefix(child.tokens, tokens[at : at + len(child.tokens)])
            at += same
            for key in child.keys:
                found[key] = at
            if same < len(child.tokens):
                break
            node = child
        return found

    def _split(self, parent: _Node[K], child: _Node[K], at: int) -> None:
        head: _Node[K] = _Node(child.tokens[:at], set(child.keys))
        child.tokens = child.tokens[at:]
        head.children[child.tokens[0]] = child
        parent.children[head.tokens[0]] = head


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many first tokens two sequences have in common."""
    shorter = min(len(one), len(other))
    if tuple(one[:shorter]) == tuple(other[:shorter]):  # the usual case, compared in C
        return shorter
    return next(at for at in range(shorter) if one[at] != other[at])
