"""Other people's clients, unchanged, against the default models."""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import jiwer
import pytest
from openai import OpenAI

from tests.clients.gemmavoice import GemmaVoiceCalls
from tests.clients.openai_python import CITY, TOOLS, OpenAiPython, ask, is_city, new_client
from tests.clients.target import ROOT, Target, run_javascript
from tests.serve.cluster import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

# What is said in tests/data/speech, by its README.
RECORDINGS = {
    "en_jfk": "And so my fellow Americans, ask not what your country can do for you, "
    "ask what you can do for your country.",
    "en_librivox_0880": "he was not an ill disposed young man",
    "en_syn_quick_brown_fox": "The quick brown fox jumps over the lazy dog.",
}
SENTENCES = (
    "The boat will leave the harbour early in the morning.",
    "Please put the old books on the kitchen table.",
    "My sister has lived in this town for many years.",
)


@pytest.fixture(scope="module")
def target(served: Cluster) -> Target:
    return Target(served.base_url, served.base_url, translates=False)


@pytest.fixture(scope="module")
def openai_client(target: Target) -> Iterator[OpenAI]:
    with new_client(target.url) as client:
        yield client


def words(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower()))


class TestOpenAiPython(OpenAiPython):
    """The official Python client."""


class TestGemmaVoice(GemmaVoiceCalls):
    """Clients of GemmaVoice-SpeechAPI."""


def test_the_official_javascript_client_works(target: Target) -> None:
    run_javascript(target)


def test_transcripts_say_what_was_said(openai_client: OpenAI) -> None:
    heard: list[str] = []
    for name in RECORDINGS:
        with (ROOT / f"tests/data/speech/{name}.wav").open("rb") as file:
            transcript = openai_client.audio.transcriptions.create(
                file=file, model="whisper-1", temperature=0
            )
        heard.append(words(transcript.text))
    assert jiwer.wer([words(said) for said in RECORDINGS.values()], heard) <= 0.15, heard


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav"])
def test_speech_is_understood_by_our_own_ears(openai_client: OpenAI, form: Any) -> None:
    heard: list[str] = []
    for sentence in SENTENCES:
        speech = openai_client.audio.speech.create(
            model="tts-1", voice="alloy", input=sentence, response_format=form
        )
        file = (f"speech.{form}", io.BytesIO(speech.content))
        transcript = openai_client.audio.transcriptions.create(file=file, model="whisper-1")
        heard.append(words(transcript.text))
    assert jiwer.wer([words(sentence) for sentence in SENTENCES], heard) <= 0.15, heard


def test_many_different_answers_all_keep_to_the_schema(openai_client: OpenAI) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": CITY}}
    for seed in range(5):
        answer = ask(openai_client, response_format=form, seed=seed, temperature=1.5)
        assert is_city(answer.choices[0].message.content)


def test_many_different_calls_all_have_arguments_that_fit(openai_client: OpenAI) -> None:
    for seed in range(5):
        answer = ask(openai_client, tools=TOOLS, tool_choice="required", seed=seed, temperature=1.5)
        for call in answer.choices[0].message.tool_calls:
            assert is_city(call.function.arguments)


def test_a_json_object_is_one_at_any_temperature(openai_client: OpenAI) -> None:
    form = {"type": "json_object"}
    messages = [{"role": "user", "content": "Describe Paris as JSON with the key name."}]
    for seed in range(3):
        (choice,) = ask(
            openai_client, response_format=form, seed=seed, messages=messages, max_tokens=400
        ).choices
        if choice.finish_reason == "stop":
            assert isinstance(json.loads(choice.message.content), dict)


def test_a_seed_repeats_an_answer(openai_client: OpenAI) -> None:
    def written(seed: int) -> str:
        return ask(openai_client, seed=seed, temperature=1.0).choices[0].message.content

    assert written(11) == written(11)
    assert len({written(seed) for seed in range(4)}) > 1


def test_without_a_temperature_an_answer_is_always_the_same(openai_client: OpenAI) -> None:
    answers = {
        ask(openai_client, seed=None, temperature=0).choices[0].message.content for _ in range(3)
    }
    assert len(answers) == 1
