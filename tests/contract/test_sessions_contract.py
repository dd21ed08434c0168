"""What every memory of sessions must do: what is kept, what is forgotten, and in which order."""

import random
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast
from uuid import uuid4

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from configs.settings import SessionSettings
from deployments.messages import ChatMessage, Session
from deployments.metrics import MemoryMetrics
from deployments.state.sessions import Sessions
from serve_app.session_memory import turns as stored
from serve_app.session_memory.redis_sessions import RedisSessions
from tests.redis_server import RedisServer, redis_running
from tests.unit.memory_counts import Counts

Turn = tuple[ChatMessage, ...]
Kept = list[tuple[str, str, list[Turn]]]  # owner, id, turns; least recently used first


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def bounds(**changes: float) -> SessionSettings:
    """Bounds that may be smaller than any that an operator can choose."""
    return SessionSettings().model_copy(update=changes)


class InGraph:
    """The memory of the `state` deployment."""

    def __init__(self, settings: SessionSettings, clock: Clock | None) -> None:
        self._sessions = Sessions(settings, clock) if clock else Sessions(settings)

    async def read_session(self, owner: str, session_id: str) -> Session | None:
        return self._sessions.read(owner, session_id)

    async def append_session(
        self, owner: str, session_id: str, turn: Turn, drop_oldest: int = 0
    ) -> None:
        self._sessions.append(owner, session_id, turn, drop_oldest)

    async def write_session(self, owner: str, session_id: str, messages: Turn) -> None:
        self._sessions.write(owner, session_id, messages)

    async def delete_session(self, owner: str, session_id: str) -> bool:
        return self._sessions.delete(owner, session_id)

    async def kept(self, owners: tuple[str, ...]) -> tuple[Kept, int]:
        """All that is known, without using it, and how many characters it is said to have."""
        dialogues = self._sessions._dialogues.items()
        return [(*key, list(each.turns)) for key, each in dialogues], self._sessions._chars


class InRedis(RedisSessions):
    """The memory in Redis, under a name of its own."""

    def __init__(self, server: RedisServer, settings: SessionSettings, clock: Clock | None) -> None:
        self.prefix = uuid4().hex
        own = {"redis_url": SecretStr(server.url), "redis_prefix": self.prefix}
        patient = {"redis_timeout_s": 10.0, "redis_connections": 4}
        counts = cast("MemoryMetrics", Counts())
        super().__init__(settings.model_copy(update=own | patient), counts, clock)

    async def kept(self, owners: tuple[str, ...]) -> tuple[Kept, int]:
        names = {stored.member(owner, ""): owner for owner in owners}
        redis, prefix = self._redis, f"{self.prefix}:1"
        kept: Kept = []
        for used in await redis.zrange(f"{prefix}:used", 0, -1):
            digest, session_id = used.decode().split(":")
            *each, _ = await redis.lrange(f"{prefix}:session:{used.decode()}", 0, -1)
            turns = [tuple(stored._messages(turn)) for turn in each]
            kept.append((names[f"{digest}:"], session_id, turns))
        total = await redis.hget(f"{prefix}:sizes", "total")
        assert len(kept) == max(0, await redis.hlen(f"{prefix}:sizes") - 1)
        return kept, int(total or 0)


Store = InGraph | InRedis
Open = Callable[..., Store]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisServer]:
    with redis_running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["graph", "redis"])
async def opened(request: pytest.FixtureRequest) -> AsyncGenerator[Open]:
    async with opening(request.param, request) as each:
        yield each


@asynccontextmanager
async def opening(kind: str, request: pytest.FixtureRequest) -> AsyncGenerator[Open]:
    clients: list[Redis] = []

    def open_store(clock: Clock | None = None, **changes: float) -> Store:
        settings = bounds(**changes)
        if kind == "graph":
            return InGraph(settings, clock)
        store = InRedis(request.getfixturevalue("server"), settings, clock)
        clients.append(store._redis)
        return store

    yield open_store
    for client in clients:
        await client.aclose()


def turn(question: str, answer: str = "Yes.") -> Turn:
    return ChatMessage("user", question), ChatMessage("assistant", answer)


async def said(store: Store, session_id: str, owner: str = "ann") -> list[str] | None:
    """The user's side of a dialogue."""
    session = await store.read_session(owner, session_id)
    return session and [m.content for m in session.messages if m.role == "user"]


async def test_turns_are_read_in_the_order_in_which_they_were_added(opened: Open) -> None:
    clock = Clock()
    store = opened(clock)
    await store.append_session("ann", "1", turn("One?"), 0)
    clock.now = 1007.0
    await store.append_session("ann", "1", turn("Two?", "No."), 0)
    assert await store.read_session("ann", "1") == Session(
        "1", 1000.0, 1007.0, (*turn("One?"), *turn("Two?", "No."))
    )


async def test_what_was_never_added_is_not_there(opened: Open) -> None:
    store = opened()
    assert await store.read_session("ann", "1") is None
    assert not await store.delete_session("ann", "1")


async def test_owners_do_not_see_each_other(opened: Open) -> None:
    store = opened()
    await store.append_session("ann", "1", turn("Ann?"), 0)
    assert await said(store, "1", "bob") is None
    await store.append_session("bob", "1", turn("Bob?"), 0)
    assert (await said(store, "1", "ann"), await said(store, "1", "bob")) == (["Ann?"], ["Bob?"])
    assert await store.delete_session("bob", "1")
    assert await said(store, "1", "ann") == ["Ann?"]


async def test_a_deleted_dialogue_begins_anew(opened: Open) -> None:
    clock = Clock()
    store = opened(clock)
    await store.append_session("ann", "1", turn("One?"), 0)
    assert await store.delete_session("ann", "1")
    assert await store.read_session("ann", "1") is None
    clock.now += 5
    await store.append_session("ann", "1", turn("Two?"), 0)
    assert await store.read_session("ann", "1") == Session("1", 1005.0, 1005.0, turn("Two?"))


@pytest.mark.parametrize(
    ("drop_oldest", "left"),
    [(0, ["1?", "2?", "3?", "4?"]), (2, ["2?", "3?", "4?"]), (3, ["3?", "4?"]), (99, ["4?"])],
)
async def test_the_messages_that_no_context_holds_go_before_a_turn_is_added(
    opened: Open, drop_oldest: int, left: list[str]
) -> None:
    store = opened()
    for number in (1, 2, 3):
        await store.append_session("ann", "1", turn(f"{number}?"), 0)
    await store.append_session("ann", "1", turn("4?"), drop_oldest)
    assert await said(store, "1") == left


async def test_too_many_messages_drop_the_oldest_turns_whole(opened: Open) -> None:
    store = opened(max_messages=5)
    for number in range(4):
        await store.append_session("ann", "1", turn(f"{number}?"), 0)
    session = await store.read_session("ann", "1")
    assert session
    assert session.messages == (*turn("2?"), *turn("3?"))


async def test_too_long_a_dialogue_drops_the_oldest_turns_whole(opened: Open) -> None:
    store = opened(max_chars=30)
    for letter in "abc":
        await store.append_session("ann", "1", turn(letter * 6, letter * 6), 0)
    assert await said(store, "1") == ["bbbbbb", "cccccc"]


async def test_a_turn_larger_than_a_dialogue_may_be_is_not_kept(opened: Open) -> None:
    store = opened(max_chars=30)
    await store.append_session("ann", "1", turn("Short?"), 0)
    await store.append_session("ann", "1", turn("x" * 31), 0)
    assert await said(store, "1") == []
    await store.append_session("ann", "1", turn("Again?"), 0)
    assert await said(store, "1") == ["Again?"]


async def test_the_least_recently_used_of_too_many_dialogues_is_forgotten(opened: Open) -> None:
    store = opened(max_sessions=2)
    await store.append_session("ann", "1", turn("One?"), 0)
    await store.append_session("ann", "2", turn("Two?"), 0)
    assert await said(store, "1") == ["One?"]  # so it is used later than the second
    await store.append_session("bob", "3", turn("Three?"), 0)
    assert [await said(store, "1"), await said(store, "2"), await said(store, "3", "bob")] == [
        ["One?"],
        None,
        ["Three?"],
    ]


async def test_too_much_text_in_all_forgets_the_least_recently_used_dialogue(opened: Open) -> None:
    store = opened(max_total_chars=30)
    for number in "12":
        await store.append_session("ann", number, turn("x" * 6, "y" * 6), 0)
    await store.append_session("ann", "3", turn("x" * 6, "y" * 6), 0)
    assert [await said(store, number) is None for number in "123"] == [True, False, False]


async def test_one_dialogue_alone_is_trimmed_to_the_total_and_not_forgotten(opened: Open) -> None:
    store = opened(max_total_chars=30)
    for letter in "abc":
        await store.append_session("ann", "1", turn(letter * 6, letter * 6), 0)
    assert await said(store, "1") == ["bbbbbb", "cccccc"]


async def test_a_dialogue_that_was_not_used_for_long_is_forgotten(opened: Open) -> None:
    clock = Clock()
    store = opened(clock, idle_s=60.0)
    await store.append_session("ann", "1", turn("One?"), 0)
    clock.now += 59
    assert await said(store, "1") == ["One?"]  # which is a use of it
    clock.now += 59
    assert await said(store, "1") == ["One?"]
    clock.now += 60
    assert await said(store, "1") is None
    assert not await store.delete_session("ann", "1")


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
        while drop_oldest > 0 and turns:
            drop_oldest -= len(turns[0])
            turns = turns[1:]
        self.keep(owner, session_id, [*turns, new])

    def write(self, owner: str, session_id: str, messages: Turn) -> None:
        self.take(owner, session_id)
        self.keep(owner, session_id, [(message,) for message in messages])

    def keep(self, owner: str, session_id: str, turns: list[Turn]) -> None:
        while (
            size(turns) > self.settings.max_chars
            or sum(len(turn) for turn in turns) > self.settings.max_messages
        ):
            turns = turns[1:]
        self.kept.append((owner, session_id, self.clock.now, turns))
        while (
            len(self.kept) > self.settings.max_sessions
            or sum(size(entry[3]) for entry in self.kept) > self.settings.max_total_chars
        ):
            self.kept = self.kept[1:]


def size(turns: list[Turn]) -> int:
    return sum(len(message.content) for turn in turns for message in turn)


SEEDS = [("graph", seed) for seed in range(20)] + [("redis", seed) for seed in range(4)]


@pytest.mark.parametrize(("kind", "seed"), SEEDS)
async def test_any_order_of_operations_leaves_what_a_plain_model_keeps(
    kind: str, seed: int, request: pytest.FixtureRequest
) -> None:
    chance = random.Random(seed)
    limits = {
        "idle_s": 40.0,
        "max_sessions": 5,
        "max_messages": 8,
        "max_chars": 120,
        "max_total_chars": 300,
    }
    clock = Clock()
    model = Model(bounds(**limits), clock)
    async with opening(kind, request) as opened:
        store = opened(clock, **limits)
        for step in range(300):
            clock.now += chance.choice([0.25, 0.25, 1, 5, 15])
            await one_step(store, model, chance, step)
            kept, chars = await store.kept(("ann", "bob"))
            if not idle(model, clock):
                assert kept == [(owner, name, turns) for owner, name, _, turns in model.kept]
            assert chars == sum(size(turns) for _, _, turns in kept)


def idle(model: "Model", clock: Clock) -> bool:
    """Whether the model holds something that is forgotten with the next call."""
    return any(clock.now - used_at >= model.settings.idle_s for _, _, used_at, _ in model.kept)


async def one_step(store: Store, model: "Model", chance: random.Random, step: int) -> None:
    owner, session_id = chance.choice(["ann", "bob"]), chance.choice("1234")
    match chance.choice(["append", "append", "append", "write", "read", "delete"]):
        case "append":
            new = turn("q" * chance.randrange(70), f"{step}" * chance.randrange(20))
            drop_oldest = chance.choice([0, 0, 0, 1, 2, 4])
            await store.append_session(owner, session_id, new, drop_oldest)
            model.append(owner, session_id, new, drop_oldest)
        case "write":
            texts = ["w" * chance.randrange(50) for _ in range(chance.randrange(12))]
            messages = tuple(ChatMessage("user", text) for text in texts)
            await store.write_session(owner, session_id, messages)
            model.write(owner, session_id, messages)
        case "read":
            session = await store.read_session(owner, session_id)
            turns = model.read(owner, session_id)
            assert (session is None) == (turns is None)
            if session and turns is not None:
                assert session.messages == tuple(m for turn in turns for m in turn)
        case _:
            there = model.take(owner, session_id) is not None
            assert await store.delete_session(owner, session_id) == there


# ---- what only a memory outside can do ----------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "session_id"),
    [("ann:1", "2"), ("ann", "1:2"), ("", "ann:1:2"), ("ann\n", "\0"), ("a\ud800", "ä *?[x]")],
)
async def test_no_name_leads_to_another_dialogue(opened: Open, owner: str, session_id: str) -> None:
    store = opened()
    await store.append_session("ann", "1", turn("Ann?"), 0)
    assert await store.read_session(owner, session_id) is None
    await store.append_session(owner, session_id, turn("Mine?"), 0)
    assert await said(store, session_id, owner) == ["Mine?"]
    assert await said(store, "1") == ["Ann?"]
    assert await store.delete_session(owner, session_id)
    assert await said(store, "1") == ["Ann?"]


@pytest.mark.parametrize("text", ["", "ä€😀" * 9, "\ud83d", '"\\\n\0\r\n 1 2 [[', "x" * 90_000])
async def test_every_text_comes_back_as_it_was(opened: Open, text: str) -> None:
    store = opened()
    await store.append_session("ann", "1", turn(text, text[::-1][:1000]), 0)
    session = await store.read_session("ann", "1")
    assert session
    assert session.messages == turn(text, text[::-1][:1000])
