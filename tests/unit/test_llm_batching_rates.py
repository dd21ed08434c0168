"""How the language model's benchmark counts."""

import pytest

from benchmarks.llm_batching import Timing, rate_together, staggered


def test_a_rate_is_taken_only_while_all_are_behind_their_half() -> None:
    slow = [2.0, 4.0, 6.0, 8.0, 10.0]
    fast = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert rate_together([slow, fast], half=2) == pytest.approx((2 + 4) / 4)


def test_staggered_replies_come_later_and_are_counted_from_the_first_start() -> None:
    found = staggered(lambda _, tokens: Timing(0.1, 1.0, tokens), ["a", "b", "c", "d"], 8, 0.01)
    assert [each.tokens for each in found] == [12, 10, 8, 6]
    assert [each.total_s for each in found] == pytest.approx([1.0, 1.01, 1.02, 1.03])
