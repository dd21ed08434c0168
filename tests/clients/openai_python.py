"""What programs for OpenAI's API do, with the official Python client; `openai.mjs` does the same."""

import asyncio
import base64
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import av
import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.clients.target import QUESTION, Target
from tests.unit.http_answers import decoded

ASKED = [{"role": "user", "content": "What is the capital of France?"}]
CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Paris", "Rome"]},
        "people": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["city", "people"],
    "additionalProperties": False,
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "description": "Looks up a city.",
            "parameters": CITY,
            "strict": True,
        },
    }
]
CONTINUE = {
    "model": "gpt-3.5-turbo-instruct",
    "prompt": "The capital of France is",
    "max_tokens": 8,
}
FORMATS = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
}


def new_client(url: str, api_key: str = "none") -> OpenAI:
    """A client that never tries twice, so that what is seen is the first answer."""
    return OpenAI(
        base_url=f"{url}/v1",
        api_key=api_key,
        max_retries=0,
        timeout=120,
        http_client=httpx2.Client(trust_env=False),
    )


def ask(client: OpenAI, **more: Any) -> Any:
    fields = {"messages": ASKED, "seed": 1, "temperature": 0.2, "max_tokens": 48}
    return client.chat.completions.create(model="gpt-4o-mini", **(fields | more))


def transcribe(client: OpenAI, **more: Any) -> Any:
    with QUESTION.open("rb") as file:
        return client.audio.transcriptions.create(file=file, model="whisper-1", **more)


def speak(client: OpenAI, **more: Any) -> bytes:
    fields = {"voice": "alloy", "input": "The sea is calm today."} | more
    return client.audio.speech.create(model="tts-1", **fields).content


def is_city(text: str) -> bool:
    city = json.loads(text)
    return (
        set(city) == {"city", "people"}
        and city["city"] in ("Paris", "Rome")
        and isinstance(city["people"], int)
        and 0 <= city["people"] <= 99
    )


def is_question(text: str) -> bool:
    """Whether a transcript is what was asked in the recording."""
    return " ".join(re.findall("[a-z]+", text.lower())) == "what is the capital of france"


class OpenAiPython:
    """The suite; a subclass gives the fixture `target`."""

    @pytest.fixture
    def client(self, target: Target) -> Iterator[OpenAI]:
        with new_client(target.url) as client:
            yield client

    # ---- models ----

    def test_every_model_that_is_listed_can_be_read(self, client: OpenAI) -> None:
        models = list(client.models.list())
        assert len(models) >= 3
        for model in models:
            assert model.object == "model"
            assert client.models.retrieve(model.id) == model

    def test_a_model_that_does_not_exist_is_not_found(self, client: OpenAI) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve("nothing/here")
        assert caught.value.code == "model_not_found"
        assert caught.value.request_id

    # ---- chat ----

    def test_a_question_is_answered(self, client: OpenAI) -> None:
        answer = ask(client)
        assert answer.id.startswith("chatcmpl-")
        (choice,) = answer.choices
        assert choice.message.role == "assistant"
        assert "Paris" in choice.message.content
        usage = answer.usage
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        assert usage.completion_tokens > 0

    def test_an_answer_is_streamed_its_usage_last(self, client: OpenAI) -> None:
        *chunks, usage = ask(client, stream=True, stream_options={"include_usage": True})
        assert chunks[0].choices[0].delta.role == "assistant"
        assert len({chunk.id for chunk in chunks}) == 1
        assert "Paris" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert chunks[-1].choices[0].finish_reason in ("stop", "length")
        assert usage.choices == []
        assert usage.usage.completion_tokens > 0

    def test_the_clients_own_stream_runner_puts_the_answer_together(self, client: OpenAI) -> None:
        with client.chat.completions.stream(
            model="gpt-4o-mini", messages=ASKED, max_tokens=48, seed=1, temperature=0.2
        ) as stream:
            answer = stream.get_final_completion()
        assert "Paris" in answer.choices[0].message.content

    def test_a_stop_ends_the_answer_before_it(self, client: OpenAI) -> None:
        (choice,) = ask(client, stop=["Paris"]).choices
        assert "Paris" not in choice.message.content
        assert choice.finish_reason == "stop"

    def test_several_answers_are_given(self, client: OpenAI) -> None:
        assert [choice.index for choice in ask(client, n=2, max_tokens=8).choices] == [0, 1]

    def test_an_answer_keeps_to_a_json_schema(self, client: OpenAI) -> None:
        form = {"name": "city", "strict": True, "schema": CITY}
        answer = ask(client, response_format={"type": "json_schema", "json_schema": form})
        assert is_city(answer.choices[0].message.content)

    def test_an_answer_is_a_json_object(self, client: OpenAI) -> None:
        answer = ask(client, response_format={"type": "json_object"}, max_tokens=400)
        assert isinstance(json.loads(answer.choices[0].message.content), dict)

    def test_a_tool_is_called_and_its_result_is_taken_up(self, client: OpenAI) -> None:
        (choice,) = ask(client, tools=TOOLS, tool_choice="required").choices
        assert choice.finish_reason == "tool_calls"
        call = choice.message.tool_calls[0]
        assert (call.type, call.function.name) == ("function", "look_up")
        assert is_city(call.function.arguments)
        result = {"role": "tool", "tool_call_id": call.id, "content": '{"people": 2}'}
        messages = [*ASKED, choice.message.to_dict(), result]
        answer = ask(client, messages=messages, tools=TOOLS, tool_choice="none")
        assert answer.choices[0].message.content

    def test_a_tool_call_is_streamed_piece_by_piece(self, client: OpenAI) -> None:
        chunks = list(ask(client, tools=TOOLS, tool_choice="required", stream=True))
        calls = [
            call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or () if chunk
        ]
        assert calls[0].id
        assert calls[0].function.name == "look_up"
        assert is_city("".join(call.function.arguments or "" for call in calls if call.index == 0))
        assert chunks[-1].choices[0].finish_reason == "tool_calls"

    def test_spoken_questions_are_heard_and_answers_are_spoken(self, client: OpenAI) -> None:
        data = base64.b64encode(QUESTION.read_bytes()).decode()
        part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
        answer = ask(
            client,
            messages=[{"role": "user", "content": [part]}],
            modalities=["text", "audio"],
            audio={"voice": "alloy", "format": "wav"},
        )
        audio = answer.choices[0].message.audio
        assert "Paris" in audio.transcript
        assert audio.id
        assert audio.expires_at > 0
        _, seconds = decoded(base64.b64decode(audio.data))
        assert seconds > 0.5

    def test_a_spoken_answer_is_streamed(self, client: OpenAI) -> None:
        chunks = ask(
            client,
            stream=True,
            modalities=["text", "audio"],
            audio={"voice": "alloy", "format": "pcm16"},
        )
        deltas = [chunk.choices[0].delta.to_dict().get("audio") for chunk in chunks]
        pieces = [piece for piece in deltas if piece]
        assert "Paris" in "".join(piece.get("transcript", "") for piece in pieces)
        pcm = b"".join(base64.b64decode(piece.get("data", "")) for piece in pieces)
        assert len(pcm) > 10_000
        assert len(pcm) % 2 == 0

    def test_a_stream_can_be_left_in_the_middle(self, target: Target) -> None:
        with new_client(target.slow_url) as client:
            messages = [{"role": "user", "content": "Tell me all about the sea."}]
            with ask(client, messages=messages, max_tokens=400, stream=True) as stream:
                assert next(c for c in stream if c.choices[0].delta.content)

    def test_a_temperature_that_is_too_high_is_refused_by_name(self, client: OpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            ask(client, temperature=3)
        assert caught.value.param == "temperature"

    def test_a_chat_with_a_model_that_does_not_exist_is_refused(self, client: OpenAI) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model="nothing", messages=ASKED)
        assert caught.value.code == "model_not_found"

    async def test_many_callers_are_served_at_once(self, target: Target) -> None:
        http = httpx2.AsyncClient(trust_env=False)
        async with AsyncOpenAI(
            base_url=f"{target.url}/v1", api_key="none", max_retries=0, http_client=http
        ) as client:
            answers = await asyncio.gather(
                *(
                    client.chat.completions.create(model="gpt-4o", messages=ASKED, max_tokens=8)
                    for _ in range(6)
                )
            )
        assert len({answer.id for answer in answers}) == 6
        assert all(answer.choices[0].message.content for answer in answers)

    # ---- completions ----

    def test_a_text_is_continued(self, client: OpenAI) -> None:
        answer = client.completions.create(**CONTINUE)
        assert answer.object == "text_completion"
        assert answer.choices[0].text
        assert answer.usage.completion_tokens <= 8

    def test_a_text_is_continued_as_a_stream(self, client: OpenAI) -> None:
        chunks = client.completions.create(**CONTINUE, stream=True)
        assert "".join(chunk.choices[0].text for chunk in chunks)

    # ---- hearing ----

    def test_a_recording_is_transcribed(self, client: OpenAI) -> None:
        assert is_question(transcribe(client).text)

    def test_a_transcript_has_the_times_of_segments_and_words(self, client: OpenAI) -> None:
        heard = transcribe(
            client,
            response_format="verbose_json",
            timestamp_granularities=["segment", "word"],
            language="en",
            temperature=0,
        )
        assert is_question(heard.text)
        assert heard.language == "english"
        assert float(heard.duration) > 1
        assert is_question("".join(segment.text for segment in heard.segments))
        assert is_question(" ".join(word.word for word in heard.words))
        assert all(word.start <= word.end for word in heard.words)

    def test_a_transcript_comes_as_text(self, client: OpenAI) -> None:
        assert is_question(transcribe(client, response_format="text"))

    def test_a_transcript_comes_as_srt(self, client: OpenAI) -> None:
        srt = transcribe(client, response_format="srt")
        assert re.match(r"1\n00:00:00,\d{3} --> 00:00:\d\d,\d{3}\n", srt)

    def test_a_transcript_comes_as_webvtt(self, client: OpenAI) -> None:
        vtt = transcribe(client, response_format="vtt")
        assert re.match(r"WEBVTT\n\n00:00:00\.\d{3} --> ", vtt)

    def test_a_transcript_is_streamed(self, client: OpenAI) -> None:
        *deltas, done = transcribe(client, stream=True)
        assert done.type == "transcript.text.done"
        assert {delta.type for delta in deltas} == {"transcript.text.delta"}
        assert is_question(done.text)
        assert "".join(delta.delta for delta in deltas) == done.text

    @pytest.mark.filterwarnings("ignore:deprecated")  # the client says so of all translations
    def test_a_recording_is_translated_if_the_model_can(
        self, client: OpenAI, target: Target
    ) -> None:
        with QUESTION.open("rb") as file:
            if target.translates:
                answer = client.audio.translations.create(file=file, model="whisper-1")
                assert is_question(answer.text)
            else:
                with pytest.raises(openai.BadRequestError):
                    client.audio.translations.create(file=file, model="whisper-1")

    def test_a_file_that_is_no_audio_is_refused(self, client: OpenAI) -> None:
        file = ("a.wav", io.BytesIO(b"no audio at all"))
        with pytest.raises(openai.BadRequestError) as caught:
            client.audio.transcriptions.create(file=file, model="whisper-1")
        assert caught.value.param == "file"

    # ---- speaking ----

    @pytest.mark.parametrize("form", FORMATS)
    def test_a_text_is_spoken_in_every_format(self, client: OpenAI, form: Any) -> None:
        answer = client.audio.speech.with_raw_response.create(
            model="tts-1", voice="alloy", input="The sea is calm today.", response_format=form
        )
        assert answer.headers["content-type"] == FORMATS[form]
        _, seconds = decoded(answer.content)
        assert seconds > 0.5

    def test_speech_is_mp3_where_no_format_is_asked_for(self, client: OpenAI) -> None:
        with av.open(io.BytesIO(speak(client))) as container:
            assert container.format.name == "mp3"

    def test_fast_speech_is_short(self, client: OpenAI) -> None:
        plain = speak(client, response_format="pcm")
        fast = speak(client, response_format="pcm", speed=2)
        assert len(plain) % 2 == 0
        assert len(fast) < 0.75 * len(plain)

    def test_speech_comes_while_it_is_made(self, target: Target) -> None:
        with (
            new_client(target.slow_url) as client,
            client.audio.speech.with_streaming_response.create(
                model="tts-1",
                voice="alloy",
                input="The sea is calm today. " * 4,
                response_format="pcm",
            ) as answer,
        ):
            pieces = list(answer.iter_bytes())
        assert len(pieces) > 1

    def test_speech_comes_as_events(self, client: OpenAI) -> None:
        with client.audio.speech.with_streaming_response.create(
            model="tts-1",
            voice="alloy",
            input="The sea is calm today.",
            response_format="wav",
            stream_format="sse",
        ) as answer:
            lines = [line for line in answer.iter_lines() if line]
        *deltas, done = [json.loads(line.removeprefix("data: ")) for line in lines]
        assert done["type"] == "speech.audio.done"
        assert done["usage"]["total_tokens"] > 0
        _, seconds = decoded(b"".join(base64.b64decode(delta["audio"]) for delta in deltas))
        assert seconds > 0.5

    def test_a_voice_that_does_not_exist_is_refused(self, client: OpenAI) -> None:
        with pytest.raises(openai.APIStatusError) as caught:
            speak(client, voice="nobody")
        assert caught.value.code == "voice_not_found"

    # ---- keys ----

    def test_a_wrong_key_is_refused_and_the_right_one_is_not(self, target: Target) -> None:
        if target.keyed_url is None:
            pytest.skip("no key is asked for here")
        with (
            new_client(target.keyed_url, "wrong") as client,
            pytest.raises(openai.AuthenticationError),
        ):
            client.models.list()
        with new_client(target.keyed_url, target.api_key) as client:
            assert list(client.models.list())
