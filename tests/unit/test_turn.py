"""The spoken turn: order, overlap, failure and cancellation."""

import asyncio

import pytest

from deployments.errors import InvalidParameter, StageFailed, StageUnavailable, VoiceNotFound
from deployments.messages import ChatMessage, Sampling, SpeechRequest, Transcript
from serve_app.dialogue.events import (
    ClauseBegan,
    Heard,
    ReplyDelta,
    ReplyWritten,
    Spoken,
    TurnEvent,
    TurnFinished,
    VoiceFailed,
)
from tests.unit.scripted_stages import PIECE, Stages, settled


async def test_a_turn_reports_what_it_does_in_order() -> None:
    stages = Stages(pieces=2)
    await stages.run()
    texts = ReplyDelta("It is Paris. "), ReplyDelta("It is big.")
    assert stages.events[0] == Heard(Transcript("Hello.", "en", 1.0, 0.1))
    assert stages.of(ReplyDelta) == list(texts)
    assert stages.of(ReplyWritten) == [ReplyWritten("It is Paris. It is big.", "stop", 7, 2)]
    assert stages.of(Spoken) == [Spoken(PIECE)] * 4
    assert isinstance(stages.events[-1], TurnFinished)
    assert stages.of(ClauseBegan) == [ClauseBegan("It is Paris."), ClauseBegan("It is big.")]
    assert len(stages.events) == 1 + 2 + 1 + 2 + 4 + 1


async def test_every_clause_is_spoken_in_order_with_the_voice_that_was_asked_for() -> None:
    stages = Stages()
    await stages.run()
    assert stages.spoken == [
        SpeechRequest("It is Paris.", "joe", 1.5),
        SpeechRequest("It is big.", "joe", 1.5),
    ]


async def test_the_first_audio_comes_before_the_reply_is_complete() -> None:
    stages, spoken = Stages(llm_gates={1: asyncio.Event()}), asyncio.Event()
    stages.on_event = lambda event: spoken.set() if isinstance(event, Spoken) else None
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stages.run())
        await asyncio.wait_for(spoken.wait(), 10)
        assert stages.of(ReplyWritten) == []
        stages.llm_gates[1].set()
    assert len(stages.of(ReplyWritten)) == 1


async def test_the_model_writes_on_while_the_voice_speaks() -> None:
    stages, written = Stages(tts_gate=asyncio.Event()), asyncio.Event()
    stages.on_event = lambda event: written.set() if isinstance(event, ReplyWritten) else None
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stages.run())
        await asyncio.wait_for(written.wait(), 10)
        assert len(stages.spoken) == 1
        stages.tts_gate.set()
    assert len(stages.spoken) == 2


async def test_the_model_runs_two_clauses_ahead_of_the_voice_and_no_further() -> None:
    sentences = tuple(f"This is sentence {n}. " for n in range(10))
    stages = Stages(reply=sentences, tts_gate=asyncio.Event())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stages.run())
        await settled()
        # One is spoken, two wait, and the model holds the fourth in its hand.
        assert stages.log == ["delta 0", "delta 1", "delta 2", "delta 3"]
        stages.tts_gate.set()
    assert len(stages.spoken) == 10


async def test_a_voice_that_fails_leaves_the_reply_as_text() -> None:
    reply = ("One is here. ", "Two is here. ", "Three is here.")
    stages = Stages(reply=reply, tts_errors={"Two is here.": StageFailed("tts")})
    await stages.run()
    assert [clause.text for clause in stages.spoken] == ["One is here.", "Two is here."]
    (failed,) = stages.of(VoiceFailed)
    assert (failed.code, failed.message) == ("stage_failed", "The tts stage failed.")
    assert len(stages.of(Spoken)) == 1
    assert stages.of(ReplyWritten) == [ReplyWritten("".join(reply), "stop", 7, 3)]
    assert isinstance(stages.events[-1], TurnFinished)


async def test_a_voice_that_fails_does_not_hold_up_a_long_reply() -> None:
    reply = tuple(f"This is sentence {n}. " for n in range(20))
    stages = Stages(reply=reply, tts_errors={"This is sentence 0.": VoiceNotFound("joe")})
    await asyncio.wait_for(stages.run(), 10)
    assert len(stages.of(VoiceFailed)) == len(stages.of(ReplyWritten)) == 1


async def test_a_voice_that_has_no_such_choice_ends_the_turn() -> None:
    error = InvalidParameter("top_p", "no such choice")
    stages = Stages(tts_errors={"It is Paris.": error}, llm_gates={1: asyncio.Event()})
    with pytest.raises(InvalidParameter) as caught:
        await asyncio.wait_for(stages.run(), 10)
    assert caught.value is error
    assert "token stream closed" in stages.log
    assert stages.of(VoiceFailed) == []


async def test_hearing_that_fails_raises_its_error_and_asks_no_model() -> None:
    error = StageUnavailable("stt")
    stages = Stages(stt_error=error)
    with pytest.raises(StageUnavailable) as caught:
        await stages.run()
    assert caught.value is error
    assert stages.events == []
    assert stages.asked == []


async def test_a_model_that_fails_raises_its_error_and_silences_the_voice() -> None:
    error = StageFailed("llm")
    stages = Stages(llm_error=error, tts_gate=asyncio.Event())
    with pytest.raises(StageFailed) as caught:
        await stages.run()
    assert caught.value is error  # not a group
    assert stages.log.count("audio stream closed") == len(stages.spoken)
    assert stages.of(ReplyWritten) == stages.of(TurnFinished) == []


async def test_a_listener_that_fails_ends_the_turn_with_its_error() -> None:
    stages = Stages(tts_gate=asyncio.Event())
    error = OSError("gone")

    def fail(event: TurnEvent) -> None:
        if isinstance(event, Spoken):
            raise error

    stages.on_event = fail
    with pytest.raises(OSError, match="gone") as caught:
        await stages.run()
    assert caught.value is error
    assert "token stream closed" in stages.log


async def test_cancelling_a_turn_closes_the_token_stream_and_the_audio_stream() -> None:
    stages = Stages(llm_gates={1: asyncio.Event()}, tts_gate=asyncio.Event())
    async with asyncio.TaskGroup() as tasks:
        turn = tasks.create_task(stages.run())
        await settled()
        assert stages.log == ["delta 0"]
        assert len(stages.spoken) == 1
        turn.cancel()
    assert turn.cancelled()
    assert sorted(stages.log[1:]) == ["audio stream closed", "token stream closed"]
    assert stages.of(TurnFinished) == []


async def test_cancelling_a_turn_while_it_hears_cancels_the_hearing() -> None:
    stages = Stages(stt_gate=asyncio.Event())
    async with asyncio.TaskGroup() as tasks:
        turn = tasks.create_task(stages.run())
        await settled()
        turn.cancel()
    assert turn.cancelled()
    assert stages.log == ["stt cancelled"]


async def test_both_streams_are_closed_when_a_turn_ends() -> None:
    stages = Stages()
    await stages.run()
    assert stages.log.count("token stream closed") == 1
    assert stages.log.count("audio stream closed") == 2


async def test_silence_is_not_answered() -> None:
    stages = Stages(heard="")
    await stages.run()
    assert [type(event) for event in stages.events] == [Heard, TurnFinished]
    assert stages.asked == stages.spoken == []


async def test_a_reply_without_anything_to_say_is_not_spoken() -> None:
    stages = Stages(reply=("😀 ", "***\n"))
    await stages.run()
    assert stages.spoken == []
    assert stages.of(ReplyWritten) == [ReplyWritten("😀 ***", "stop", 7, 2)]


async def test_an_empty_reply_ends_the_turn() -> None:
    stages = Stages(reply=())
    await stages.run()
    assert [type(event) for event in stages.events] == [Heard, ReplyWritten, TurnFinished]


async def test_a_stream_of_tokens_without_an_end_is_still_a_reply() -> None:
    stages = Stages(ends=False)
    await stages.run()
    assert stages.of(ReplyWritten) == [ReplyWritten("It is Paris. It is big.", "stop", 0, 0)]


@pytest.mark.parametrize("heard", ["Why {transcript}?", "{0} {x} }{", "%s {{}}"])
async def test_braces_in_what_was_heard_stay_as_they_are(heard: str) -> None:
    stages = Stages(heard=heard)
    await stages.run("They said {transcript} {x}")
    (request,) = stages.asked
    assert request.messages == (
        ChatMessage("system", "Be brief."),
        ChatMessage("user", f"They said {heard} {{x}}"),
    )
    assert request.sampling == Sampling(max_tokens=9)


async def test_without_instructions_there_is_no_system_message() -> None:
    stages = Stages()
    await stages.run(instructions="")
    assert stages.asked[0].messages == (ChatMessage("user", "Hello."),)


async def test_what_was_said_before_stands_between_the_instructions_and_the_utterance() -> None:
    stages = Stages()
    history = ChatMessage("user", "Hi."), ChatMessage("assistant", "Good day.")
    await stages.run(history=history)
    (request,) = stages.asked
    assert request.messages == (
        ChatMessage("system", "Be brief."),
        *history,
        ChatMessage("user", "Hello."),
    )
    assert request.drop_oldest


async def test_a_reply_tells_how_many_messages_the_model_left_out() -> None:
    stages = Stages(dropped=4)
    await stages.run()
    (written,) = stages.of(ReplyWritten)
    assert isinstance(written, ReplyWritten)
    assert written.dropped_messages == 4


async def test_the_phases_of_a_turn_are_timed_in_order() -> None:
    stages = Stages()
    await stages.run()
    (finished,) = stages.of(TurnFinished)
    assert isinstance(finished, TurnFinished)
    timings = finished.timings
    in_order = [
        timings.transcript_s,
        timings.first_token_s,
        timings.first_clause_s,
        timings.first_audio_s,
        timings.total_s,
    ]
    times = [time for time in in_order if time is not None]
    assert len(times) == len(in_order)
    assert times == sorted(times)
    assert timings.reply_s is not None
    assert times[1] <= timings.reply_s <= times[-1]


async def test_phases_that_did_not_happen_have_no_time() -> None:
    stages = Stages(heard="")
    await stages.run()
    (finished,) = stages.of(TurnFinished)
    assert isinstance(finished, TurnFinished)
    assert finished.timings.first_token_s is None
    assert finished.timings.first_audio_s is None
    assert finished.timings.total_s is not None
