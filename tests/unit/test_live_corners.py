"""A live conversation where things come at awkward moments."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from deployments.audio import Pcm
from deployments.errors import ReplyInProgress, StageOverloaded
from deployments.messages import GenerationRequest, Transcript, TranscriptionRequest
from serve_app.live.events import (
    Committed,
    ReplyAudio,
    ReplyEnded,
    ReplyStarted,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    Transcribed,
    TranscriptionFailed,
)
from serve_app.live.items import Call, Message, Part, chat_messages
from tests.unit.live_talk import CONFIG, Talk, silence, speech, with_taking


def written(text: str) -> Message:
    return Message("w1", "user", [Part(text)])


async def settled(talk: Talk) -> None:
    """Let what is under way come to its end."""
    for _ in range(20):
        await asyncio.sleep(0.01)


async def test_a_reply_that_is_owed_is_not_given_after_another_turn_was_answered() -> None:
    talk = Talk(audio_s=0.3, llm_gate=asyncio.Event())
    async with talk.session(with_taking(interrupts=False)) as session:
        session.hear(speech(640) + silence(480))
        await talk.until_event(ReplyText)
        session.hear(speech(640) + silence(160))
        await talk.until(lambda: len(talk.heard) == 2)
        session.hear(silence(320))
        await talk.until_event(Transcribed, 2)  # it is owed an answer now
        session.configure(CONFIG)
        session.hear(speech(640) + silence(160))  # and interrupted
        talk.llm_gate.set()
        await talk.until(lambda: len(talk.heard) == 3)
        session.hear(silence(480))
        await talk.until(
            lambda: talk.of(ReplyEnded) and talk.of(ReplyEnded)[-1].status == "completed"
        )
        await settled(talk)
    assert len(talk.of(ReplyStarted)) == 2


async def test_a_reply_that_is_owed_is_given_when_the_other_is_cancelled() -> None:
    talk = Talk(audio_s=0.3, llm_gate=asyncio.Event())
    async with talk.session(with_taking(interrupts=False)) as session:
        session.hear(speech(640) + silence(480))
        await talk.until_event(ReplyText)
        session.hear(speech(640) + silence(160))
        await talk.until(lambda: len(talk.heard) == 2)
        session.hear(silence(320))
        await talk.until_event(Transcribed, 2)
        session.cancel()
        assert len(talk.of(ReplyStarted)) == 2


async def test_a_reply_that_waits_for_the_transcript_is_the_answer_to_it() -> None:
    talk = Talk(stt_gate=asyncio.Event())
    async with talk.session() as session:
        session.hear(speech(640) + silence(1700))
        await talk.until_event(Committed)
        session.respond()
        talk.stt_gate.set()
        await talk.until_event(ReplyEnded)
        await settled(talk)
    assert len(talk.of(ReplyStarted)) == 1


async def test_nobody_is_talked_over_by_the_answer_to_what_was_said_before() -> None:
    talk = Talk(stt_gate=asyncio.Event())
    async with talk.session() as session:
        session.hear(speech(640) + silence(1700))
        await talk.until_event(Committed)
        session.hear(speech(640))
        await talk.until_event(SpeechStarted, 2)
        talk.stt_gate.set()
        await talk.until_event(Transcribed)
        await settled(talk)
        assert not talk.of(ReplyStarted)
        session.hear(silence(480))
        await talk.until_event(ReplyEnded)
        await settled(talk)
    assert len(talk.of(ReplyStarted)) == 1
    assert talk.asked[-1].messages[-1].content == "What is it?\nWhat is it?"


async def test_an_answer_is_still_owed_where_nothing_came_of_what_followed() -> None:
    talk = Talk(stt_gate=asyncio.Event())
    async with talk.session() as session:
        session.hear(speech(640) + silence(1700))
        await talk.until_event(Committed)
        session.hear(speech(640))
        await talk.until_event(SpeechStarted, 2)
        talk.stt_gate.set()
        await talk.until_event(Transcribed)
        session.clear()
        await talk.until_event(ReplyEnded)
    assert len(talk.of(SpeechStopped)) == 2


async def test_audio_that_stops_in_the_middle_of_a_word_ends_the_turn() -> None:
    talk = Talk()
    async with talk.session() as session:
        session.hear(speech(640))
        await talk.until_event(ReplyEnded)
    assert len(talk.heard) == 1


async def test_a_draft_that_breaks_ends_when_it_is_released() -> None:
    class Broken(Talk):
        async def generate(self, request: GenerationRequest) -> Any:
            self.asked.append(request)
            raise ZeroDivisionError
            yield

    talk = Broken()
    async with talk.session() as session:
        session.hear(speech(640) + silence(160))
        await talk.until(lambda: talk.asked)
        session.hear(silence(320))
        (ended,) = await talk.until_event(ReplyEnded)
        assert ended.status == "failed"
        assert session.active_reply is None


async def test_a_judge_that_breaks_costs_only_its_judgement() -> None:
    class Broken(Talk):
        async def sounds_finished(self, audio: Pcm) -> float:
            raise ZeroDivisionError

    talk = Broken()
    async with talk.session() as session:
        session.hear(speech(640) + silence(1700))
        await talk.until_event(ReplyEnded)


async def test_a_hearing_that_breaks_is_told_and_the_session_goes_on() -> None:
    class Broken(Talk):
        async def transcribe(self, request: TranscriptionRequest) -> Transcript:
            if not self.heard:
                self.heard.append(request)
                raise ZeroDivisionError
            return await super().transcribe(request)

    talk = Broken()
    async with talk.session() as session:
        session.hear(speech(640) + silence(1700))
        (failed,) = await talk.until_event(TranscriptionFailed)
        assert failed.error.code == "internal_error"
        session.hear(speech(640) + silence(480))
        await talk.until_event(ReplyEnded)


async def test_a_write_that_is_broken_off_is_done_at_the_end() -> None:
    class Slow(Talk):
        writes = 0

        async def write_session(self, owner: str, session_id: str, messages: Any) -> None:
            self.writes += 1
            self.news.set()
            if self.writes == 1:
                await asyncio.Event().wait()
            self.stored[owner, session_id] = messages

    talk = Slow()
    async with talk.session(kept=True) as session:
        session.add(written("Hello."))
        await talk.until(lambda: talk.writes)
    assert [message.content for message in talk.stored["ada", "s1"]] == ["Hello."]


async def test_a_change_of_the_session_drops_a_draft_that_did_not_know_of_it() -> None:
    talk = Talk()
    async with talk.session() as session:
        session.hear(speech(640) + silence(160))
        await talk.until(lambda: talk.spoken)
        session.configure(replace(CONFIG, instructions="Be loud.", voice=None))
        session.hear(silence(320))
        await talk.until_event(ReplyEnded)
    assert talk.asked[-1].messages[0].content == "Be loud."
    assert not talk.of(ReplyAudio)


async def test_replies_beside_the_conversation_have_room_of_their_own() -> None:
    talk = Talk(llm_gate=asyncio.Event())
    async with talk.session(replace(CONFIG, turn_taking=None)) as session:
        session.respond()
        beside = [session.respond(items=[written("Hi.")], in_conversation=False) for _ in range(4)]
        with pytest.raises(ReplyInProgress):
            session.respond(items=[written("Hi.")], in_conversation=False)
        session.cancel(beside[0])
        assert talk.of(ReplyEnded)[0].reply_id == beside[0]
        talk.llm_gate.set()
        await talk.until_event(ReplyEnded, 5)


async def test_a_commit_in_an_unannounced_pause_is_announced_first() -> None:
    talk = Talk(audio_s=3.0, stt_gate=asyncio.Event())
    talk.stt_gate.set()
    async with talk.session() as session:
        session.hear(speech(640) + silence(480))
        await talk.until_event(ReplyAudio)
        talk.stt_gate.clear()
        session.hear(speech(320) + silence(160))
        session.commit()
        assert len(talk.of(SpeechStarted)) == len(talk.of(SpeechStopped)) == 2
        assert talk.of(ReplyEnded)[0].reason == "turn_detected"


def test_a_call_that_was_cut_off_is_not_read() -> None:
    call = Call("b", "call_1", "pay", '{"to": "A', "incomplete")
    assert chat_messages([written("Pay."), call], "{transcript}")[1:] == ()


async def test_an_overloaded_hearing_leaves_no_reply_waiting() -> None:
    talk = Talk(stt_error=StageOverloaded("stt"))
    async with talk.session() as session:
        session.hear(speech(640) + silence(1700))
        await talk.until_event(TranscriptionFailed)
        session.respond()
        await talk.until_event(ReplyEnded)
