"""Numbers between two bounds, as GBNF and as the simplest of them."""

import math
from dataclasses import dataclass

from deployments.llm.json_schema import MAX_DIGITS, Integer, Number, SchemaRefusal

_GREATEST = 10**MAX_DIGITS - 1
_FRACTION = '"." [0-9]{1,6}'
_NOT_ZERO = '"." [0-9]{0,5} [1-9]'
ANY_INTEGER = f'"-"? ("0" | [1-9] [0-9]{{0,{MAX_DIGITS - 1}}})'
ANY_NUMBER = f'{ANY_INTEGER} ("." [0-9]{{1,15}})? ([eE] [-+]? [0-9]{{1,2}})?'


@dataclass(frozen=True, slots=True)
class _Span:
    """Numbers of one sign, by their digits before the point, and what may follow these."""

    negative: bool
    lowest: int
    highest: int
    fraction: str

    def gbnf(self) -> str:
        sign = '"-" ' if self.negative else ""
        return f"{sign}{_whole(self.lowest, self.highest)} {self.fraction}".rstrip()

    def simplest(self) -> str:
        sign = "-" if self.negative and (self.lowest or self.fraction == _NOT_ZERO) else ""
        return f"{sign}{self.lowest}{'.5' if self.fraction == _NOT_ZERO else ''}"


def number_gbnf(node: Integer | Number) -> str:
    """The numbers of a node; of those beside a bound that is no whole number, not all.

    Raises:
        SchemaRefusal: there is none that can be written.
    """
    if node == Number():
        return ANY_NUMBER
    if node == Integer():
        return ANY_INTEGER
    return " | ".join(span.gbnf() for span in _spans(node))


def simplest_number(node: Integer | Number) -> str:
    """The number of a node that is nearest to zero.

    Raises:
        SchemaRefusal: there is none that can be written.
    """
    return min(_spans(node), key=lambda span: (span.lowest, span.fraction == _NOT_ZERO)).simplest()


def _spans(node: Integer | Number) -> list[_Span]:
    return _integer_spans(node) if isinstance(node, Integer) else _number_spans(node)


def _integer_spans(node: Integer) -> list[_Span]:
    low = -_GREATEST if node.lowest is None else node.lowest
    high = _GREATEST if node.highest is None else node.highest
    spans: list[_Span] = []
    if high >= 0:
        spans.append(_Span(False, max(low, 0), high, ""))  # noqa: FBT003
    if low < 0:
        spans.append(_Span(True, max(-high, 1), -low, ""))  # noqa: FBT003
    return spans


def _number_spans(node: Number) -> list[_Span]:
    low = -_GREATEST if node.lowest is None else node.lowest
    high = _GREATEST if node.highest is None else node.highest
    spans: list[_Span] = []
    if high >= 0:
        above = node.above_lowest and low >= 0
        spans += _signed(False, (max(low, 0), above), (high, node.below_highest))  # noqa: FBT003
    if low < 0:
        # Zero is written without a sign, and so by the span above, if at all.
        below = (node.below_highest and high <= 0) or high >= 0
        spans += _signed(True, (max(-high, 0), below), (-low, node.above_lowest))  # noqa: FBT003
    if not spans:
        raise SchemaRefusal("no number that can be written lies between the bounds")
    return spans


def _signed(
    negative: bool,  # noqa: FBT001
    low: tuple[float, bool],
    high: tuple[float, bool],
) -> list[_Span]:
    """The numbers between two bounds of at least 0, each with whether it is excluded."""
    first, last = math.ceil(low[0]), math.floor(high[0])
    spans: list[_Span] = []
    if low[1] and first == low[0]:
        if first < last:
            spans.append(_Span(negative, first, first, _NOT_ZERO))
        first += 1
    if first < last:
        spans.append(_Span(negative, first, last - 1, f"({_FRACTION})?"))
    if first <= last and not (high[1] and last == high[0]):
        spans.append(_Span(negative, last, last, ""))
    return spans


def _whole(low: int, high: int) -> str:
    """The digits of the whole numbers from `low` to `high`, without leading zeros."""
    alternatives: list[str] = []
    for length in range(len(str(low)), len(str(high)) + 1):
        first = max(low, 10 ** (length - 1) if length > 1 else 0)
        last = min(high, 10**length - 1)
        alternatives.append(_of_length(str(first), str(last)))
    return alternatives[0] if len(alternatives) == 1 else f"({' | '.join(alternatives)})"


def _of_length(low: str, high: str) -> str:
    """The same for numbers that have as many digits."""
    if not low:
        return ""
    if low[0] == high[0]:
        return f'"{low[0]}" {_of_length(low[1:], high[1:])}'.rstrip()
    rest = len(low) - 1
    first, last = int(low[0]), int(high[0])
    alternatives: list[str] = []
    if low[1:] != "0" * rest:
        alternatives.append(f'"{first}" {_of_length(low[1:], "9" * rest)}')
        first += 1
    tail = ""
    if high[1:] != "9" * rest:
        tail = f'"{last}" {_of_length("0" * rest, high[1:])}'
        last -= 1
    if first <= last:
        digits = f"[0-9]{{{rest}}}" if rest else ""
        alternatives.append(f"[{first}-{last}] {digits}".rstrip())
    if tail:
        alternatives.append(tail)
    return f"({' | '.join(alternatives)})" if len(alternatives) > 1 else alternatives[0]
