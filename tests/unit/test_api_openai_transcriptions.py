"""OpenAI's transcriptions and translations, mostly through the official client."""

import json
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, cast

import openai
import pytest
from openai import OpenAI
from openai.types.audio import (
    Transcription,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionVerbose,
    TranslationVerbose,
)

from configs.settings import FakeSttSettings
from deployments.errors import InvalidParameter, RateLimited, StageFailed, StageOverloaded
from deployments.messages import Segment, SpeechDetection, Transcript
from tests.unit.counted_caller import counting
from tests.unit.fake_services import Served, quick_settings, serving
from tests.unit.http_answers import problem
from tests.unit.leaving_client import data_events, leave_after
from tests.unit.media_files import wav_bytes
from tests.unit.openai_client import checked, openai_client

FIRST, SECOND = "What is the capital of France?", "I would like to know."
HEARD = f"{FIRST} {SECOND}"
DURATION_S = 1.5
SPEECH = ("speech.wav", wav_bytes(16_000, DURATION_S))
PATH = "/v1/audio/transcriptions"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(quick_settings(stt=FakeSttSettings(text=HEARD, latency_s=0))) as served:
        yield served


@pytest.fixture(scope="module")
def client(served: Served) -> OpenAI:
    return openai_client(served)


def hear(client: OpenAI, **fields: Any) -> Any:
    form: dict[str, Any] = {"file": SPEECH, "model": "gpt-4o-transcribe", **fields}
    return client.audio.transcriptions.create(**form)


def send(served: Served, path: str = PATH, **form: Any) -> Any:
    return served.client.post(path, files={"file": SPEECH}, data=form)


# ---- the formats --------------------------------------------------------------------------------


def test_a_transcript_is_a_text_with_the_seconds_that_were_heard(client: OpenAI) -> None:
    answer = checked(hear(client))
    assert isinstance(answer, Transcription)
    assert answer.text == HEARD
    assert answer.usage
    assert answer.usage.to_dict() == {"type": "duration", "seconds": 2}


def test_a_verbose_transcript_has_segments_and_no_words(client: OpenAI) -> None:
    answer = checked(hear(client, response_format="verbose_json"))
    assert isinstance(answer, TranscriptionVerbose)
    assert (answer.text, answer.language, answer.duration) == (HEARD, "english", DURATION_S)
    assert [(s.id, s.seek, s.text) for s in answer.segments or ()] == [
        (0, 0, f" {FIRST}"),
        (1, 0, f" {SECOND}"),
    ]
    assert answer.segments
    assert (answer.segments[0].start, answer.segments[-1].end) == (0.0, DURATION_S)
    assert answer.words is None
    assert answer.to_dict()["task"] == "transcribe"


@pytest.mark.parametrize(
    ("granularities", "present"),
    [
        (["word"], {"words"}),
        (["segment"], {"segments"}),
        (["word", "segment"], {"segments", "words"}),
    ],
    ids=str,
)
def test_times_come_for_what_was_asked(
    client: OpenAI, granularities: list[str], present: set[str]
) -> None:
    answer = checked(
        hear(client, response_format="verbose_json", timestamp_granularities=granularities)
    )
    assert {"segments", "words"} & set(answer.to_dict()) == present


def test_words_have_their_times(client: OpenAI) -> None:
    answer = hear(client, response_format="verbose_json", timestamp_granularities=["word"])
    words = checked(answer).words
    assert [word.word for word in words] == HEARD.split()
    assert all(a.end == b.start for a, b in pairwise(words))


@pytest.mark.parametrize("name", ["text", "srt", "vtt"])
def test_a_transcript_comes_as_plain_text(client: OpenAI, name: str) -> None:
    half = "00:00:00,818"
    expected = {
        "text": f"{HEARD}\n",
        "srt": f"1\n00:00:00,000 --> {half}\n{FIRST}\n\n2\n{half} --> 00:00:01,500\n{SECOND}\n",
        "vtt": "WEBVTT\n\n00:00:00.000 --> 00:00:00.818\n"
        f"{FIRST}\n\n00:00:00.818 --> 00:00:01.500\n{SECOND}\n",
    }
    assert hear(client, response_format=name) == expected[name]


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("json", "application/json"),
        ("text", "text/plain; charset=utf-8"),
        ("srt", "text/plain; charset=utf-8"),
        ("vtt", "text/vtt; charset=utf-8"),
    ],
)
def test_every_format_says_what_it_is(served: Served, name: str, media_type: str) -> None:
    assert send(served, response_format=name).headers["content-type"] == media_type


@pytest.mark.parametrize("name", ["json", "verbose_json", "text", "srt", "vtt"])
def test_silence_is_an_empty_transcript(served: Served, name: str) -> None:
    silence = SPEECH[1][:44] + bytes(len(SPEECH[1]) - 44)
    response = served.client.post(PATH, files={"file": silence}, data={"response_format": name})
    assert response.status_code == 200
    assert FIRST not in response.text


# ---- what reaches the engine --------------------------------------------------------------------


def test_every_field_of_the_client_reaches_the_engine(served: Served, client: OpenAI) -> None:
    hear(
        client,
        language="ES-mx",
        prompt="Paris",
        temperature=0.5,
        keywords=["Seine", "Louvre"],
        response_format="verbose_json",
        timestamp_granularities=["word"],
        chunking_strategy={
            "type": "server_vad",
            "threshold": 0.4,
            "silence_duration_ms": 300,
            "prefix_padding_ms": 100,
        },
    )
    request = served.stt.requests[-1]
    assert (request.language, request.prompt, request.temperature) == ("es", "Paris", 0.5)
    assert request.keywords == ("Seine", "Louvre")
    assert request.detection == SpeechDetection(0.4, 300, 100)
    assert (request.task, request.word_timestamps) == ("transcribe", True)
    assert (request.audio.sample_rate, request.audio.duration_s) == (16_000, DURATION_S)


def test_several_languages_reach_the_engine(served: Served, client: OpenAI) -> None:
    hear(client, languages=["en-US", "es"])
    assert served.stt.requests[-1].languages == ("en", "es")


def test_nothing_is_asked_of_the_engine_that_was_not_asked_for(
    served: Served, client: OpenAI
) -> None:
    hear(client)
    request = served.stt.requests[-1]
    assert (request.language, request.languages, request.keywords) == (None, (), ())
    assert (request.prompt, request.detection, request.word_timestamps) == (None, None, False)


def test_a_temperature_of_zero_may_rise_by_itself(served: Served, client: OpenAI) -> None:
    hear(client, temperature=0)
    assert served.stt.requests[-1].temperature is None


@pytest.mark.parametrize(
    ("strategy", "detection"),
    [
        ("auto", SpeechDetection()),
        ('{"type": "server_vad"}', SpeechDetection()),
        ('{"type": "server_vad", "threshold": 0.2}', SpeechDetection(0.2)),
    ],
)
def test_silence_is_left_out_as_the_strategy_says(
    served: Served, strategy: str, detection: SpeechDetection
) -> None:
    assert send(served, chunking_strategy=strategy).status_code == 200
    assert served.stt.requests[-1].detection == detection


@pytest.mark.parametrize("suffix", ["", "[]"])
def test_lists_may_be_named_with_and_without_brackets(served: Served, suffix: str) -> None:
    form: dict[str, Any] = {
        f"languages{suffix}": ["en", "es"],
        f"keywords{suffix}": ["Seine"],
        f"timestamp_granularities{suffix}": ["word"],
        "response_format": "verbose_json",
    }
    assert "words" in send(served, **form).json()
    request = served.stt.requests[-1]
    assert (request.languages, request.keywords) == (("en", "es"), ("Seine",))


@pytest.mark.parametrize("model", ["fake-stt", "whisper-1", "gpt-4o-mini-transcribe", None])
def test_a_model_is_its_id_or_a_known_name(served: Served, model: str | None) -> None:
    form = {"model": model} if model else {}
    assert send(served, **form).json()["text"] == HEARD


def test_the_name_of_the_user_is_accepted(served: Served) -> None:
    assert send(served, user="ada").status_code == 200


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "status", "code", "param"),
    [
        ({"model": "whisper"}, 404, "model_not_found", "model"),
        ({"model": "x" * 129}, 400, "invalid_parameter", "model"),
        ({"language": "xx"}, 400, "unsupported_language", "language"),
        ({"language": "x" * 17}, 400, "invalid_parameter", "language"),
        ({"languages[]": ["en"] * 17}, 400, "invalid_parameter", "languages[]"),
        ({"language": "en", "languages[]": ["es"]}, 400, "invalid_parameter", "languages"),
        ({"keywords[]": ["x" * 65]}, 400, "invalid_parameter", "keywords[].0"),
        ({"keywords[]": ["x"] * 65}, 400, "invalid_parameter", "keywords[]"),
        ({"prompt": "x" * 4097}, 400, "invalid_parameter", "prompt"),
        ({"temperature": "1.1"}, 400, "invalid_parameter", "temperature"),
        ({"temperature": "nan"}, 400, "invalid_parameter", "temperature"),
        ({"response_format": "diarized_json"}, 400, "invalid_parameter", "response_format"),
        ({"include[]": ["logprobs"]}, 400, "invalid_parameter", "include"),
        ({"include[]": ["mood"]}, 400, "invalid_parameter", "include[].0"),
        (
            {"timestamp_granularities[]": ["word"]},
            400,
            "invalid_parameter",
            "timestamp_granularities",
        ),
        (
            {"stream": "true", "response_format": "srt"},
            400,
            "invalid_parameter",
            "response_format",
        ),
        ({"stream": "perhaps"}, 400, "invalid_parameter", "stream"),
        ({"chunking_strategy": "never"}, 400, "invalid_parameter", "chunking_strategy"),
        ({"chunking_strategy": "[" * 9000}, 400, "invalid_parameter", "chunking_strategy"),
        (
            {"chunking_strategy[type]": "server_vad", "chunking_strategy[threshold]": "2"},
            400,
            "invalid_parameter",
            "chunking_strategy.server_vad.threshold",
        ),
        (
            {"chunking_strategy[type]": "server_vad", "chunking_strategy[mood]": "2"},
            400,
            "unknown_parameter",
            "chunking_strategy.server_vad.mood",
        ),
        ({"known_speaker_names[]": ["ada"]}, 400, "unknown_parameter", "known_speaker_names[]"),
        ({"pitch": "1"}, 400, "unknown_parameter", "pitch"),
    ],
)
def test_a_field_that_cannot_be_honoured_is_refused(
    served: Served, form: dict[str, Any], status: int, code: str, param: str
) -> None:
    assert problem(send(served, **form)) == (status, code, param)


def test_a_request_without_a_file_is_refused(served: Served) -> None:
    response = served.client.post(PATH, files={"model": (None, "whisper-1")})
    assert problem(response) == (400, "missing_parameter", "file")


def test_the_client_raises_what_it_raises_for_openai(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        hear(client, model="nobody")
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")
    assert "nobody" in str(raised.value)


def test_a_stage_without_room_is_told(served: Served) -> None:
    with served.broken("stt", StageOverloaded("stt")):
        responses = [send(served), send(served, stream="true")]
    assert {problem(response) for response in responses} == {(503, "stage_overloaded", None)}


@pytest.mark.parametrize("path", [PATH, "/v1/audio/translations"])
def test_the_audio_is_counted_before_it_is_heard(served: Served, path: str) -> None:
    asked = len(served.stt.requests)
    with counting(served, RateLimited("audio", 3.0)) as caller:
        response = send(served, path)
    assert problem(response) == (429, "rate_limit_exceeded", None)
    assert (caller.heard_s, len(served.stt.requests)) == ([DURATION_S], asked)


# ---- streams ------------------------------------------------------------------------------------


@pytest.mark.parametrize("response_format", ["json", "text"])
def test_a_stream_has_a_delta_for_each_segment_and_then_the_whole(
    client: OpenAI, response_format: str
) -> None:
    *deltas, done = map(checked, hear(client, stream=True, response_format=response_format))
    assert all(isinstance(event, TranscriptionTextDeltaEvent) for event in deltas)
    assert [event.delta for event in deltas] == [FIRST, f" {SECOND}"]
    assert isinstance(done, TranscriptionTextDoneEvent)
    assert done.text == HEARD
    assert done.usage
    assert done.usage.input_tokens == 50 * DURATION_S
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens


class ScriptedEngine:
    """Hears segments of these texts, then fails or (None) ends."""

    def __init__(self, texts: list[str], error: Exception | None = None) -> None:
        self._texts, self._error = texts, error

    def warm_up(self) -> None: ...

    def transcribe(self, request: Any, stop: threading.Event) -> Iterator[Segment | Transcript]:
        segments = tuple(
            Segment(number, 0.0, 1.0, text, -0.1, 0.0, 1.0, 0.0, tokens=(1, 2))
            for number, text in enumerate(self._texts, 1)
        )
        yield from segments
        if self._error:
            raise self._error
        text = "".join(self._texts).strip()
        yield Transcript(text, "en", 1.0, 1.0, segments)


@pytest.mark.parametrize(
    "texts",
    [
        [" One. ", " Two.", "  ", " Three. "],
        ["  ", " ", "One."],
        ["", " One", ""],
        [" ", " "],
        [],
    ],
    ids=str,
)
def test_the_deltas_join_to_the_text(
    served: Served, monkeypatch: pytest.MonkeyPatch, texts: list[str]
) -> None:
    monkeypatch.setattr(served.stt, "engine", ScriptedEngine(texts))
    *deltas, done = data_events(send(served, stream="true").text)
    assert "".join(event["delta"] for event in deltas) == done["text"]
    assert all(event["delta"] for event in deltas)
    assert done["usage"]["output_tokens"] == 2 * len(texts)


def test_an_error_in_the_middle_is_raised_by_the_client(
    served: Served, client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.stt, "engine", ScriptedEngine([" One."], StageFailed("stt")))
    events = hear(client, stream=True)
    assert next(events).delta == "One."
    with pytest.raises(openai.APIError) as raised:
        next(events)
    assert raised.value.code == "stage_failed"
    assert cast("dict[str, Any]", raised.value.body)["request_id"]


def test_an_error_before_the_first_segment_has_its_own_status(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.stt, "engine", ScriptedEngine([], StageFailed("stt")))
    assert problem(send(served, stream="true")) == (500, "stage_failed", None)


async def test_a_client_that_goes_away_ends_the_hearing() -> None:
    slow = FakeSttSettings(text="Go on. " * 200, latency_s=20)
    with serving(quick_settings(stt=slow)) as served:
        answers = await leave_after(
            served, 3, PATH, data={"stream": "true"}, files={"file": SPEECH}
        )
        assert served.stt.closed.is_set()
    assert len(answers) < 10  # the text came while it was heard, and no more of it
    first = answers[1]["body"].decode()
    assert json.loads(first.removeprefix("data: "))["type"] == "transcript.text.delta"


# ---- translations -------------------------------------------------------------------------------


def translate(client: OpenAI, **fields: Any) -> Any:
    with pytest.warns(DeprecationWarning, match="deprecated"):  # says OpenAI of its own route
        return cast("Any", client.audio.translations).create(
            file=SPEECH, model="whisper-1", **fields
        )


def test_a_translation_is_asked_for(served: Served, client: OpenAI) -> None:
    answer = translate(client, prompt="Paris", temperature=0.3)
    assert checked(answer).text == HEARD
    request = served.stt.requests[-1]
    assert (request.task, request.prompt, request.temperature) == ("translate", "Paris", 0.3)


def test_a_verbose_translation_is_english(client: OpenAI) -> None:
    answer = translate(client, response_format="verbose_json")
    answer = TranslationVerbose.model_validate(answer.to_dict())
    assert (answer.language, answer.duration, answer.text) == ("english", DURATION_S, HEARD)
    assert len(answer.segments or ()) == 2
    assert answer.to_dict()["task"] == "translate"


def test_a_translation_comes_as_subtitles(served: Served) -> None:
    response = send(served, "/v1/audio/translations", response_format="vtt")
    assert response.text.startswith("WEBVTT\n")


def test_a_model_that_cannot_translate_says_so(served: Served) -> None:
    with served.broken("stt", InvalidParameter("task", "it only transcribes")):
        response = send(served, "/v1/audio/translations")
    assert problem(response) == (400, "invalid_parameter", "task")


@pytest.mark.parametrize(
    "form", [{"language": "en"}, {"stream": "true"}, {"timestamp_granularities[]": "word"}], ids=str
)
def test_a_translation_has_no_other_fields(served: Served, form: dict[str, str]) -> None:
    response = send(served, "/v1/audio/translations", **form)
    assert problem(response) == (400, "unknown_parameter", next(iter(form)))
