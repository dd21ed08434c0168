import itertools

import pytest

from deployments.llm.window import cuts, room_for_prompt, shortened
from deployments.messages import ChatMessage, Role

ROLES: dict[str, Role] = {"s": "system", "u": "user", "a": "assistant"}


def _messages(roles: str) -> list[ChatMessage]:
    return [ChatMessage(ROLES[role], str(at)) for at, role in enumerate(roles)]


@pytest.mark.parametrize(
    ("roles", "room", "left_out"),
    [
        ("u", 10, [0]),
        ("u", 0, [0]),
        ("uauau", 5, [0, 2, 4]),
        ("uauau", 4, [2, 4]),  # 3 of 4 are left
        ("uauau", 3, [4]),
        ("suauau", 5, [4]),
        ("suauau", 1, [4]),
        ("auau", 3, [3]),
        ("auau", 4, [0, 1, 3]),
        ("uuauu", 4, [3]),  # two messages of the user are one turn
        ("uauaua", 4, [2, 4]),
        ("ususu", 2, [0]),
        ("aaa", 1, [0]),
        ("", 1, [0]),
    ],
)
def test_whole_turns_are_left_out_but_never_the_last(
    roles: str, room: int, left_out: list[int]
) -> None:
    messages = _messages(roles)
    assert cuts(messages, [1] * len(messages), room) == left_out


def test_a_request_leaves_out_what_the_one_before_it_left_out() -> None:
    firsts = [
        cuts(_messages("s" + "ua" * turns + "u"), [10] * (2 * turns + 2), 200)[0]
        for turns in range(40)
    ]
    assert firsts == sorted(firsts)
    changes = sum(one != other for one, other in itertools.pairwise(firsts))
    assert 7 <= changes <= 10  # of 31 turns that do not fit


def test_system_messages_stay_wherever_they_are() -> None:
    messages = _messages("suasuau")
    kept = [rest for _, rest in shortened(messages, [1] * 7, 3)]
    assert ["".join(message.role[0] for message in rest) for rest in kept] == ["ssu"]
    assert kept[0] == (messages[0], messages[3], messages[6])


def test_the_reply_keeps_a_quarter_of_the_context_or_what_it_may_have() -> None:
    assert room_for_prompt(1000, 100) == 900
    assert room_for_prompt(1000, 5000) == 750
