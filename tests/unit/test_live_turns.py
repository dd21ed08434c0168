"""A live conversation, turn by turn."""

import asyncio
from dataclasses import replace

import pytest

from deployments.errors import (
    AudioTooLong,
    MemoryUnavailable,
    NoReplyInProgress,
    NothingToCommit,
    ReplyInProgress,
    StageFailed,
    StageOverloaded,
)
from deployments.messages import ChatMessage
from serve_app.live.events import (
    Committed,
    IdleTimeout,
    PartialTranscript,
    ReplyAudio,
    ReplyEnded,
    ReplyStarted,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    Transcribed,
    TranscriptionFailed,
)
from serve_app.live.items import Message, Part
from tests.unit.live_talk import BOUNDS, CONFIG, Talk, silence, speech, with_taking


async def test_a_turn_is_told_in_order() -> None:
    talk = Talk()
    async with talk.session() as session:
        session.hear(silence(320) + speech(640) + silence(160))
        await talk.until(lambda: talk.asked)
        session.hear(silence(320))
        (ended,) = await talk.until_event(ReplyEnded)
    kinds = talk.kinds()
    assert kinds[:6] == [
        "SpeechStarted",
        "SpeechStopped",
        "Committed",
        "PartialTranscript",
        "Transcribed",
        "ReplyStarted",
    ]
    assert set(kinds[6:-1]) == {"ReplyText", "ReplyAudio"}
    assert kinds[-1] == "ReplyEnded"
    assert (ended.status, ended.said) == ("completed", "It is Paris. It is big, and it is old.")
    assert ended.usage.prompt_tokens == 7
    assert talk.of(SpeechStarted)[0].start_ms == 320 - 96
    assert talk.of(SpeechStopped)[0].end_ms == 320 + 640 + 96
    assert [m.role for m in session.conversation.messages("{transcript}")] == ["user", "assistant"]


async def test_what_is_transcribed_is_the_utterance_that_is_told() -> None:
    talk = Talk()
    async with talk.session() as session:
        session.hear(silence(320) + speech(640) + silence(160))
        await talk.until(lambda: talk.asked)
        session.hear(silence(320))
        await talk.until_event(Transcribed)
    start, stop = talk.of(SpeechStarted)[0].start_ms, talk.of(SpeechStopped)[0].end_ms
    (request,) = talk.heard
    assert request.audio.duration_s * 1000 == stop - start


async def test_the_reply_is_drafted_before_the_end_is_sure_and_costs_no_second_hearing() -> None:
    talk = Talk()
    async with talk.session() as session:
        session.hear(speech(640) + silence(160))
        await talk.until(lambda: talk.spoken)
        assert talk.kinds() == ["SpeechStarted"]
        session.hear(silence(320))
        await talk.until_event(ReplyAudio)
    assert len(talk.heard) == len(talk.asked) == 1
    assert talk.guesses == [("transcript", True), ("reply", True)]


async def test_a_user_who_goes_on_is_not_talked_over_and_the_draft_is_counted() -> None:
    talk = Talk(hears=["What is it?", "What is it now?"])
    async with talk.session() as session:
        session.hear(speech(640) + silence(160))
        await talk.until(lambda: talk.spoken)
        session.hear(speech(320) + silence(160))
        await talk.until(lambda: len(talk.asked) == 2)
        session.hear(silence(320))
        await talk.until_event(ReplyEnded)
    assert talk.guesses[:2] == [("transcript", False), ("reply", False)]
    assert talk.wasted >= 1
    assert len(talk.of(ReplyStarted)) == 1
    assert talk.asked[1].messages[-1] == ChatMessage("user", "What is it now?")
    assert "token stream closed" in talk.log


async def test_a_pause_that_sounds_unfinished_is_waited_out() -> None:
    talk = Talk(sound=0.1)
    async with talk.session() as session:
        session.hear(speech(640) + silence(480))
        await talk.until(lambda: talk.heard)
        await asyncio.sleep(0)
        assert not talk.of(SpeechStopped)
        assert not talk.asked
        session.hear(silence(480))
        await talk.until_event(ReplyEnded)


async def test_words_that_look_unfinished_are_waited_out() -> None:
    talk = Talk(hears=["I went to the"])
    async with talk.session() as session:
        session.hear(speech(640) + silence(480))
        await talk.until(lambda: talk.heard)
        assert not talk.of(SpeechStopped)
        assert not talk.asked
        session.hear(silence(480))
        await talk.until_event(ReplyEnded)


async def test_words_that_come_late_do_not_hold_the_end_up_for_ever() -> None:
    talk = Talk(stt_gate=asyncio.Event())
    async with talk.session() as session:
        session.hear(speech(640) + silence(1700))
        await talk.until_event(Committed)
        assert not talk.of(Transcribed)
        talk.stt_gate.set()
        await talk.until_event(ReplyEnded)


async def test_a_client_that_stops_sending_is_silent() -> None:
    talk = Talk()
    async with talk.session() as session:
        session.hear(speech(640) + silence(128))
        await talk.until_event(ReplyEnded)


async def test_nothing_but_noise_is_not_answered() -> None:
    talk = Talk(hears=[""])
    async with talk.session() as session:
        session.hear(speech(320) + silence(1000))
        await talk.until_event(Transcribed)
        await talk.until(lambda: session.is_settled)
    assert not talk.asked
    assert not talk.of(ReplyStarted)


async def test_the_model_reads_ahead_while_the_user_speaks_for_the_first_time() -> None:
    talk = Talk()
    async with talk.session(bounds=replace(BOUNDS, warms=True)) as session:
        session.hear(speech(640))
        await talk.until(lambda: talk.asked)
        assert talk.asked[0].messages[0].content == "Be brief."
        assert talk.asked[0].sampling.max_tokens == 1
        session.hear(silence(480))
        await talk.until_event(ReplyEnded)
        await talk.until(lambda: not session.is_heard)
        session.hear(speech(640) + silence(480))
        await talk.until_event(ReplyEnded, 2)
    assert [request.sampling.max_tokens == 1 for request in talk.asked] == [True, False, False]


async def test_while_there_is_nothing_to_say_yet_the_user_may_go_on() -> None:
    talk = Talk(tts_gates_first=asyncio.Event())
    async with talk.session() as session:
        session.hear(speech(640) + silence(160))
        await talk.until(lambda: talk.spoken)
        session.hear(silence(480))
        assert not talk.of(SpeechStopped)
        talk.tts_gates_first.set()
        await talk.until_event(ReplyAudio)
        session.hear(silence(320))
        await talk.until_event(ReplyEnded)


async def test_a_voice_that_is_late_holds_the_end_up_no_longer_than_an_unfinished_turn() -> None:
    talk = Talk(tts_gates_first=asyncio.Event())
    async with talk.session() as session:
        session.hear(speech(640) + silence(160))
        await talk.until(lambda: talk.spoken)
        session.hear(silence(960))
        await talk.until_event(ReplyStarted)


# ---- interruptions ------------------------------------------------------------------------------


async def speaking(talk: Talk, session: object) -> None:
    session.hear(speech(640) + silence(160))  # type: ignore[attr-defined]
    await talk.until(lambda: talk.asked)
    session.hear(silence(320))  # type: ignore[attr-defined]
    await talk.until_event(ReplyAudio)


async def test_a_real_interruption_stops_the_reply_at_once() -> None:
    talk = Talk(audio_s=3.0)
    async with talk.session() as session:
        await speaking(talk, session)
        session.hear(speech(480))
        assert not talk.of(ReplyEnded)
        session.hear(speech(64))
        (ended,) = talk.of(ReplyEnded)
        frames = len(talk.of(ReplyAudio))
        await talk.until(lambda: "token stream closed" in talk.log)
        assert len(talk.of(ReplyAudio)) == frames
    assert (ended.status, ended.reason) == ("cancelled", "turn_detected")
    assert talk.kinds()[-2:] == ["SpeechStarted", "ReplyEnded"]
    assert talk.interruptions == [True]


async def test_what_was_not_heard_is_not_in_the_history() -> None:
    talk = Talk(audio_s=3.0)
    async with talk.session() as session:
        await speaking(talk, session)
        session.hear(speech(640))
        (ended,) = talk.of(ReplyEnded)
        assert ended.message.status == "incomplete"
        assert ended.message.text == ""
        assert ended.said.startswith("It is Paris. ")
        texts = [message.content for message in session.conversation.messages("{transcript}")]
    assert texts == ["What is it?"]


async def test_clauses_that_were_heard_stay_in_the_history() -> None:
    talk = Talk(audio_s=0.1, tts_gate=asyncio.Event())
    async with talk.session() as session:
        await speaking(talk, session)
        await talk.until(lambda: len(talk.spoken) == 2 and not session.is_heard)
        session.hear(speech(640))
        (ended,) = talk.of(ReplyEnded)
    assert ended.message.text == "It is Paris."


@pytest.mark.parametrize("text", ["Hmm.", "", "Uh-huh."])
async def test_a_cough_or_a_hmm_does_not_stop_the_voice(text: str) -> None:
    talk = Talk(hears=["What is it?", text], audio_s=3.0)
    async with talk.session() as session:
        await speaking(talk, session)
        session.hear(speech(320) + silence(160))
        await talk.until(lambda: talk.interruptions)
        session.hear(silence(640))
        assert not talk.of(ReplyEnded)
    assert talk.interruptions == [False]
    assert len(talk.of(SpeechStarted)) == 1


async def test_a_short_word_that_means_something_stops_the_voice() -> None:
    talk = Talk(hears=["What is it?", "Stop."], audio_s=3.0)
    async with talk.session() as session:
        await speaking(talk, session)
        session.hear(speech(320) + silence(160))
        await talk.until_event(SpeechStarted, 2)
        (ended,) = talk.of(ReplyEnded)
        assert ended.reason == "turn_detected"
        session.hear(silence(320))
        await talk.until_event(ReplyStarted, 2)
    assert talk.asked[-1].messages[-1].content.endswith("Stop.")


async def test_a_session_that_does_not_allow_it_is_not_interrupted() -> None:
    talk = Talk(audio_s=0.3)
    async with talk.session(with_taking(interrupts=False)) as session:
        await speaking(talk, session)
        session.hear(speech(640) + silence(160))
        await talk.until(lambda: len(talk.heard) == 2)
        session.hear(silence(320))
        first, second = await talk.until_event(ReplyEnded, 2)
    assert first.status == second.status == "completed"


# ---- failures -----------------------------------------------------------------------------------


async def test_a_voice_that_fails_leaves_the_text() -> None:
    talk = Talk(tts_error=StageFailed("tts"))
    async with talk.session() as session:
        session.hear(speech(640) + silence(480))
        (ended,) = await talk.until_event(ReplyEnded)
    assert (ended.status, ended.error.code) == ("completed", "stage_failed")
    assert ended.message.text == "It is Paris. It is big, and it is old."


async def test_a_model_that_fails_ends_the_reply_and_not_the_session() -> None:
    talk = Talk(llm_error=StageFailed("llm"))
    async with talk.session() as session:
        session.hear(speech(640) + silence(480))
        (ended,) = await talk.until_event(ReplyEnded)
        assert (ended.status, ended.error.stage) == ("failed", "llm")
        talk.llm_error = None
        await talk.until(lambda: not session.is_heard)
        session.hear(speech(640) + silence(480))
        await talk.until_event(ReplyEnded, 2)
    assert talk.of(ReplyEnded)[1].status == "completed"


async def test_an_utterance_that_cannot_be_heard_is_told() -> None:
    talk = Talk(stt_error=StageOverloaded("stt"))
    async with talk.session() as session:
        session.hear(speech(640) + silence(480))
        (failed,) = await talk.until_event(TranscriptionFailed)
        assert failed.error.code == "stage_overloaded"
        talk.stt_error = None
        session.hear(speech(640) + silence(480))
        await talk.until_event(ReplyEnded)


async def test_a_reply_that_is_cut_off_is_incomplete() -> None:
    talk = Talk(finish="length")
    async with talk.session() as session:
        session.hear(speech(640) + silence(480))
        (ended,) = await talk.until_event(ReplyEnded)
    assert (ended.status, ended.reason) == ("incomplete", "max_output_tokens")


async def test_leaving_closes_every_stream() -> None:
    talk = Talk(llm_gate=asyncio.Event(), audio_s=3.0)
    async with talk.session() as session:
        await speaking(talk, session)
    assert "token stream closed" in talk.log
    assert "audio stream closed" in talk.log


# ---- the client commits -------------------------------------------------------------------------

MANUAL = replace(CONFIG, turn_taking=None)


async def test_a_client_that_commits_asks_for_the_reply_itself() -> None:
    talk = Talk()
    async with talk.session(MANUAL) as session:
        session.hear(speech(640))
        session.commit()
        reply = session.respond(tag="mine")
        (ended,) = await talk.until_event(ReplyEnded)
    assert (ended.reply_id, ended.tag) == (reply, "mine")
    assert talk.asked[0].messages[-1] == ChatMessage("user", "What is it?")
    assert talk.heard[0].audio.duration_s == 0.64
    assert "SpeechStopped" not in talk.kinds()


async def test_too_little_audio_is_not_committed() -> None:
    talk = Talk()
    async with talk.session(MANUAL) as session:
        with pytest.raises(NothingToCommit):
            session.commit()
        session.hear(speech(64))
        with pytest.raises(NothingToCommit, match="only has 64ms"):
            session.commit()
        session.clear()
        session.hear(speech(64))
        with pytest.raises(NothingToCommit):
            session.commit()


async def test_audio_that_is_never_committed_is_bounded() -> None:
    talk = Talk()
    async with talk.session(MANUAL, replace(BOUNDS, max_utterance_s=1.0)) as session:
        session.hear(speech(900))
        with pytest.raises(AudioTooLong):
            session.hear(speech(200))
        session.commit()
        session.hear(speech(900))


async def test_an_utterance_without_end_is_cut() -> None:
    talk = Talk()
    async with talk.session(bounds=replace(BOUNDS, max_utterance_s=2.0)) as session:
        for _ in range(10):
            session.hear(speech(480))
            await talk.until(lambda: True)
        assert len(talk.of(Committed)) >= 1
    assert all(request.audio.duration_s <= 2.1 for request in talk.heard)


# ---- replies on demand --------------------------------------------------------------------------


async def test_there_is_one_reply_at_a_time() -> None:
    talk = Talk(llm_gate=asyncio.Event())
    async with talk.session(MANUAL) as session:
        session.add(Message("u1", "user", [Part("Hello.")]))
        session.respond()
        with pytest.raises(ReplyInProgress):
            session.respond()
        session.cancel()
        with pytest.raises(NoReplyInProgress):
            session.cancel()
        assert talk.of(ReplyEnded)[0].reason == "client_cancelled"
        session.respond()


async def test_a_reply_may_be_written_only() -> None:
    talk = Talk()
    async with talk.session(replace(MANUAL, voice=None)) as session:
        session.add(Message("u1", "user", [Part("Hello.")]))
        session.respond()
        (ended,) = await talk.until_event(ReplyEnded)
    assert not talk.spoken
    assert ended.message.parts[0].spoken is False


async def test_a_reply_beside_the_conversation_is_not_part_of_it() -> None:
    talk = Talk()
    async with talk.session(MANUAL) as session:
        session.respond(items=[Message("x", "user", [Part("Hi.")])], in_conversation=False)
        await talk.until_event(ReplyEnded)
        assert len(session.conversation) == 0
    assert talk.asked[0].messages[-1] == ChatMessage("user", "Hi.")


async def test_an_item_that_is_taken_out_while_it_is_said_stays_out() -> None:
    talk = Talk(llm_gate=asyncio.Event())
    async with talk.session(MANUAL) as session:
        session.respond()
        await talk.until_event(ReplyText)
        session.delete(talk.of(ReplyText)[0].message.id)
        talk.llm_gate.set()
        await talk.until_event(ReplyEnded)
        assert len(session.conversation) == 0


async def test_truncating_cuts_at_the_clause_that_was_played() -> None:
    talk = Talk(audio_s=0.5)
    async with talk.session(MANUAL) as session:
        session.add(Message("u1", "user", [Part("Hello.")]))
        session.respond()
        (ended,) = await talk.until_event(ReplyEnded)
        item = ended.message
        session.truncate(item.id, 700)
        assert item.text == "It is Paris."
        session.truncate(item.id, 100)
        assert item.text == ""


# ---- words while they are said ------------------------------------------------------------------


async def test_partial_words_are_only_added_to() -> None:
    talk = Talk(hears=["What", "What is", "What is it", "What is it?"])
    bounds = replace(BOUNDS, partial_interval_s=0.01, partial_share=1.0)
    async with talk.session(replace(CONFIG, partials=True), bounds) as session:
        for times in (1, 2, 3):
            session.hear(speech(320))
            await talk.until(lambda times=times: len(talk.heard) >= times)
        session.hear(silence(480))
        await talk.until_event(Transcribed)
    deltas = [event.delta for event in talk.of(PartialTranscript)]
    assert "".join(deltas) == "What is it?"
    assert talk.kinds().index("PartialTranscript") < talk.kinds().index("SpeechStopped")


# ---- idle and memory ----------------------------------------------------------------------------


async def test_a_silence_is_told_where_it_is_asked_for() -> None:
    talk = Talk()
    async with talk.session(with_taking(idle_ms=50)) as session:
        await talk.until_event(IdleTimeout)
        await talk.until_event(ReplyText)
        assert session.active_reply or talk.of(ReplyEnded)


async def test_a_dialogue_goes_on_where_it_was() -> None:
    talk = Talk()
    async with talk.session(kept=True) as session:
        session.hear(speech(640) + silence(480))
        await talk.until_event(ReplyEnded)
    assert [m.content for m in talk.stored["ada", "s1"]] == [
        "What is it?",
        "It is Paris. It is big, and it is old.",
    ]
    async with talk.session(kept=True) as session:
        assert len(session.conversation) == 2


async def test_a_store_that_is_away_costs_only_the_memory() -> None:
    talk = Talk(store_error=StageOverloaded("state"))
    async with talk.session(kept=True) as session:
        session.hear(speech(640) + silence(480))
        await talk.until_event(ReplyEnded)


async def test_what_could_not_be_recalled_is_not_written_over() -> None:
    earlier = (ChatMessage("user", "Who are you?"), ChatMessage("assistant", "Ada."))
    talk = Talk(store_error=MemoryUnavailable())
    talk.stored["ada", "s1"] = earlier
    async with talk.session(kept=True) as session:
        assert len(session.conversation) == 0
        talk.store_error = None
        session.hear(speech(640) + silence(480))
        await talk.until_event(ReplyEnded)
    assert talk.stored["ada", "s1"][:2] == earlier
    assert len(talk.stored["ada", "s1"]) == 4


async def test_what_was_said_while_the_store_was_away_is_kept_at_the_end() -> None:
    talk = Talk()
    async with talk.session(kept=True) as session:
        talk.store_error = MemoryUnavailable()
        session.hear(speech(640) + silence(480))
        await talk.until_event(ReplyEnded)
        await talk.until(lambda: session._memory and session._memory.failed)
        assert not talk.stored
        talk.store_error = None
    assert len(talk.stored["ada", "s1"]) == 2
