"""Keys, limits and origins over HTTP: what is let through, what is refused, and what is told."""

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Message, Scope
from starlette.websockets import WebSocketDisconnect

from configs.settings import (
    AccessSettings,
    AppSettings,
    LimitSettings,
    RateSettings,
    TimeoutSettings,
)
from deployments.errors import StageUnavailable
from serve_app.rate_limits import duration
from serve_app.routes import health
from tests.unit.fake_services import Served, quick_settings, serving
from tests.unit.http_answers import problem
from tests.unit.media_files import wav_bytes

KEY = "right-key"
HASH = hashlib.sha256(KEY.encode()).hexdigest()
LOCKED = AccessSettings(enabled=True, keys_sha256=(HASH,))
PAGE = "https://page.example"


def limited(**rate: Any) -> AppSettings:
    rates = RateSettings(**{"enabled": True, "requests": None, "window_seconds": 3600, **rate})
    return quick_settings(access=AccessSettings(rate=rates))


def ask(served: Served, **headers: str) -> Any:
    return served.client.post("/v1/generate", json={"prompt": "Yes?"}, headers=headers)


@pytest.fixture(scope="module")
def locked() -> Iterator[Served]:
    with serving(quick_settings(access=LOCKED)) as served:
        yield served


# ---- paths and hosts ----------------------------------------------------------------------------


async def send(
    served: Served,
    path: str,
    *headers: tuple[bytes, bytes],
    method: str = "GET",
    receive: Callable[[], Awaitable[Message]] | None = None,
    **scope: Any,
) -> tuple[int, dict[str, str], bytes]:
    """A request as raw as a client can make it: status, headers and body of the answer."""
    sent: list[Message] = []

    async def nothing() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def note(message: Message) -> None:
        sent.append(message)

    whole: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "client": ("192.0.2.1", 1),
        "server": ("127.0.0.1", 8000),
        "headers": list(headers),
        **scope,
    }
    with suppress(Exception):  # the server would log it; what counts is what was sent
        await served.api(whole, receive or nothing, note)
    names = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], names, b"".join(each.get("body", b"") for each in sent)


@pytest.mark.parametrize(
    "host", [b"a/?x=", b"a/health/live?", b"/health/live#", b"\xff", b"", b"@"]
)
async def test_a_host_header_opens_nothing(locked: Served, host: bytes) -> None:
    status, _, body = await send(locked, "/v1/models", (b"host", host))
    assert (status, b"missing_api_key" in body) == (401, True)


@pytest.mark.parametrize(
    "path",
    [
        "//v1/generate",
        "/V1/generate",
        "/v1//generate",
        "/v1/./generate",
        "/health/../v1/generate",
        "/health/live/../../v1/generate",
        "/v1%2Fgenerate",
        "/%76%31/generate",
        "/v1\\generate",
        "/v1;/generate",
        "\x00/v1/generate",
        "",
        "v1/generate",
        "/v1/generate\n",
        "/v1/generate/",
        "/.//v1/generate",
    ],
)
@pytest.mark.parametrize("root", ["", "/slow", "/"])
async def test_no_spelling_of_a_path_gets_past_the_key(
    locked: Served, path: str, root: str
) -> None:
    body = iter([{"type": "http.request", "body": b'{"prompt": "x"}', "more_body": False}])

    async def receive() -> Message:
        return next(body)

    head = (b"content-type", b"application/json")
    status, _, answer = await send(
        locked, root + path, head, method="POST", receive=receive, root_path=root
    )
    assert status in (307, 401, 404, 405)
    assert b"generated_text" not in answer


async def test_a_path_that_the_server_has_decoded_is_guarded(locked: Served) -> None:
    encoded = {"raw_path": b"/v1%2fgenerate"}
    status, _, _ = await send(locked, "/v1/generate", method="POST", **encoded)
    assert status == 401


@pytest.mark.parametrize("root", ["/slow", "/v1", "/health"])
async def test_an_application_below_a_prefix_is_guarded_all_the_same(
    locked: Served, root: str
) -> None:
    status, _, _ = await send(locked, f"{root}/v1/models", root_path=root)
    assert status == 401
    status, _, _ = await send(locked, f"{root}/health/live", root_path=root)
    assert status == 200


# ---- what needs no key --------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/audio/models", "/v1/audio/voices"])
def test_public_lists_need_no_key_and_nothing_else_does(locked: Served, path: str) -> None:
    assert locked.client.get(path).status_code == 401
    public = LOCKED.model_copy(update={"public_lists": True})
    with serving(quick_settings(access=public)) as served:
        assert served.client.get(path).status_code != 401
        assert served.client.post(path).status_code == 401
        assert served.client.get(f"{path}/x").status_code == 401
        assert served.client.get("/v1/models").status_code == 401


def test_only_a_real_preflight_passes_without_a_key(locked: Served) -> None:
    preflight = {"origin": PAGE, "access-control-request-method": "POST"}
    assert locked.client.options("/v1/generate", headers=preflight).status_code == 405
    assert locked.client.options("/v1/generate").status_code == 401
    assert locked.client.post("/v1/generate", headers=preflight).status_code == 401


def test_the_state_of_livekit_needs_no_key_but_its_tokens_do(locked: Served) -> None:
    assert locked.client.get("/v1/livekit/status").status_code != 401
    assert locked.client.post("/v1/livekit/token", json={}).status_code == 401


def test_a_key_may_hold_any_byte_of_a_header(locked: Served) -> None:
    key = "schlüssel"
    hashes = (hashlib.sha256(key.encode()).hexdigest(),)
    access = AccessSettings(enabled=True, keys_sha256=hashes)
    with serving(quick_settings(access=access)) as served:
        answer = served.client.get("/v1/models", headers={"X-API-Key": key.encode()})
        assert answer.status_code == 200


async def test_bytes_that_are_no_text_are_a_wrong_key(locked: Served) -> None:
    for value in (b"\xff\xfe", b"\xc3", b"a" * 60_000):
        assert (await send(locked, "/v1/models", (b"x-api-key", value)))[0] == 403
        bearer = (b"authorization", b"Bearer " + value)
        assert (await send(locked, "/v1/models", bearer))[0] == 401


# ---- WebSockets ---------------------------------------------------------------------------------


def closed_with(served: Served, path: str, headers: dict[str, str]) -> int:
    """The code with which an opened socket is closed at once."""
    with (
        served.client.websocket_connect(path, headers=headers) as socket,
        pytest.raises(WebSocketDisconnect) as closed,
    ):
        socket.receive_text()
    return closed.value.code


def denied_with(served: Served, headers: dict[str, str]) -> tuple[int, str]:
    """The answer to a handshake of OpenAI's clients."""
    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        served.client.websocket_connect("/v1/realtime", headers=headers),
    ):
        pass
    return denied.value.status_code, denied.value.json()["error"]["code"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "missing_api_key"),
        ({"X-API-Key": "wrong"}, 403, "invalid_api_key"),
        ({"Authorization": "Bearer wrong"}, 401, "invalid_api_key"),
        ({"Authorization": "Bearer ek_wrong"}, 401, "invalid_api_key"),
    ],
)
def test_openais_clients_are_refused_over_http(
    locked: Served, headers: dict[str, str], status: int, code: str
) -> None:
    assert denied_with(locked, headers) == (status, code)


@pytest.mark.parametrize("path", ["/v1/text-to-speech/ws", "/ws/stt", "/v1/conversation/ws"])
@pytest.mark.parametrize(
    ("headers", "code"),
    [({}, 4401), ({"X-API-Key": "wrong"}, 4403), ({"Authorization": "Bearer wrong"}, 4403)],
)
def test_gemmavoices_clients_are_refused_by_a_code(
    locked: Served, path: str, headers: dict[str, str], code: int
) -> None:
    assert closed_with(locked, path, headers) == code


def test_a_key_in_the_address_may_be_any_text(locked: Served) -> None:
    assert closed_with(locked, "/ws/tts?api_key=%E2%82%AC%FF", {}) == 4403


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/nowhere", {"X-API-Key": KEY}),
        (f"/v1/nowhere?api_key={KEY}", {}),
        ("/v1/nowhere", {"xi-api-key": KEY}),
        ("/v1/nowhere", {"sec-websocket-protocol": f"realtime, openai-insecure-api-key.{KEY}"}),
    ],
)
def test_a_websocket_with_a_key_reaches_its_route(
    locked: Served, path: str, headers: dict[str, str]
) -> None:
    with (
        pytest.raises(WebSocketDisconnect) as closed,
        locked.client.websocket_connect(path, headers=headers),
    ):
        pass
    assert closed.value.code == 1000  # there is no such route


def test_websockets_count_as_requests() -> None:
    with serving(limited(requests=1)) as served:
        with (
            pytest.raises(WebSocketDisconnect),
            served.client.websocket_connect("/v1/nowhere"),
        ):
            pass
        assert closed_with(served, "/ws/tts", {}) == 4429
        assert denied_with(served, {}) == (429, "rate_limit_exceeded")


def test_pages_of_other_origins_open_no_socket() -> None:
    with serving() as served:
        refused = denied_with(served, {"origin": "https://evil.example"})
        assert refused == (403, "origin_not_allowed")
        with (
            pytest.raises(WebSocketDisconnect),
            served.client.websocket_connect("/v1/nowhere", headers={"origin": "http://testserver"}),
        ):
            pass


# ---- rate limits --------------------------------------------------------------------------------


def test_requests_over_the_limit_are_refused_and_told_when_to_come_back() -> None:
    with serving(limited(requests=3, window_seconds=60)) as served:
        answers = [ask(served) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    refused = answers[-1]
    assert problem(refused) == (429, "rate_limit_exceeded", None)
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert served.records.refusals == ["requests"] * 2


def test_every_answer_to_a_limited_caller_tells_what_is_left() -> None:
    rate = {"requests": 4, "audio_seconds": 90.0, "concurrent": 2, "burst_multiplier": 1.5}
    with serving(limited(**rate)) as served:
        first, wrong = ask(served), served.client.post("/v1/generate", json={})
    assert (first.status_code, wrong.status_code) == (200, 400)
    names = ("requests", "audio-seconds", "concurrent")
    told = [
        [answer.headers[f"x-ratelimit-{part}-{name}"] for name in names]
        for answer in (first, wrong)
        for part in ("limit", "remaining")
    ]
    limit = ["6", "135", "2"]
    assert told == [limit, ["5", "135.0", "1"], limit, ["4", "135.0", "1"]]
    assert re.fullmatch(r"(\d+m)?\d+s", first.headers["x-ratelimit-reset-requests"])
    assert first.headers["x-ratelimit-reset-audio-seconds"] == "0s"


def test_what_is_not_limited_is_not_told() -> None:
    with serving(limited(requests=4)) as served:
        told = [name for name in ask(served).headers if name.startswith("x-ratelimit-")]
    assert {name.rpartition("-")[2] for name in told} == {"requests"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0201, "21ms"),
        (0.5, "500ms"),
        (0.9999, "1s"),
        (1, "1s"),
        (1.2, "2s"),
        (59.5, "1m0s"),
        (360, "6m0s"),
        (3599.9, "1h0m0s"),
        (90_061, "25h1m1s"),
    ],
)
def test_a_time_is_written_as_openai_does(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_caller_without_limits_costs_nothing() -> None:
    with (
        serving(quick_settings(access=LOCKED)) as served,
        served.broken("state", StageUnavailable("state")),
    ):
        answer = ask(served, **{"X-API-Key": KEY})
    assert answer.status_code == 200
    assert served.records.alone == 0
    assert not [name for name in answer.headers if name.startswith("x-ratelimit-")]


def test_health_is_not_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    async def page() -> bytes:
        return b""

    monkeypatch.setattr(health, "render_metrics", page)
    with serving(limited(requests=1)) as served:
        for path in ("/health/live", "/health/ready", "/metrics") * 3:
            assert served.client.get(path).status_code == 200


def test_a_refused_body_is_not_read() -> None:
    with serving(limited(requests=1)) as served:
        ask(served)
        assert served.client.post("/v1/generate", content=b"{not json").status_code == 429


def test_without_the_state_no_request_fails_and_limits_still_hold() -> None:
    with (
        serving(limited(requests=2, concurrent=5)) as served,
        served.broken("state", StageUnavailable("state")),
    ):
        assert [ask(served).status_code for _ in range(3)] == [200, 200, 429]
    assert served.records.alone == 3


def test_named_keys_have_limits_of_their_own(tmp_path: Any) -> None:
    path = tmp_path / "keys.yaml"
    keys = [
        {"name": "small", "key": "small-key", "limits": {"requests": 1}},
        {"name": "free", "key": "free-key", "limits": {"requests": None}},
        {"name": "other", "key": "other-key"},
    ]
    path.write_text(json.dumps({"keys": keys}))
    rate = RateSettings(enabled=True, requests=2, window_seconds=3600)
    access = AccessSettings(enabled=True, keys_file=str(path), rate=rate)
    with serving(quick_settings(access=access)) as served:
        for key, admitted in (("small", 1), ("free", 5), ("other", 2)):
            answers = [ask(served, **{"X-API-Key": f"{key}-key"}) for _ in range(5)]
            assert [answer.status_code for answer in answers].count(200) == admitted
        assert ask(served, **{"X-API-Key": "unknown"}).status_code == 403


@pytest.mark.parametrize(
    ("hosts", "callers"),
    [
        (["192.0.2.1", "192.0.2.2"], 2),
        (["192.0.2.1", "::ffff:192.0.2.1"], 1),
        (["2001:db8::1", "2001:db8::ffff:2"], 1),
        (["2001:db8::1", "2001:db8:0:1::1"], 2),
        (["testclient", "x" * 10_000], 2),
    ],
)
async def test_without_keys_each_address_is_a_caller(hosts: list[str], callers: int) -> None:
    with serving(limited(requests=1)) as served:
        statuses = [(await send(served, "/v1/models", client=(host, 1)))[0] for host in hosts]
        assert statuses.count(200) == callers
        assert all(len(name) <= 64 for name in served.state._limits._callers)


async def test_a_connection_without_an_address_is_a_caller_too() -> None:
    with serving(limited(requests=1)) as served:
        statuses = [(await send(served, "/v1/models", client=None))[0] for _ in range(2)]
    assert statuses == [200, 429]


# ---- audio --------------------------------------------------------------------------------------


def speech(seconds: float) -> dict[str, Any]:
    return {"file": ("a.wav", wav_bytes(16_000, seconds), "audio/wav")}


def test_audio_that_is_heard_is_counted_before_it_is_heard() -> None:
    with serving(limited(audio_seconds=3.0)) as served:
        post = served.client.post
        answers = [post("/v1/speech-to-text", files=speech(2.0)) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[0].headers["x-ratelimit-remaining-audio-seconds"] == "1.0"
    assert problem(answers[1]) == (429, "rate_limit_exceeded", None)
    assert len(served.stt.requests) == 1
    assert served.records.refusals == ["audio"]


def test_audio_that_was_spoken_is_counted_for_the_next_request() -> None:
    with serving(limited(audio_seconds=1.0)) as served:
        text = {"text": "A sentence that takes some seconds to be said aloud."}
        answers: list[int] = []
        for _ in range(50):  # charged within milliseconds, but not before the answer
            answers.append(served.client.post("/v1/text-to-speech", json=text).status_code)
            if answers[-1] == 429:
                break
    assert answers[0] == 200
    assert answers[-1] == 429


# ---- requests in progress -----------------------------------------------------------------------


class Held:
    """A request whose body never ends, as the ASGI server sees it."""

    def __init__(self, served: Served, end: str) -> None:
        self.served, self.end = served, end
        self.reading, self.over = asyncio.Event(), asyncio.Event()

    async def receive(self) -> Message:
        self.reading.set()
        await self.over.wait()
        if self.end == "fails":
            raise OSError("the connection broke")
        return {"type": "http.disconnect"}

    async def hold(self) -> None:
        head = (b"content-type", b"application/json")
        with suppress(IndexError):  # it was never answered
            await send(self.served, "/v1/generate", head, method="POST", receive=self.receive)


@pytest.mark.parametrize("end", ["leaves", "is cancelled", "fails"])
def test_a_request_makes_room_however_it_ends(end: str) -> None:
    with serving(limited(concurrent=1)) as served:

        async def scenario() -> None:
            held = Held(served, end)
            async with asyncio.TaskGroup() as group:
                request = group.create_task(held.hold())
                await held.reading.wait()
                status, headers, _ = await send(served, "/v1/models")
                assert status == 429
                assert headers["x-ratelimit-remaining-concurrent"] == "0"
                if end == "is cancelled":
                    request.cancel()
                held.over.set()
            async with asyncio.timeout(10):
                while (await send(served, "/v1/models"))[0] != 200:
                    await asyncio.sleep(0.01)

        assert served.client.portal is not None
        served.client.portal.call(scenario)


def test_requests_one_after_the_other_are_never_too_many() -> None:
    with serving(limited(concurrent=1)) as served:
        assert {ask(served).status_code for _ in range(40)} == {200}


# ---- a body that takes its time -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
async def test_a_body_that_never_ends_is_given_up(kind: str) -> None:
    settings = quick_settings(timeouts=TimeoutSettings(body_s=0.2))
    path = "/v1/generate" if "json" in kind else "/v1/speech-to-text"
    pieces = iter([b"--x\r\n" if "form" in kind else b"{"])

    async def receive() -> Message:
        with suppress(StopIteration):
            return {"type": "http.request", "body": next(pieces), "more_body": True}
        await asyncio.sleep(60)
        raise AssertionError

    with serving(settings) as served:
        head = (b"content-type", kind.encode())
        status, headers, body = await send(served, path, head, method="POST", receive=receive)
    assert status == 408
    assert json.loads(body)["error"]["code"] == "request_timeout"
    assert headers["connection"] == "close"


async def test_an_answer_may_take_longer_than_a_body() -> None:
    settings = quick_settings(timeouts=TimeoutSettings(body_s=0.05))
    settings = settings.model_copy(
        update={"llm": settings.llm.model_copy(update={"first_token_s": 0.3})}
    )
    with serving(settings) as served:
        assert ask(served).status_code == 200
        with served.client.stream("POST", "/v1/generate_stream", json={"prompt": "Yes?"}) as answer:
            assert "done" in "".join(answer.iter_text())


def test_a_chat_may_hold_audio_beside_its_json() -> None:
    limits = LimitSettings(max_json_bytes=2048, max_inline_audio_bytes=3000)
    with serving(quick_settings(limits=limits)) as served:
        for path, limit in (("/v1/chat/completions", 2048 + 4000), ("/v1/generate", 2048)):
            for extra in (0, 1):
                body = b"{" + b" " * (limit + extra - 1)
                head = {"content-type": "application/json"}
                answer = served.client.post(path, content=body, headers=head)
                assert answer.status_code == (413 if extra else 400), answer.text


# ---- pages of other origins ---------------------------------------------------------------------


def open_to(*origins: str, **access: Any) -> AppSettings:
    return quick_settings(access=AccessSettings(cors_origins=origins, **access))


def preflight(client: TestClient, origin: str, method: str = "POST", names: str = "") -> Any:
    headers = {"origin": origin, "access-control-request-method": method}
    if names:
        headers["access-control-request-headers"] = names
    return client.options("/v1/generate", headers=headers)


def test_without_origins_no_page_is_let_in(locked: Served) -> None:
    assert not [
        name for name in ask(locked, origin=PAGE).headers if name.startswith("access-control-")
    ]


@pytest.mark.parametrize(
    "names",
    [
        "authorization,content-type,x-request-id",
        "x-api-key",
        "x-stainless-lang,x-stainless-retry-count,openai-organization",
    ],
)
def test_a_preflight_needs_no_key_and_allows_the_headers_of_clients(names: str) -> None:
    with serving(open_to(PAGE, enabled=True, keys_sha256=(HASH,))) as served:
        answer = preflight(served.client, PAGE, names=names)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-headers"] == names
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    ("origin", "method"), [("https://evil.example", "POST"), (PAGE + ".evil", "POST"), (PAGE, "X")]
)
def test_a_preflight_of_others_is_refused_with_the_envelope(origin: str, method: str) -> None:
    with serving(open_to(PAGE)) as served:
        answer = preflight(served.client, origin, method)
    assert problem(answer) == (400, "origin_not_allowed", None)
    assert "access-control-allow-origin" not in answer.headers


def test_any_origin_may_be_allowed_but_never_with_credentials() -> None:
    with serving(open_to("*")) as served:
        for answer in (preflight(served.client, PAGE), ask(served, origin=PAGE)):
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in answer.headers


def test_errors_tell_the_page_that_it_may_read_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken() -> bytes:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(health, "render_metrics", broken)
    rate = RateSettings(enabled=True, requests=2, window_seconds=3600)
    settings = open_to(PAGE, enabled=True, keys_sha256=(HASH,), rate=rate).model_copy(
        update={"limits": LimitSettings(max_json_bytes=1024)}
    )
    with serving(settings) as served:
        right = {"X-API-Key": KEY, "origin": PAGE}
        large = served.client.post("/v1/generate", content=b" " * 2000, headers=right)
        fine, many = ask(served, **right), ask(served, **right)
        answers = {
            401: ask(served, origin=PAGE),
            403: ask(served, **{"X-API-Key": "wrong", "origin": PAGE}),
            413: large,
            200: fine,
            429: many,
            500: served.client.get("/metrics", headers={"origin": PAGE}),
        }
    for status, answer in answers.items():
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "Origin" in answer.headers["vary"]
        assert answer.headers["x-request-id"]
    assert problem(answers[500]) == (500, "internal_error", None)
    shown = answers[429].headers["access-control-expose-headers"].split(", ")
    assert {"x-request-id", "retry-after", "x-audio-format", "x-sample-rate"} < set(shown)
    told = {name for name in answers[429].headers if name.startswith("x-ratelimit-")}
    assert told
    assert told < set(shown)


def test_an_origin_that_is_not_allowed_reads_nothing() -> None:
    with serving(open_to(PAGE)) as served:
        answer = ask(served, origin="https://evil.example")
    assert "access-control-allow-origin" not in answer.headers
