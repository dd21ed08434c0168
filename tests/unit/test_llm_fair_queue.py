"""Who goes first."""

from hypothesis import given, strategies as st

from deployments.llm.fair_queue import FairQueue


def _queue(items: str) -> FairQueue[str]:
    queue: FairQueue[str] = FairQueue()
    for item in items:
        queue.put(item, live=item.isupper())
    return queue


def _taken(queue: FairQueue[str]) -> str:
    return "".join(iter(lambda: queue.take() or "", ""))


def test_live_goes_first_and_every_fourth_place_is_anothers():
    assert _taken(_queue("abcABCDEFG")) == "ABCaDEFbGc"


def test_who_came_first_is_first_in_its_line():
    assert _taken(_queue("cab")) == "cab"
    assert _taken(_queue("CAB")) == "CAB"


def test_live_ones_alone_use_no_place_up():
    queue = _queue("ABCDE")
    assert [queue.take() for _ in range(5)] == list("ABCDE")
    queue.put("a", live=False)
    queue.put("F", live=True)
    assert _taken(queue) == "Fa"


def test_one_that_does_not_fit_keeps_its_place():
    queue = _queue("ABa")
    assert queue.take(lambda item: item != "A") == "B"
    assert queue.take(lambda item: item == "x") is None
    assert _taken(queue) == "Aa"


def test_one_can_go_back_to_the_front_and_one_can_leave():
    queue = _queue("ABC")
    first = queue.take()
    assert first == "A"
    queue.put(first, live=True, first=True)
    queue.discard("B")
    queue.discard("nobody")
    assert _taken(queue) == "AC"


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_nobody_waits_for_more_than_four_times_those_before_it(steps: list[tuple[bool, bool]]):
    queue: FairQueue[tuple[int, bool]] = FairQueue()
    waited: dict[tuple[int, bool], int] = {}
    ahead: dict[tuple[int, bool], int] = {}
    for number, (puts, live) in enumerate(steps):
        if puts:
            item = (number, live)
            same = sum(each[1] == live for each in queue)
            queue.put(item, live=live)
            waited[item], ahead[item] = 0, same + 1
        elif (taken := queue.take()) is not None:
            assert waited.pop(taken) < 4 * ahead.pop(taken) + 4
            waited = {item: count + 1 for item, count in waited.items()}
