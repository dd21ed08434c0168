"""What a remote engine does with servers that fail, lie, stall and leak, each on a real socket."""

import base64
import io
import logging
import re
import threading
import time
import wave
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from configs.settings import (
    CircuitSettings,
    FakeSttSettings,
    FakeTtsSettings,
    FallbackSttSettings,
    FallbackTtsSettings,
    OpenAiSttSettings,
    OpenAudioApiSettings,
    load_settings,
)
from deployments.audio import Pcm
from deployments.errors import (
    CloningUnsupported,
    EngineIncapable,
    InvalidParameter,
    SpeechError,
    StageFailed,
    StageOverloaded,
    StageTimeout,
    StageUnavailable,
    VoiceNotFound,
)
from deployments.messages import SpeechRequest, TranscriptionRequest, VoiceReference
from deployments.stt.engine import whole_transcript
from deployments.stt.fake import FakeSttEngine
from deployments.stt.fallback import FallbackSttEngine
from deployments.stt.openai_api import OpenAiSttEngine
from deployments.tts.fake import FakeTtsEngine
from deployments.tts.fallback import FallbackTtsEngine
from deployments.tts.openaudio_api import OpenAudioApiEngine
from tests.remote.hostile import (
    Answer,
    cuts,
    drips,
    ends,
    hostile,
    is_silent,
    never_ends,
    says,
    streams,
)
from tests.remote.served import KEY, RATE, RemoteSpeech, serving, wav

CANARY = "canary-of-the-remote"
SECRET = "key-that-nobody-sees"
TONE = b"\x11\x11" * 4000
NOISE = TranscriptionRequest(Pcm(b"\x01\x02" * 16_000, 16_000))
LONGEST_S = 8.0  # of what is bounded below by 1 s; machines are busy


def voice(url: str, **changes: object) -> OpenAudioApiEngine:
    quick = {"first_audio_s": 1.0, "total_s": 1.5, "max_retries": 0, "max_audio_s": 30.0}
    return OpenAudioApiEngine(
        OpenAudioApiSettings.model_validate(
            {"base_url": url, "api_key": SecretStr(SECRET), **quick, **changes}
        )
    )


def ear(url: str, **changes: object) -> OpenAiSttEngine:
    quick = {"total_s": 1.0, "max_retries": 0, "model": "whisper-1"}
    return OpenAiSttEngine(
        OpenAiSttSettings.model_validate(
            {"base_url": url, "api_key": SecretStr(SECRET), **quick, **changes}
        )
    )


def speak(engine: OpenAudioApiEngine | FallbackTtsEngine, text: str = "Hello.") -> list[Pcm]:
    return list(engine.synthesize(SpeechRequest(text), threading.Event()))


BROKEN: dict[str, tuple[Answer, type[SpeechError]]] = {
    "wrong key": (says("401 Unauthorized", "application/json", CANARY.encode()), StageFailed),
    "forbidden": (says("403 Forbidden", "text/plain", CANARY.encode()), StageFailed),
    "refused": (says("422 Unprocessable", "application/json", CANARY.encode()), StageFailed),
    "broken": (says("500 Oops", "application/json", CANARY.encode()), StageFailed),
    "busy": (says("429 Busy", "text/plain", CANARY.encode()), StageOverloaded),
    "away": (says("503 Away", "text/html", CANARY.encode()), StageUnavailable),
    "html": (says("200 OK", "text/html", f"<html>{CANARY}".encode()), StageFailed),
    "wrong type": (says("200 OK", "audio/mpeg", TONE), StageFailed),
    "no body": (says("200 OK", "audio/wav", b""), StageFailed),
    "stereo": (says("200 OK", "audio/wav", b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0"
                    b"\x44\xac\0\0\0\0\0\0\x04\0\x10\0data\0\0\0\0" + TONE), StageFailed),
    "compressed": (says("200 OK", "audio/wav", TONE, "Content-Encoding: gzip"), StageFailed),
    "redirect": (says("307 Away", "audio/wav", b"", "Location: /v1/tts"), StageFailed),
    "hangs up": (cuts, StageUnavailable),
    "not http": (lambda connection: connection.sendall(b"\x16\x03\x01" * 99), StageUnavailable),
    "silent": (is_silent, StageTimeout),
    "header, then silence": (streams(wav(Pcm(b"", RATE)), then=is_silent), StageTimeout),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_what_a_server_may_do_is_a_typed_error_in_time(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer, error = BROKEN[kind]
    caplog.set_level(logging.DEBUG)
    began = time.monotonic()
    with hostile(answer) as server, pytest.raises(error) as caught:
        speak(voice(server.url))
    assert time.monotonic() - began < LONGEST_S
    shown = f"{caught.value!r} {caught.value} {caplog.text}"
    assert CANARY not in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (streams(TONE, then=cuts), StageUnavailable),
        (streams(TONE, then=is_silent), StageTimeout),
        (streams(TONE, then=drips), StageTimeout),
        (streams(TONE, then=never_ends), StageFailed),
    ],
    ids=["cut", "silent", "drip", "endless"],
)
def test_a_stream_that_breaks_ends_with_a_typed_error_and_is_not_said_again(
    answer: Answer, error: type[SpeechError]
) -> None:
    with hostile(answer) as server:
        chain = FallbackTtsEngine(
            FallbackTtsSettings(
                order=(OpenAudioApiSettings(), FakeTtsSettings()), stand_ins={"*": "tone"}
            ),
            [voice(server.url, max_retries=3), FakeTtsEngine(FakeTtsSettings())],
        )
        heard: list[Pcm] = []
        with pytest.raises(error):
            heard.extend(chain.synthesize(SpeechRequest("Hello."), threading.Event()))
        assert len(server.requests) == 1
    assert {piece.engine for piece in heard} == {"openaudio_api"}


@pytest.mark.parametrize("kind", BROKEN)
def test_before_it_was_heard_another_engine_speaks_at_the_promised_rate(kind: str) -> None:
    fake = FakeTtsSettings(first_audio_s=0, real_time_factor=0)
    with hostile(BROKEN[kind][0]) as server:
        chain = FallbackTtsEngine(
            FallbackTtsSettings(order=(OpenAudioApiSettings(), fake), stand_ins={"*": "tone"}),
            [voice(server.url), FakeTtsEngine(fake)],
        )
        pieces = speak(chain, "Hello there.")
    assert {(piece.engine, piece.sample_rate) for piece in pieces} == {("fake", RATE)}
    assert sum(piece.duration_s for piece in pieces) == pytest.approx(12 * 0.06, abs=0.01)


def test_what_may_pass_is_tried_again_and_what_may_not_is_not() -> None:
    good = streams(TONE, then=ends)
    away = says("503 Away", "text/plain", b"")
    with hostile(away, cuts, good) as server:
        assert speak(voice(server.url, max_retries=2, first_audio_s=10, total_s=10))
        assert len(server.requests) == 3
    with hostile(says("500 Oops", "text/plain", b""), good) as server:
        with pytest.raises(StageFailed):
            speak(voice(server.url, max_retries=2))
        assert len(server.requests) == 1


def test_a_wait_that_the_server_asks_for_is_kept_within_the_time_there_is() -> None:
    good = streams(TONE, then=ends)
    with hostile(says("429 Busy", "text/plain", b"", "Retry-After: 1"), good) as server:
        began = time.monotonic()
        assert speak(voice(server.url, max_retries=1, first_audio_s=10, total_s=10))
        assert time.monotonic() - began >= 1.0
    with hostile(says("429 Busy", "text/plain", b"", "Retry-After: 999"), good) as server:
        with pytest.raises(StageOverloaded):
            speak(voice(server.url, max_retries=1))
        assert len(server.requests) == 1


@pytest.mark.parametrize("answer", [is_silent, streams(TONE, then=is_silent)], ids=["first", "mid"])
def test_a_stop_closes_the_connection_at_once(answer: Answer) -> None:
    stop = threading.Event()
    with hostile(answer) as server:
        engine = voice(server.url, first_audio_s=60, total_s=60)
        timer = threading.Timer(0.3, stop.set)
        timer.start()
        began = time.monotonic()
        list(engine.synthesize(SpeechRequest("Hello."), stop))
        assert time.monotonic() - began < LONGEST_S
        assert server.left.wait(5)


class Told:
    """A watch that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def fell_back(self, engine: str) -> None:
        self.events.append(("fell back", engine))

    def failed(self, engine: str) -> None:
        self.events.append(("failed", engine))

    def circuit(self, engine: str, *, is_open: bool) -> None:
        if is_open:
            self.events.append(("open", engine))


def test_an_engine_that_keeps_failing_is_left_alone_and_told() -> None:
    told = Told()
    fake = FakeSttSettings(latency_s=0, text="Heard.")
    with hostile(cuts) as server:
        chain = FallbackSttEngine(
            FallbackSttSettings(
                order=(OpenAiSttSettings(), fake), circuit=CircuitSettings(failures=2)
            ),
            [ear(server.url), FakeSttEngine(fake)],
            told,
        )
        for _ in range(4):
            heard = whole_transcript(chain.transcribe(NOISE, threading.Event()))
            assert (heard.text, heard.engine) == ("Heard.", "fake")
        assert len(server.requests) == 2
    assert told.events.count(("failed", "openai_api")) == 2
    assert told.events.count(("fell back", "fake")) == 4
    assert told.events.count(("open", "openai_api")) == 1


@pytest.mark.parametrize(
    "body", [b"not json", b"[]", b'{"text": 7}', b'{"text": "x", "segments": [{}]}', b"{" * 9999]
)
def test_an_answer_that_is_no_transcript_is_a_typed_error(body: bytes) -> None:
    with hostile(says("200 OK", "application/json", body)) as server, pytest.raises(StageFailed):
        whole_transcript(ear(server.url).transcribe(NOISE, threading.Event()))


def test_a_key_goes_to_its_own_server_alone() -> None:
    with hostile(says("200 OK", "audio/wav", TONE)) as other:
        away = says("302 Found", "text/plain", b"", f"Location: {other.url}/v1/tts")
        with hostile(away) as server, pytest.raises(StageFailed):
            speak(voice(server.url))
        assert SECRET.encode() in server.requests[0]
        assert other.requests == []


@pytest.fixture
def remote() -> Iterator[tuple[RemoteSpeech, OpenAudioApiEngine]]:
    speech = RemoteSpeech()
    with serving(speech.app) as url:
        voices = {"default": "", "ibu": "high"}
        yield (
            speech,
            voice(url, api_key=SecretStr(KEY), voices=voices, first_audio_s=20, total_s=20),
        )


def test_sentences_voices_and_wishes_reach_the_server(
    remote: tuple[RemoteSpeech, OpenAudioApiEngine],
) -> None:
    speech, engine = remote
    wish = SpeechRequest("One. Two.", "ibu", temperature=2.0, top_p=0.5, seed=7, chunk_chars=100)
    assert list(engine.synthesize(wish, threading.Event()))
    assert "".join(each["text"] for each in speech.asked).replace(" ", "") == "One.Two."
    assert speech.asked[0] | {"text": ""} == {
        "text": "",
        "format": "wav",
        "streaming": True,
        "reference_id": "high",
        "temperature": 1.0,
        "top_p": 0.5,
        "seed": 7,
    }


def test_a_header_tells_the_rate_and_bare_samples_have_the_configured_one(
    remote: tuple[RemoteSpeech, OpenAudioApiEngine],
) -> None:
    _, engine = remote
    bare = b"".join(piece.samples for piece in speak(engine))
    for rate in (RATE, 22_050):
        with hostile(
            says("200 OK", "audio/wav", wav(Pcm(bare, rate)) + b"LIST\4\0\0\0abcd")
        ) as each:
            pieces = speak(voice(each.url))
        assert {piece.sample_rate for piece in pieces} == {RATE}
        seconds = sum(piece.duration_s for piece in pieces)
        assert seconds == pytest.approx(len(bare) / 2 / rate, abs=0.001)


def test_cloned_voices_and_mistakes_are_the_callers(
    remote: tuple[RemoteSpeech, OpenAudioApiEngine],
) -> None:
    _, engine = remote
    with pytest.raises(VoiceNotFound):
        list(engine.synthesize(SpeechRequest("Hi.", "nobody"), threading.Event()))
    with pytest.raises(CloningUnsupported):
        strange = VoiceReference("Hi.", b"1", "other")
        list(engine.synthesize(SpeechRequest("Hi.", references=(strange,)), threading.Event()))
    with pytest.raises(InvalidParameter):
        engine.encode_voice(Pcm(bytes(2 * 8000 * 31), 8000), "Too long.")


def test_a_recording_that_comes_with_another_text_is_another_one_to_the_servers_cache(
    remote: tuple[RemoteSpeech, OpenAudioApiEngine],
) -> None:
    speech, engine = remote
    for text in ("Good morning.", "Good night.", "Good night."):
        reference = engine.encode_voice(Pcm(TONE, 8000), text)
        assert list(
            engine.synthesize(SpeechRequest("Hi.", references=(reference,)), threading.Event())
        )
    sent = [base64.b64decode(each["references"][0]["audio"]) for each in speech.asked]
    assert sent[0] != sent[1] == sent[2]
    for file in sent:
        assert int.from_bytes(file[4:8], "little") == len(file) - 8
        with wave.open(io.BytesIO(file)) as recording:
            assert recording.readframes(10_000) == TONE
    assert {each["use_memory_cache"] for each in speech.asked} == {"on"}


def test_a_server_is_up_while_it_works_for_us_and_down_when_nobody_listens() -> None:
    with hostile(is_silent) as server:
        engine = voice(server.url, first_audio_s=30, total_s=30)
        stop = threading.Event()
        speaking = threading.Thread(
            target=lambda: list(engine.synthesize(SpeechRequest("Hello."), stop))
        )
        speaking.start()
        while not server.requests:
            time.sleep(0.01)
        assert engine.is_up()
        stop.set()
        speaking.join()
        assert server.left.wait(5)
    deadline = time.monotonic() + 5
    while engine.is_up():
        assert time.monotonic() < deadline
        time.sleep(0.01)


CHAINS = Path(__file__).parents[2] / "docs" / "remote-engines.md"


@pytest.mark.parametrize(
    "example", re.findall(r"```yaml\n(.*?)```", CHAINS.read_text(encoding="utf-8"), re.DOTALL)
)
def test_the_examples_of_the_document_load(example: str) -> None:
    settings, warnings = load_settings(yaml.safe_load(example), {})
    assert warnings == []
    engines = {settings.stt.engine, settings.tts.engine}
    assert engines & {"openai_api", "openaudio_api", "fallback"}


def test_a_server_that_lets_requests_run_out_of_time_is_down_until_it_answers() -> None:
    with hostile(is_silent) as server:
        engine = voice(server.url, first_audio_s=0.2)
        assert engine.is_up()  # it takes the connection: another caller may keep it busy
        with pytest.raises(StageTimeout):
            speak(engine)
        assert not engine.is_up()


def test_a_server_that_speaks_for_one_and_lets_another_wait_is_up() -> None:
    with hostile(streams(TONE, then=drips), is_silent) as server:
        engine = voice(server.url, first_audio_s=1.0, total_s=30)
        stop = threading.Event()
        speech = engine.synthesize(SpeechRequest("Hello."), stop)
        assert next(speech)
        with pytest.raises(StageTimeout):
            speak(engine)
        assert not engine.is_up()  # nobody has heard anything meanwhile
        hearing = threading.Thread(target=lambda: list(speech), daemon=True)
        hearing.start()
        deadline = time.monotonic() + 5
        while not engine.is_up():
            assert time.monotonic() < deadline
        with pytest.raises(StageTimeout):
            speak(engine)
        assert engine.is_up()
        stop.set()
        hearing.join()


def test_a_pace_that_the_first_voice_has_not_is_spoken_by_the_next_one() -> None:
    fake, told = FakeTtsSettings(first_audio_s=0, real_time_factor=0), Told()
    with hostile(streams(TONE, then=ends)) as server:
        chain = FallbackTtsEngine(
            FallbackTtsSettings(
                order=(OpenAudioApiSettings(), fake),
                stand_ins={"*": "tone"},
                circuit=CircuitSettings(failures=1),
            ),
            [voice(server.url), FakeTtsEngine(fake)],
            told,
        )
        fast = list(chain.synthesize(SpeechRequest("Hello there.", speed=1.25), threading.Event()))
        assert {(piece.engine, piece.sample_rate) for piece in fast} == {("fake", RATE)}
        assert told.events == [("fell back", "fake")]
        assert {piece.engine for piece in speak(chain)} == {"openaudio_api"}


LONG = TranscriptionRequest(Pcm(b"\x01\x02" * (13 * 2**20), 16_000))


@pytest.mark.parametrize(
    ("request_", "model"),
    [
        (replace(NOISE, word_timestamps=True), "gpt-4o-mini-transcribe"),
        (replace(NOISE, languages=("en", "id")), "whisper-1"),
        (LONG, "whisper-1"),
    ],
    ids=["words", "languages", "long"],
)
def test_what_the_first_ear_cannot_do_is_done_by_the_next_one(
    request_: TranscriptionRequest, model: str
) -> None:
    fake, told = FakeSttSettings(latency_s=0, text="Heard."), Told()
    with hostile(cuts) as server:
        chain = FallbackSttEngine(
            FallbackSttSettings(order=(OpenAiSttSettings(), fake)),
            [ear(server.url, model=model), FakeSttEngine(fake)],
            told,
        )
        heard = whole_transcript(chain.transcribe(request_, threading.Event()))
        assert server.requests == []
    assert (heard.text, heard.engine) == ("Heard.", "fake")
    assert told.events == [("fell back", "fake")]


def ears(*urls: str) -> FallbackSttEngine:
    """A chain of hosted Whispers that cannot tell times of words, but for the last one."""
    models = [*["gpt-4o-mini-transcribe"] * (len(urls) - 1), "whisper-1"]
    return FallbackSttEngine(
        FallbackSttSettings(
            order=(OpenAiSttSettings(),) * len(urls), circuit=CircuitSettings(failures=1)
        ),
        [ear(url, model=model) for url, model in zip(urls, models, strict=True)],
    )


def test_what_no_engine_can_do_is_told_by_the_first_and_a_failure_before_it() -> None:
    choice = replace(NOISE, languages=("en", "id"))
    words = replace(NOISE, word_timestamps=True)
    with hostile(cuts) as server:
        chain = ears(server.url, server.url)
        with pytest.raises(EngineIncapable, match="languages"):
            whole_transcript(chain.transcribe(choice, threading.Event()))
        assert server.requests == []
        for _ in range(
            2
        ):  # the second one is left alone at last: that is no mistake of the caller's
            with pytest.raises(StageUnavailable):
                whole_transcript(chain.transcribe(words, threading.Event()))
        assert len(server.requests) == 1
