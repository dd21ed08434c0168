"""The lists of models, for OpenAI's clients and for GemmaVoice's."""

from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI

from configs.settings import FakeSttSettings, WhisperSettings
from serve_app.model_catalog import ModelCatalog
from tests.unit.fake_services import Served, quick_settings, serving
from tests.unit.http_answers import problem
from tests.unit.openai_client import checked, openai_client

IDS = ["fake-llm", "owner/whisper", "fake-tts"]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        named = served.services.settings.model_copy(
            update={"stt": WhisperSettings(model="owner/whisper")}
        )
        assert isinstance(served.services.settings.stt, FakeSttSettings)
        served.services.models = ModelCatalog(named)
        yield served


@pytest.fixture(scope="module")
def client(served: Served) -> OpenAI:
    return openai_client(served)


def test_the_client_lists_every_model(client: OpenAI) -> None:
    page = client.models.list()
    assert [checked(model).id for model in page] == IDS
    assert {model.owned_by for model in page} == {"gemmavoice"}


def test_one_answer_serves_both_kinds_of_reader(served: Served) -> None:
    body = served.client.get("/v1/models").json()
    assert body["object"] == "list"
    assert [model["id"] for model in body["models"]] == IDS
    assert all(model["name"] and model["description"] for model in body["models"])


@pytest.mark.parametrize("model_id", IDS)
def test_a_model_is_read_by_its_id(client: OpenAI, model_id: str) -> None:
    model = checked(client.models.retrieve(model_id))
    assert (model.id, model.object) == (model_id, "model")
    assert model.created > 1_700_000_000


@pytest.mark.parametrize("path", ["owner/whisper", "owner%2Fwhisper", "owner%2fwhisper"])
def test_a_slash_in_an_id_may_be_written_in_either_way(served: Served, path: str) -> None:
    body = served.client.get(f"/v1/models/{path}").json()
    assert (body["id"], body["name"]) == ("owner/whisper", "Speech to text")


@pytest.mark.parametrize("model_id", ["whisper-1", "gpt-4o", "nobody", "owner", "../owner/whisper"])
def test_another_name_is_no_id(client: OpenAI, model_id: str) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve(model_id)
    assert raised.value.code == "model_not_found"


def test_a_name_that_is_much_too_long_is_refused(served: Served) -> None:
    response = served.client.get("/v1/models/" + "x" * 257)
    assert problem(response) == (400, "invalid_parameter", "model_id")


def test_the_settings_for_tests_have_three_different_ids() -> None:
    ids = [model.id for model in ModelCatalog(quick_settings()).models]
    assert len(set(ids)) == len(ids) == 3
