"""What a turn remembers, and when."""

import asyncio
from dataclasses import dataclass, field

import pytest

from deployments.errors import SpeechError, StageFailed, StageTimeout
from deployments.messages import ChatMessage, Session
from serve_app.dialogue.events import ReplyWritten, TurnFinished
from serve_app.dialogue.memory import Memory
from serve_app.dialogue.together import both
from tests.unit.scripted_stages import OPEN, Stages, settled

ANSWERED = ChatMessage("user", "Hello."), ChatMessage("assistant", "It is Paris. It is big.")
BEFORE = ChatMessage("user", "Hi."), ChatMessage("assistant", "Good day.")


@dataclass
class Store:
    """Remembers what it was told; breaks when told to."""

    messages: tuple[ChatMessage, ...] | None = None
    error: SpeechError | None = None
    gate: asyncio.Event = OPEN
    added: list[object] = field(default_factory=list[object])

    async def read_session(self, owner: str, session_id: str) -> Session | None:
        assert (owner, session_id) == ("ann", "7")
        if self.error:
            raise self.error
        return None if self.messages is None else Session(session_id, 1.0, 2.0, self.messages)

    async def append_session(
        self, owner: str, session_id: str, turn: tuple[ChatMessage, ...], drop_oldest: int = 0
    ) -> None:
        assert (owner, session_id) == ("ann", "7")
        await self.gate.wait()
        if self.error:
            raise self.error
        self.added.append((turn, drop_oldest))


async def test_what_was_said_before_is_recalled() -> None:
    assert await Memory(Store(BEFORE), "ann", "7").recall() == BEFORE


async def test_a_new_session_recalls_nothing_and_has_not_failed() -> None:
    memory = Memory(Store(), "ann", "7")
    assert await memory.recall() == ()
    assert not memory.failed


async def test_without_a_session_nothing_is_recalled_or_kept() -> None:
    store = Store(error=StageFailed("state"))
    memory = Memory(store, "ann", None)
    assert await memory.recall() == ()
    await Stages().run(memory=memory)
    assert store.added == []
    assert not memory.failed


async def test_a_turn_is_kept_as_the_model_saw_and_wrote_it() -> None:
    store, stages = Store(), Stages(dropped=2)
    await stages.run(template="They said: {transcript}", memory=Memory(store, "ann", "7"))
    user = stages.asked[0].messages[-1]
    assert user.content == "They said: Hello."
    assert store.added == [((user, ANSWERED[1]), 2)]


async def test_the_voice_speaks_on_while_a_turn_is_kept() -> None:
    store, stages = Store(gate=asyncio.Event()), Stages()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stages.run(memory=Memory(store, "ann", "7")))
        await settled()
        assert [clause.text for clause in stages.spoken] == ["It is Paris.", "It is big."]
        assert stages.of(TurnFinished) == store.added == []
        store.gate.set()
    assert store.added == [(ANSWERED, 0)]
    assert len(stages.of(TurnFinished)) == 1


async def test_a_turn_in_which_nobody_spoke_is_not_kept() -> None:
    store = Store()
    await Stages(heard="").run(memory=Memory(store, "ann", "7"))
    assert store.added == []


async def test_a_turn_whose_model_fails_is_not_kept() -> None:
    store = Store()
    with pytest.raises(StageFailed):
        await Stages(llm_error=StageFailed("llm")).run(memory=Memory(store, "ann", "7"))
    assert store.added == []


async def test_a_turn_that_is_cancelled_before_the_reply_is_written_is_not_kept() -> None:
    store, stages = Store(), Stages(llm_gates={1: asyncio.Event()})
    async with asyncio.TaskGroup() as tasks:
        turn = tasks.create_task(stages.run(memory=Memory(store, "ann", "7")))
        await settled()
        assert "delta 1" not in stages.log
        turn.cancel()
    assert store.added == []


async def test_a_turn_that_is_cancelled_while_its_reply_is_spoken_is_kept() -> None:
    store, stages = Store(), Stages(tts_gate=asyncio.Event())
    async with asyncio.TaskGroup() as tasks:
        turn = tasks.create_task(stages.run(memory=Memory(store, "ann", "7")))
        await settled()
        turn.cancel()
    assert store.added == [(ANSWERED, 0)]


async def test_a_turn_whose_voice_fails_is_kept() -> None:
    store = Store()
    stages = Stages(tts_errors={"It is Paris.": StageFailed("tts")})
    await stages.run(memory=Memory(store, "ann", "7"))
    assert store.added == [(ANSWERED, 0)]


async def test_a_store_that_cannot_be_read_is_told_and_not_asked_again() -> None:
    store, stages = Store(BEFORE, error=StageTimeout("state")), Stages()
    memory = Memory(store, "ann", "7")
    assert await memory.recall() == ()
    assert memory.failed
    store.error = None
    await stages.run(memory=memory)
    assert store.added == []
    assert len(stages.of(TurnFinished)) == 1


async def test_a_store_that_cannot_be_written_is_told_and_the_turn_goes_on() -> None:
    store, stages = Store(error=StageFailed("state")), Stages()
    memory = Memory(store, "ann", "7")
    await stages.run(memory=memory)
    assert memory.failed
    assert len(stages.of(ReplyWritten)) == len(stages.of(TurnFinished)) == 1


async def test_two_results_come_together() -> None:
    async def after(event: asyncio.Event, value: str) -> str:
        await event.wait()
        return value

    assert await both(after(OPEN, "a"), after(OPEN, "b")) == ("a", "b")


async def test_an_error_of_one_ends_the_other_and_comes_as_it_is() -> None:
    ended: list[str] = []
    error = StageFailed("audio")

    async def fail() -> None:
        raise error

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    with pytest.raises(StageFailed) as caught:
        await both(wait(), fail())
    assert caught.value is error
    assert ended == ["ended"]
