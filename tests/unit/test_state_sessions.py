"""Remembered dialogues: what is kept, what is forgotten, and in which order."""

import random
from dataclasses import dataclass, field

import pytest

from configs.settings import SessionSettings, VoiceLibrarySettings
from deployments.messages import ChatMessage, Session
from deployments.state.server import StateServer
from deployments.state.sessions import Sessions

Turn = tuple[ChatMessage, ...]


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def bounds(**changes: float) -> SessionSettings:
    """Bounds that may be smaller than any that an operator can choose."""
    return SessionSettings().model_copy(update=changes)


def turn(question: str, answer: str = "Yes.") -> Turn:
    return ChatMessage("user", question), ChatMessage("assistant", answer)


def said(sessions: Sessions, session_id: str, owner: str = "ann") -> list[str] | None:
    """The user's side of a dialogue."""
    session = sessions.read(owner, session_id)
    return session and [m.content for m in session.messages if m.role == "user"]


def test_turns_are_read_in_the_order_in_which_they_were_added() -> None:
    clock = Clock()
    sessions = Sessions(bounds(), clock)
    sessions.append("ann", "1", turn("One?"), 0)
    clock.now = 1007.0
    sessions.append("ann", "1", turn("Two?", "No."), 0)
    assert sessions.read("ann", "1") == Session(
        "1", 1000.0, 1007.0, (*turn("One?"), *turn("Two?", "No."))
    )


def test_what_was_never_added_is_not_there() -> None:
    sessions = Sessions(bounds())
    assert sessions.read("ann", "1") is None
    assert not sessions.delete("ann", "1")


def test_owners_do_not_see_each_other() -> None:
    sessions = Sessions(bounds())
    sessions.append("ann", "1", turn("Ann?"), 0)
    assert said(sessions, "1", "bob") is None
    sessions.append("bob", "1", turn("Bob?"), 0)
    assert (said(sessions, "1", "ann"), said(sessions, "1", "bob")) == (["Ann?"], ["Bob?"])
    assert sessions.delete("bob", "1")
    assert said(sessions, "1", "ann") == ["Ann?"]


def test_a_deleted_dialogue_begins_anew() -> None:
    clock = Clock()
    sessions = Sessions(bounds(), clock)
    sessions.append("ann", "1", turn("One?"), 0)
    assert sessions.delete("ann", "1")
    assert sessions.read("ann", "1") is None
    clock.now += 5
    sessions.append("ann", "1", turn("Two?"), 0)
    assert sessions.read("ann", "1") == Session("1", 1005.0, 1005.0, turn("Two?"))


@pytest.mark.parametrize(
    ("drop_oldest", "left"),
    [(0, ["1?", "2?", "3?", "4?"]), (2, ["2?", "3?", "4?"]), (3, ["3?", "4?"]), (99, ["4?"])],
)
def test_the_messages_that_no_context_holds_go_before_a_turn_is_added(
    drop_oldest: int, left: list[str]
) -> None:
    sessions = Sessions(bounds())
    for number in (1, 2, 3):
        sessions.append("ann", "1", turn(f"{number}?"), 0)
    sessions.append("ann", "1", turn("4?"), drop_oldest)
    assert said(sessions, "1") == left


def test_too_many_messages_drop_the_oldest_turns_whole() -> None:
    sessions = Sessions(bounds(max_messages=5))
    for number in range(4):
        sessions.append("ann", "1", turn(f"{number}?"), 0)
    session = sessions.read("ann", "1")
    assert session
    assert session.messages == (*turn("2?"), *turn("3?"))


def test_too_long_a_dialogue_drops_the_oldest_turns_whole() -> None:
    sessions = Sessions(bounds(max_chars=30))
    for letter in "abc":
        sessions.append("ann", "1", turn(letter * 6, letter * 6), 0)
    assert said(sessions, "1") == ["bbbbbb", "cccccc"]


def test_a_turn_larger_than_a_dialogue_may_be_is_not_kept() -> None:
    sessions = Sessions(bounds(max_chars=30))
    sessions.append("ann", "1", turn("Short?"), 0)
    sessions.append("ann", "1", turn("x" * 31), 0)
    assert said(sessions, "1") == []
    sessions.append("ann", "1", turn("Again?"), 0)
    assert said(sessions, "1") == ["Again?"]


def test_the_least_recently_used_of_too_many_dialogues_is_forgotten() -> None:
    sessions = Sessions(bounds(max_sessions=2))
    sessions.append("ann", "1", turn("One?"), 0)
    sessions.append("ann", "2", turn("Two?"), 0)
    assert said(sessions, "1") == ["One?"]  # so it is used later than the second
    sessions.append("bob", "3", turn("Three?"), 0)
    assert [said(sessions, "1"), said(sessions, "2"), said(sessions, "3", "bob")] == [
        ["One?"],
        None,
        ["Three?"],
    ]


def test_too_much_text_in_all_forgets_the_least_recently_used_dialogue() -> None:
    sessions = Sessions(bounds(max_total_chars=30))
    for number in "12":
        sessions.append("ann", number, turn("x" * 6, "y" * 6), 0)
    sessions.append("ann", "3", turn("x" * 6, "y" * 6), 0)
    assert [said(sessions, number) is None for number in "123"] == [True, False, False]


def test_one_dialogue_alone_is_trimmed_to_the_total_and_not_forgotten() -> None:
    sessions = Sessions(bounds(max_total_chars=30))
    for letter in "abc":
        sessions.append("ann", "1", turn(letter * 6, letter * 6), 0)
    assert said(sessions, "1") == ["bbbbbb", "cccccc"]


def test_a_dialogue_that_was_not_used_for_long_is_forgotten() -> None:
    clock = Clock()
    sessions = Sessions(bounds(idle_s=60.0), clock)
    sessions.append("ann", "1", turn("One?"), 0)
    clock.now += 59
    assert said(sessions, "1") == ["One?"]  # which is a use of it
    clock.now += 59
    assert said(sessions, "1") == ["One?"]
    clock.now += 60
    assert said(sessions, "1") is None
    assert not sessions.delete("ann", "1")


@dataclass
class Model:
    """The same memory, written down as slowly and plainly as possible."""

    settings: SessionSettings
    clock: Clock
    # Least recently used first: owner, id, when it was used, turns.
    kept: list[tuple[str, str, float, list[Turn]]] = field(
        default_factory=list[tuple[str, str, float, list[Turn]]]
    )

    def take(self, owner: str, session_id: str) -> list[Turn] | None:
        now = self.clock.now
        self.kept = [entry for entry in self.kept if now - entry[2] < self.settings.idle_s]
        found = [entry for entry in self.kept if entry[:2] == (owner, session_id)]
        self.kept = [entry for entry in self.kept if entry not in found]
        return found[0][3] if found else None

    def read(self, owner: str, session_id: str) -> list[Turn] | None:
        turns = self.take(owner, session_id)
        if turns is not None:
            self.kept.append((owner, session_id, self.clock.now, turns))
        return turns

    def append(self, owner: str, session_id: str, new: Turn, drop_oldest: int) -> None:
        turns = self.take(owner, session_id) or []
        turns = [*turns[(drop_oldest + 1) // 2 :], new]
        while size(turns) > self.settings.max_chars or 2 * len(turns) > self.settings.max_messages:
            turns = turns[1:]
        self.kept.append((owner, session_id, self.clock.now, turns))
        while (
            len(self.kept) > self.settings.max_sessions
            or sum(size(entry[3]) for entry in self.kept) > self.settings.max_total_chars
        ):
            self.kept = self.kept[1:]


def size(turns: list[Turn]) -> int:
    return sum(len(message.content) for turn in turns for message in turn)


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_operations_leaves_what_a_plain_model_keeps(seed: int) -> None:
    chance = random.Random(seed)
    settings = bounds(
        idle_s=40.0, max_sessions=5, max_messages=8, max_chars=120, max_total_chars=300
    )
    clock = Clock()
    sessions, model = Sessions(settings, clock), Model(settings, clock)
    for step in range(400):
        clock.now += chance.choice([0, 0, 1, 5, 15])
        owner, session_id = chance.choice(["ann", "bob"]), chance.choice("1234")
        match chance.choice(["append", "append", "append", "read", "delete"]):
            case "append":
                new = turn("q" * chance.randrange(70), f"{step}" * chance.randrange(20))
                drop_oldest = chance.choice([0, 0, 0, 1, 2, 4])
                sessions.append(owner, session_id, new, drop_oldest)
                model.append(owner, session_id, new, drop_oldest)
            case "read":
                session, turns = sessions.read(owner, session_id), model.read(owner, session_id)
                assert (session is None) == (turns is None)
                if session and turns is not None:
                    assert session.messages == tuple(m for turn in turns for m in turn)
            case _:
                assert sessions.delete(owner, session_id) == (
                    model.take(owner, session_id) is not None
                )
        kept = sessions._dialogues.items()  # pyright: ignore[reportPrivateUsage]
        everything = [(key, list(dialogue.turns)) for key, dialogue in kept]
        assert everything == [((entry[0], entry[1]), entry[3]) for entry in model.kept]
        chars = sessions._chars  # pyright: ignore[reportPrivateUsage]
        assert chars == sum(size(turns) for _, turns in everything)


async def test_the_deployment_remembers_for_whoever_asks() -> None:
    state = StateServer(bounds(), VoiceLibrarySettings())
    await state.append_session("ann", "1", turn("One?"), 0)
    session = await state.read_session("ann", "1")
    assert session
    assert session.messages == turn("One?")
    assert await state.read_session("bob", "1") is None
    assert await state.delete_session("ann", "1")
    assert not await state.delete_session("ann", "1")
