"""Who may call, and how much a call may hold."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from starlette.types import Message, Scope

from configs.settings import AccessSettings, AudioSettings, LimitSettings
from serve_app.routes import health
from tests.unit.fake_services import Served, quick_settings, serving
from tests.unit.http_answers import problem
from tests.unit.media_files import wav_bytes

UPLOAD_LIMIT = 4096
FORM_LIMIT = UPLOAD_LIMIT + 64 * 1024
JSON_LIMIT = 2048
JSON, FORM = "application/json", "multipart/form-data; boundary=x"
FORM_HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
KEY, OTHER_KEY = "right-key", "other-key"
ROUTES = [
    "/v1/dialogue",
    "/v1/conversation/dialogue",
    "/v1/speech-to-text",
    "/v1/text-to-speech",
    "/v1/generate",
    "/v1/generate_stream",
]
FORM_ROUTES, JSON_ROUTES = ROUTES[:3], ROUTES[4:]  # the fourth takes JSON that may hold audio


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    audio = AudioSettings(max_upload_bytes=UPLOAD_LIMIT, decode_timeout_s=30)
    limits = LimitSettings(max_json_bytes=JSON_LIMIT)
    with serving(quick_settings(audio=audio, limits=limits)) as served:
        yield served


# ---- the size of a body -------------------------------------------------------------------------


def prompt(length: int) -> bytes:
    text = json.dumps({"prompt": "x"}).encode()
    return text + b" " * (length - len(text))


def test_a_json_body_at_the_limit_is_taken(served: Served) -> None:
    headers = {"content-type": JSON}
    response = served.client.post("/v1/generate", content=prompt(JSON_LIMIT), headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("path", JSON_ROUTES)
def test_a_declared_length_over_the_limit_is_refused(served: Served, path: str) -> None:
    headers = {"content-type": JSON}
    response = served.client.post(path, content=prompt(JSON_LIMIT + 1), headers=headers)
    assert problem(response) == (413, "body_too_large", None)


@pytest.mark.parametrize("path", FORM_ROUTES)
def test_a_declared_upload_over_the_limit_is_refused(served: Served, path: str) -> None:
    response = served.client.post(path, files={"file": bytes(FORM_LIMIT + 1)})
    assert problem(response) == (413, "body_too_large", None)


@pytest.mark.parametrize("path", FORM_ROUTES)
def test_a_file_over_the_limit_is_refused_though_its_form_is_not(served: Served, path: str) -> None:
    response = served.client.post(path, files={"file": wav_bytes(16_000, 0.2)})
    assert problem(response) == (413, "body_too_large", None)


def test_a_file_within_the_limit_is_taken(served: Served) -> None:
    response = served.client.post("/v1/speech-to-text", files={"file": wav_bytes(16_000, 0.1)})
    assert response.status_code == 200


async def send_in_pieces(
    served: Served, path: str, content_type: str, pieces: Iterable[bytes], length: int | None = None
) -> tuple[int, dict[str, Any], int]:
    """Send a body piece by piece: status, answer, and how many bytes were taken."""
    taken = 0
    answers: list[Message] = []
    messages = iter(pieces)

    async def receive() -> Message:
        nonlocal taken
        piece = next(messages, b"")
        taken += len(piece)
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}

    async def send(message: Message) -> None:
        answers.append(message)

    scope: Scope = {"type": "http", "method": "POST", "path": path, "query_string": b""}
    headers = [(b"content-type", content_type.encode())]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    await served.api({**scope, "headers": headers}, receive, send)
    body = b"".join(message.get("body", b"") for message in answers)
    return answers[0]["status"], json.loads(body), taken


@pytest.mark.parametrize(("path", "kind"), [("/v1/generate", JSON), ("/v1/dialogue", FORM)])
async def test_of_a_body_whose_length_is_too_large_nothing_is_read(
    served: Served, path: str, kind: str
) -> None:
    limit = JSON_LIMIT if kind == JSON else FORM_LIMIT
    status, _, taken = await send_in_pieces(served, path, kind, [bytes(limit + 1)], limit + 1)
    assert (status, taken) == (413, 0)


@pytest.mark.parametrize("path", JSON_ROUTES)
async def test_an_endless_json_body_is_refused_while_it_comes(served: Served, path: str) -> None:
    endless = itertools.repeat(b" " * 100)
    status, body, taken = await send_in_pieces(served, path, JSON, endless)
    assert (status, body["error"]["code"]) == (413, "body_too_large")
    assert JSON_LIMIT < taken <= JSON_LIMIT + 100


@pytest.mark.parametrize("path", FORM_ROUTES)
async def test_an_endless_upload_is_refused_while_it_comes(served: Served, path: str) -> None:
    endless = itertools.chain([FORM_HEAD], itertools.repeat(bytes(1000)))
    status, body, taken = await send_in_pieces(served, path, FORM, endless)
    assert (status, body["error"]["code"]) == (413, "body_too_large")
    assert FORM_LIMIT < taken <= FORM_LIMIT + 1000


async def test_a_body_in_pieces_within_the_limit_is_taken(served: Served) -> None:
    pieces = [bytes([byte]) for byte in prompt(300)]
    status, body, taken = await send_in_pieces(served, "/v1/generate", JSON, pieces)
    assert (status, taken) == (200, 300)
    assert body["generated_text"]


# ---- API keys -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def locked() -> Iterator[Served]:
    hashes = [hashlib.sha256(key.encode()).hexdigest() for key in (OTHER_KEY, KEY)]
    access = AccessSettings(enabled=True, keys_sha256=(hashes[0], hashes[1].upper()))
    with serving(quick_settings(access=access)) as served:
        yield served


def call(served: Served, path: str, headers: dict[str, str]) -> Any:
    if path in FORM_ROUTES:
        files = {"file": wav_bytes(8_000, 0.1)}
        return served.client.post(path, files=files, headers=headers)
    body = {"text": "Yes."} if path == "/v1/text-to-speech" else {"prompt": "Yes?"}
    return served.client.post(path, json=body, headers=headers)


@pytest.mark.parametrize("path", ROUTES)
def test_a_route_needs_a_key(locked: Served, path: str) -> None:
    response = call(locked, path, {})
    assert problem(response) == (401, "missing_api_key", None)
    assert response.json()["error"]["type"] == "authentication_error"


def test_a_body_is_not_even_read_without_a_key(locked: Served) -> None:
    response = locked.client.post("/v1/generate", content=b"{not json")
    assert problem(response) == (401, "missing_api_key", None)


@pytest.mark.parametrize("path", ROUTES)
def test_a_known_key_opens_a_route(locked: Served, path: str) -> None:
    assert call(locked, path, {"X-API-Key": KEY}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": OTHER_KEY},
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer  {KEY}"},
        {"X-API-Key": KEY, "Authorization": "Bearer nonsense"},
    ],
)
def test_a_key_may_come_in_either_header(locked: Served, headers: dict[str, str]) -> None:
    assert call(locked, "/v1/generate", headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        # GemmaVoice's clients expect 403 for a wrong key, OpenAI's 401.
        ({"X-API-Key": "wrong-key"}, 403, "invalid_api_key"),
        ({"X-API-Key": KEY.upper()}, 403, "invalid_api_key"),
        ({"X-API-Key": hashlib.sha256(KEY.encode()).hexdigest()}, 403, "invalid_api_key"),
        ({"X-API-Key": f"{KEY},{OTHER_KEY}"}, 403, "invalid_api_key"),
        ({"X-API-Key": "wrong", "Authorization": f"Bearer {KEY}"}, 403, "invalid_api_key"),
        ({"Authorization": "Bearer wrong-key"}, 401, "invalid_api_key"),
        ({"X-API-Key": ""}, 401, "missing_api_key"),
        ({"Authorization": "Bearer "}, 401, "missing_api_key"),
        ({"Authorization": f"Basic {KEY}"}, 401, "missing_api_key"),
        ({"Authorization": KEY}, 401, "missing_api_key"),
    ],
)
def test_a_wrong_key_opens_nothing(
    locked: Served, headers: dict[str, str], status: int, code: str
) -> None:
    response = call(locked, "/v1/generate", headers)
    assert problem(response) == (status, code, None)
    assert response.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    assert KEY not in response.text


def test_the_header_of_the_key_can_be_renamed() -> None:
    hashes = (hashlib.sha256(KEY.encode()).hexdigest(),)
    access = AccessSettings(enabled=True, header="X-Pass", keys_sha256=hashes)
    with serving(quick_settings(access=access)) as renamed:
        assert call(renamed, "/v1/generate", {"X-Pass": KEY}).status_code == 200
        assert call(renamed, "/v1/generate", {"X-API-Key": KEY}).status_code == 401


@pytest.mark.parametrize(
    "path", ["/health", "/health/live", "/health/ready", "/health/stt", "/metrics"]
)
def test_health_and_metrics_are_open(
    locked: Served, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def page() -> bytes:
        return b""

    monkeypatch.setattr(health, "render_metrics", page)
    assert locked.client.get(path).status_code == 200


def test_without_keys_every_route_is_open(served: Served) -> None:
    assert call(served, "/v1/generate", {}).status_code == 200
    assert call(served, "/v1/generate", {"X-API-Key": "anything"}).status_code == 200
