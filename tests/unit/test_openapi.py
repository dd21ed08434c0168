"""What the API's description says is true: every example, of every answer and every error."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from starlette.testclient import TestClient

from configs.settings import AccessSettings, AppSettings, LiveKitSettings
from scripts.export_openapi import TARGET, write
from serve_app.api import bare_api
from serve_app.openapi import failures
from serve_app.openapi.examples import ANSWERS, FORMS
from serve_app.problems import problem_of
from serve_app.rate_limits import HEADERS
from serve_app.routes import health
from tests.unit.fake_services import Served, quick_settings, serving
from tests.unit.voices import SPEECH, new_consent, new_voice, spoken

FORM, JSON = "multipart/form-data", "application/json"
LIVEKIT = LiveKitSettings(url="wss://rooms.example", api_key="key", api_secret="s" * 32)
IDS = {"model_id": "fake-llm", "session_id": "kitchen-7", "voice_id": "tone"}  # the fakes'


@cache
def document() -> Any:
    return json.loads(write())


def operations() -> Iterator[tuple[str, str, Any]]:
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


OPERATIONS = [pytest.param(*each, id=f"{each[0]} {each[1]}") for each in operations()]


def resolved(node: Any) -> Any:
    while "$ref" in node:
        target = document()
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def examples(media: Any) -> list[Any]:
    named = [resolved(each)["value"] for each in media.get("examples", {}).values()]
    return [media["example"]] if "example" in media else named


def check(value: Any, schema: Any) -> None:
    whole = {**schema, "components": document()["components"]}
    Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)


def request_examples(media_type: str) -> list[Any]:
    found: list[Any] = []
    for method, path, operation in operations():
        content = operation.get("requestBody", {}).get("content", {}).get(media_type, {})
        for number, example in enumerate(examples(content)):
            found.append(pytest.param(method, path, example, id=f"{method} {path} {number}"))
    return found


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(quick_settings(livekit=LIVEKIT)) as served:
        yield served


@pytest.fixture(autouse=True)
def one_page_of_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    async def page() -> bytes:
        return b"app_up 1.0\n"

    monkeypatch.setattr(health, "render_metrics", page)


# ---- the document -------------------------------------------------------------------------------


def test_the_exported_document_is_up_to_date() -> None:
    assert TARGET.read_text(encoding="utf-8") == write(), "run: make openapi"


def test_the_document_served_is_the_one_exported() -> None:
    with serving() as served:
        assert served.client.get("/openapi.json").json()["paths"] == document()["paths"]


def test_a_server_below_a_path_says_so() -> None:
    with serving() as served:
        below = TestClient(served.api, root_path="/speech").get("/speech/openapi.json")
    assert below.json()["servers"][0] == {"url": "/speech"}


def test_the_document_is_openapi_3_1() -> None:
    assert document()["openapi"].startswith("3.1.")
    assert set(document()["info"]) >= {"title", "version", "description", "license"}


def test_every_reference_leads_somewhere() -> None:
    for reference in set(re.findall(r'"\$ref": "([^"]*)"', json.dumps(document()))):
        assert resolved({"$ref": reference}) is not None


def test_every_tag_is_explained_and_used() -> None:
    used = {tag for _, _, operation in operations() for tag in operation["tags"]}
    assert used == {tag["name"] for tag in document()["tags"]}


def test_no_operation_is_named_twice() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    titles = [operation["summary"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)
    assert len(set(titles)) == len(titles)


def test_no_answer_of_the_frameworks_own_is_left() -> None:
    assert "ValidationError" not in document()["components"]["schemas"]
    assert not [path for _, path, operation in operations() if "422" in operation["responses"]]


# ---- every operation ----------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_an_operation_is_explained(method: str, path: str, operation: Any) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert path in failures.OF_ROUTE, "say what can go wrong on it"


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_an_operation_has_examples_of_everything(method: str, path: str, operation: Any) -> None:
    request = operation.get("requestBody", {}).get("content", {})
    assert all(examples(media) for media in request.values())
    for status, response in operation["responses"].items():
        for media_type, media in response["content"].items():
            assert examples(media) or media_type.startswith("audio/"), (status, media_type)
        only_audio = all(each.startswith("audio/") for each in response["content"])
        assert only_audio or any(map(examples, response["content"].values())), status
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            assert parameter.get("example") or parameter["schema"].get("examples")


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_every_example_is_of_its_schema(method: str, path: str, operation: Any) -> None:
    contents = [operation.get("requestBody", {}).get("content", {})]
    contents += [response["content"] for response in operation["responses"].values()]
    for content in contents:
        for media in content.values():
            assert not ("example" in media and "examples" in media)
            for example in examples(media):
                check(example, media.get("schema", {}))


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_an_example_of_an_error_stands_at_its_status(
    method: str, path: str, operation: Any
) -> None:
    for status, response in operation["responses"].items():
        for example in examples(response["content"].get(JSON, {})):
            if isinstance(example, dict) and "error" in example:
                named = set(response["content"][JSON]["examples"])
                assert problem_of(_error(named, example)).status == int(status)


def _error(names: set[str], example: Any) -> Exception:
    every = {
        **failures.ALWAYS,
        **failures.WITH_KEY,
        **failures.WITH_INPUT,
        **failures.WITH_BODY,
        **failures.WITH_JSON,
    }
    for each in failures.OF_ROUTE.values():
        every |= each
    found = [every[name] for name in names & every.keys()]
    return next(e for e in found if problem_of(e).message == example["error"]["message"])


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_an_operation_below_v1_asks_for_a_key(method: str, path: str, operation: Any) -> None:
    api = bare_api(AppSettings(access=AccessSettings(enabled=True, header="X-Mine")))
    guarded = api.openapi()
    security = guarded["paths"][path][method].get("security")
    is_open = not path.startswith("/v1/") or path == "/v1/livekit/status"
    assert security == (None if is_open else [{"bearer": []}, {"key": []}])
    assert guarded["components"]["securitySchemes"]["key"]["name"] == "X-Mine"
    assert ("401" in operation["responses"]) == (not is_open)


def test_the_headers_of_the_limits_are_all_described() -> None:
    described = {name for name in document()["components"]["headers"] if "ratelimit" in name}
    assert described == set(HEADERS)


# ---- what is really answered --------------------------------------------------------------------


def answered(served: Served, method: str, path: str, **sent: Any) -> None:
    """Send a request; what comes back must be a success, and as it is described."""
    operation = document()["paths"][path][method]
    ids = dict(IDS)
    if "consent_id" in path:
        ids["consent_id"] = new_consent(served.client)["id"]
    elif method == "delete" and "voice_id" in path:
        ids["voice_id"] = new_voice(served.client)["id"]
    response = served.client.request(method, path.format(**ids, stage="stt"), **sent)
    assert response.status_code == 200, response.text
    described = operation["responses"]["200"]
    media_type = response.headers["content-type"].split(";")[0]
    assert media_type in described["content"]
    if media_type == JSON:
        check(response.json(), described["content"][JSON]["schema"])
    ours = {name for name in response.headers if name.startswith("x-")}
    assert ours <= {name.lower() for name in described["headers"]}


@pytest.mark.parametrize(("method", "path", "example"), request_examples(JSON))
def test_a_json_example_is_answered_as_described(
    served: Served, method: str, path: str, example: Any
) -> None:
    answered(served, method, path, json=example)


@pytest.mark.parametrize(("method", "path", "example"), request_examples(FORM))
def test_an_example_of_a_form_is_answered_as_described(
    served: Served, method: str, path: str, example: Any
) -> None:
    schema = resolved(document()["paths"][path][method]["requestBody"]["content"][FORM]["schema"])
    files = {
        name: each for name, each in schema["properties"].items() if "contentMediaType" in each
    }
    fields = {name: value for name, value in example.items() if name not in files}
    if "consent" in fields:
        fields["consent"] = new_consent(served.client)["id"]
    uploads = {
        name: (example[name].removeprefix("@"), spoken()) for name in files if name in example
    }
    assert uploads
    answered(served, method, path, data=fields, files=uploads)


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [each for each in OPERATIONS if each.id.startswith(("get", "delete"))],
)
def test_a_request_without_a_body_is_answered_as_described(
    served: Served, method: str, path: str, operation: Any
) -> None:
    if "session_id" in path:
        turn = {"session_id": IDS["session_id"]}
        served.client.post("/v1/dialogue", data=turn, files={"file": SPEECH.read_bytes()})
    answered(served, method, path)


@pytest.mark.parametrize("path", sorted(document()["paths"]))
def test_a_method_that_a_path_does_not_have_is_told_the_ones_it_has(
    served: Served, path: str
) -> None:
    response = served.client.request("PATCH", path.format(**IDS, stage="stt", consent_id="cons_1"))
    assert response.status_code == 405
    assert response.json()["error"]["code"] == "method_not_allowed"
    allowed = {method.strip().lower() for method in response.headers["allow"].split(",")}
    assert allowed == set(document()["paths"][path])


def test_no_example_is_written_for_nothing() -> None:
    for path, by_media_type in ANSWERS.items():
        (operation,) = document()["paths"][path].values()
        for media_type, named in by_media_type.items():
            written = operation["responses"]["200"]["content"][media_type].get("examples", {})
            assert named.keys() <= written.keys(), (path, media_type)
    for path in FORMS:
        assert FORM in document()["paths"][path]["post"]["requestBody"]["content"]
    assert failures.OF_ROUTE.keys() == document()["paths"].keys()
