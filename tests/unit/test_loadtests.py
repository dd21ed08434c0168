"""Load tests: arrivals, what a conversation's events mean, the report and its page."""

import base64
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from loadtests.arrivals import schedule
from loadtests.conversation import ANSWER_S, Conversation, Step, Utterance
from loadtests.page import page
from loadtests.playout import Playout
from loadtests.report import Report, ranks, report
from loadtests.speech import FRAME, FRAME_S, RATE, files, frames, utterances, voiced
from loadtests.targets import Targets, load_targets
from loadtests.visits import Kind, Outcome, Visit
from tests.serve.cluster import ROOT

# ---- arrivals -----------------------------------------------------------------------------------


def test_people_arrive_at_a_constant_rate() -> None:
    arrivals = schedule(rate_per_s=20, duration_s=500, live_share=0.25, seed=1)
    times = [arrival.at_s for arrival in arrivals]
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < 500
    assert len(times) == pytest.approx(10_000, rel=0.05)
    gaps = np.diff(times)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.1)  # as of a Poisson process
    assert sum(arrival.live for arrival in arrivals) == pytest.approx(2500, rel=0.1)


def test_a_seed_says_who_arrives_when() -> None:
    assert schedule(5, 20, 0.5, seed=3) == schedule(5, 20, 0.5, seed=3)
    assert schedule(5, 20, 0.5, seed=3) != schedule(5, 20, 0.5, seed=4)


@pytest.mark.parametrize(
    ("rate", "duration", "share"),
    [(0, 10, 0.5), (1, -1, 0.5), (1, 10, 1.5), (1e6, 1e6, 0.5), (0.001, 1, 0.5)],
)
def test_a_schedule_that_cannot_be_is_refused(rate: float, duration: float, share: float) -> None:
    with pytest.raises(ValueError, match=r"must be|more than|nobody"):
        schedule(rate, duration, share, seed=1)


# ---- what is said and heard ---------------------------------------------------------------------


def test_every_recording_begins_and_ends_with_speech() -> None:
    found = utterances()
    assert len(found) == len(files()) > 2
    for samples in found:
        loud = np.abs(samples.astype(int)).max()
        assert 0.5 < len(samples) / RATE < 4
        quiet = 0.01 * loud
        assert np.abs(samples[:240].astype(int)).max() > quiet
        assert np.abs(samples[-240:].astype(int)).max() > quiet


def test_frames_are_whole_and_lose_nothing() -> None:
    samples = np.arange(FRAME * 2 + 5, dtype=np.int16)
    cut = frames(samples)
    assert [len(frame) for frame in cut] == [FRAME * 2] * 3
    assert np.frombuffer(b"".join(cut), np.int16)[: len(samples)].tolist() == samples.tolist()


def test_a_recording_without_a_window_has_no_speech() -> None:
    with pytest.raises(ValueError, match="no speech"):
        voiced(np.zeros(10, np.int16))


def test_a_piece_that_comes_after_the_last_was_played_is_an_underrun() -> None:
    playout = Playout()
    for at, duration in [(10.0, 1.0), (10.5, 1.0), (12.5, 1.0), (13.5, 0.5)]:
        playout.add(at, duration)
    assert playout.gaps_s == [0.5]
    assert playout.began_at == 10.0
    assert playout.ends_at == 14.0


# ---- a conversation -----------------------------------------------------------------------------


class Talk:
    """A conversation on a clock that the test moves."""

    def __init__(self, *interrupts: bool) -> None:
        self.visit = Visit(Kind.CONVERSATION)
        said = [Utterance(np.ones(FRAME * 3, np.int16), each) for each in interrupts]
        self.conversation, self.now = Conversation(said, self.visit), 100.0

    @property
    def step(self) -> Step:
        return self.conversation.step

    def listen(self, seconds: float) -> bytes:
        """Let time pass; what the microphone gave."""
        heard = b""
        for _ in range(round(seconds / FRAME_S)):
            self.now += FRAME_S
            heard += self.conversation.microphone(self.now)
        return heard

    def say(self, kind: str, **fields: Any) -> None:
        self.conversation.take({"type": kind, **fields}, self.now)

    def answer(self, name: str, audio_s: float = 1.0) -> None:
        """A reply of which so much audio comes at once; it goes on."""
        self.say("input_audio_buffer.speech_stopped")
        self.say("conversation.item.input_audio_transcription.completed", transcript="hi")
        self.say("response.created", response={"id": name})
        self.say("response.output_audio_transcript.delta", response_id=name, delta="Hello")
        audio = base64.b64encode(bytes(round(audio_s * RATE) * 2)).decode()
        self.say("response.output_audio.delta", response_id=name, delta=audio)

    def end(self, name: str, status: str = "completed") -> None:
        self.say("response.done", response={"id": name, "status": status})


def test_a_turn_is_timed_from_the_end_of_speech() -> None:
    talk = Talk(False)
    assert talk.listen(3 * FRAME_S) == np.ones(FRAME * 3, np.int16).tobytes()
    assert talk.step is Step.WAITING
    assert not any(talk.listen(0.8))
    talk.answer("a")
    talk.end("a")
    talk.listen(1.6)
    assert talk.step is Step.OVER
    assert talk.visit.outcome is Outcome.COMPLETED
    assert talk.visit.replies == 1
    for phase in ("end_of_turn", "transcript", "first_token", "first_audio"):
        assert talk.visit.phases[phase] == [pytest.approx(0.8)]


def test_the_next_thing_is_said_when_the_reply_was_heard() -> None:
    talk = Talk(False, False)
    talk.listen(3 * FRAME_S)
    talk.answer("a", audio_s=2.0)
    talk.end("a")
    talk.listen(2.4)
    assert talk.step is Step.HEARING
    talk.listen(0.2)
    assert talk.step is Step.SPEAKING


def test_an_interruption_is_timed_from_when_the_user_spoke_up() -> None:
    talk = Talk(False, True)
    talk.listen(3 * FRAME_S)
    talk.answer("a", audio_s=5.0)
    talk.listen(0.44)
    assert talk.step is Step.SPEAKING
    talk.listen(1.0)
    talk.end("a", "cancelled")
    (found,) = talk.visit.phases["interruption"]
    assert found == pytest.approx(1.0, abs=2 * FRAME_S)
    talk.answer("b")
    talk.end("b")
    talk.listen(1.6)
    assert talk.visit.outcome is Outcome.COMPLETED
    assert talk.visit.missed_interruptions == 0
    assert len(talk.visit.phases["first_audio"]) == 2


def test_a_reply_that_is_spoken_to_its_end_was_not_interrupted() -> None:
    talk = Talk(False, True)
    talk.listen(3 * FRAME_S)
    talk.answer("a", audio_s=5.0)
    talk.listen(0.8)
    talk.end("a")
    assert talk.visit.missed_interruptions == 1
    assert "interruption" not in talk.visit.phases


def test_an_answer_that_was_taken_back_is_not_the_answer() -> None:
    talk = Talk(False)
    talk.listen(3 * FRAME_S)
    talk.say("response.created", response={"id": "a"})
    talk.end("a", "cancelled")
    talk.listen(0.4)
    talk.answer("b")
    assert talk.visit.phases["first_audio"] == [pytest.approx(0.4)]


def test_an_old_reply_is_no_part_of_the_new_one() -> None:
    talk = Talk(False, True)
    talk.listen(3 * FRAME_S)
    talk.answer("a", audio_s=5.0)
    talk.listen(0.8)
    assert talk.step is Step.WAITING
    talk.say("response.output_audio.delta", response_id="a", delta="AAAA")
    assert talk.step is Step.WAITING


@pytest.mark.parametrize(
    ("kind", "fields", "problem"),
    [
        ("error", {"error": {"code": "engine_busy"}}, "error engine_busy"),
        (
            "conversation.item.input_audio_transcription.failed",
            {"error": {"code": "stage_timeout"}},
            "transcription stage_timeout",
        ),
    ],
)
def test_what_goes_wrong_is_named(kind: str, fields: dict[str, Any], problem: str) -> None:
    talk = Talk(False)
    talk.say(kind, **fields)
    assert talk.step is Step.OVER
    assert (talk.visit.outcome, talk.visit.problem) == (Outcome.FAILED, problem)


@pytest.mark.parametrize(
    ("status", "problem"), [("failed", "failed response"), ("completed", "silent response")]
)
def test_a_reply_without_sound_is_a_failure(status: str, problem: str) -> None:
    talk = Talk(False)
    talk.listen(3 * FRAME_S)
    talk.say("response.created", response={"id": "a"})
    talk.end("a", status)
    assert (talk.visit.outcome, talk.visit.problem) == (Outcome.FAILED, problem)


def test_nobody_waits_for_ever() -> None:
    talk = Talk(False)
    talk.listen(3 * FRAME_S + ANSWER_S + 1)
    assert (talk.step, talk.visit.problem) == (Step.OVER, "no answer")


# ---- the report ---------------------------------------------------------------------------------


def visit(kind: Kind = Kind.ONE_SHOT, first_audio: float | None = 0.5, **fields: Any) -> Visit:
    made = Visit(kind, **fields)
    if first_audio is not None:
        made.note("first_audio", first_audio)
        made.replies = 1
        made.complete()
    return made


def judged(visits: list[Visit], **targets: Any) -> Report:
    loose = {"failed_share": 1.0, "underruns_per_reply": 10, "refusals_without_retry_after": 100}
    wanted = Targets.model_validate(loose | targets)
    return report(visits, wanted, command="x <b>", began="2026-01-01T00:00:00+00:00", duration_s=10)


def refused(status: int, retry_after: str | None) -> Visit:
    made = Visit(Kind.CONVERSATION)
    made.turn_away(status, retry_after=retry_after, after_s=0.01)
    return made


def test_percentiles_are_those_of_the_samples() -> None:
    found = ranks([each / 100 for each in range(101)])
    assert (found.n, found.p50, found.p95, found.p99, found.max) == (101, 0.5, 0.95, 0.99, 1.0)


def test_refusals_are_counted_with_and_without_a_time_to_come_again() -> None:
    visits = [refused(503, "2"), refused(429, None), refused(503, "soon"), refused(500, "1")]
    group = judged(visits).groups["conversation"]
    assert (group.refused, group.refused_without_retry_after, group.failed) == (3, 2, 1)
    assert group.phases_s["refused"].n == 3
    assert group.problems == {"status 503": 2, "status 429": 1, "status 500": 1}


def test_a_visit_that_never_ended_has_failed() -> None:
    assert judged([Visit(Kind.ONE_SHOT), visit()]).groups["one_shot"].failed == 1


def test_a_run_passes_only_if_every_target_is_kept() -> None:
    visits = [visit(first_audio=each / 100) for each in range(1, 101)]
    limits = {"phases_s": {"one_shot": {"first_audio": {"p95": 0.96}}}}
    assert judged(visits, **limits).passed
    missed = judged(visits, phases_s={"one_shot": {"first_audio": {"p95": 0.94}}})
    assert not missed.passed
    assert [each.name for each in missed.checks if not each.kept] == ["one_shot first_audio p95, s"]


@pytest.mark.parametrize(
    ("visits", "target"),
    [
        ([visit(), Visit(Kind.ONE_SHOT)], {"failed_share": 0.4}),
        ([visit(), refused(503, None)], {"refused_share": 0.4}),
        ([visit(), refused(503, None)], {"refusals_without_retry_after": 0}),
        ([visit(gaps_s=[0.1, 0.2])], {"underruns_per_reply": 1}),
        ([visit(missed_interruptions=1)], {}),
        ([visit(late_s=0.5)], {"generator_late_p99_s": 0.4}),
        ([visit()], {"phases_s": {"conversation": {"first_audio": {"p50": 9}}}}),
    ],
)
def test_each_target_can_be_missed(visits: list[Visit], target: dict[str, Any]) -> None:
    found = judged(visits, **target)
    assert sum(not check.kept for check in found.checks) == 1
    assert not found.passed


def test_a_user_who_was_not_sent_misses_a_target() -> None:
    unsent = Visit(Kind.ONE_SHOT)
    unsent.not_sent()
    assert not judged([visit(), unsent]).passed


def test_the_report_is_told_as_text_and_as_json() -> None:
    found = judged([visit(), refused(503, "1")])
    told = json.loads(found.json())
    assert told["passed"] is found.passed
    assert told["groups"]["one_shot"]["phases_s"]["first_audio"]["p95"] == 0.5
    assert "first_audio" in found.text()
    assert found.text().endswith("PASS\n")


def test_the_page_is_whole_in_itself_and_escapes_what_it_shows() -> None:
    visits = [visit(at_s=each, first_audio=each / 10) for each in range(1, 10)]
    visits += [visit(Kind.CONVERSATION, at_s=3.0), refused(503, "1")]
    text = page(judged(visits), visits)
    assert "<b>" not in text
    assert "x &lt;b&gt;" in text
    assert not [each for each in ("http://", "https://", "<script", "src=") if each in text]
    plots = text.split("<svg")[1:]
    assert len(plots) == 1 + 2 * 2
    for plot in plots:
        ET.fromstring("<svg" + plot.partition("</svg>")[0] + "</svg>")


# ---- the targets --------------------------------------------------------------------------------


def test_the_targets_that_are_shipped_can_be_read() -> None:
    targets = load_targets(ROOT / "loadtests/targets.yaml")
    assert {"first_audio", "interruption"} <= targets.phases_s[Kind.CONVERSATION].keys()
    assert targets.failed_share == 0


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("failed_shares: 0", "failed_shares"),
        ("phases_s: {one_shot: {first_sound: {p95: 1}}}", "first_sound"),
        ("phases_s: {one_shot: {first_audio: {p96: 1}}}", "p96"),
        ("refused_share: 2", "refused_share"),
        ("a: [", "not YAML"),
    ],
)
def test_a_target_that_does_not_exist_is_named(text: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "targets.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=named):
        load_targets(path)
