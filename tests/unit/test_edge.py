"""What the proxy's middleware does to requests, and to what Serve answers by itself."""

from typing import Any

import pytest
from ray.serve._private import constants, http_util
from starlette.types import Message, Receive, Scope, Send

from serve_app.edge import EdgeMiddleware, SocketPace, middlewares


async def call(app: Any, headers: list[tuple[bytes, bytes]] | None = None) -> tuple[Any, bytes]:
    """The start of the answer and its body."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers or []}
    await EdgeMiddleware(app)(scope, receive, send)
    return sent[0], b"".join(message.get("body", b"") for message in sent[1:])


def answering(status: int, content_type: bytes, body: bytes) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        app.headers = scope["headers"]  # type: ignore[attr-defined]
        headers = [
            (b"content-type", content_type),
            (b"x-request-id", b"serve's"),
            (b"x-request-id", b"twice"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return app


async def silent(scope: Any, receive: Any, send: Any) -> None:
    """As Serve does when the ingress dies before it has answered."""


@pytest.mark.parametrize(
    "app",
    [
        silent,
        answering(500, b"text/plain", b"Traceback: secret"),
        answering(404, b"text/plain", b"/-/routes"),
    ],
)
async def test_what_serve_says_by_itself_becomes_the_envelope(app: Any) -> None:
    start, body = await call(app, [(b"x-request-id", b"mine")])
    assert start["status"] == 503
    assert dict(start["headers"])[b"x-request-id"] == b"mine"
    assert b'"code":"stage_unavailable"' in body
    assert b'"request_id":"mine"' in body
    assert b"secret" not in body


async def test_serve_puts_the_edge_around_the_second_try() -> None:
    tries: list[bytes] = []

    async def dies(scope: Any, receive: Any, send: Any) -> None:
        tries.append(dict(scope["headers"])[b"x-request-id"])

    layered: Any = getattr(http_util, "_apply_middlewares")(dies, middlewares())  # noqa: B009
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"x-request-id", b"mine")]}
    await layered(scope, receive, send)
    assert tries == [b"mine", b"mine"]
    assert sent[0]["status"] == 503


@pytest.mark.parametrize(
    ("status", "content_type"),
    [(200, b"text/plain"), (400, b"application/json"), (503, b"application/json")],
)
async def test_the_applications_answers_pass_with_one_request_id(
    status: int, content_type: bytes
) -> None:
    start, body = await call(
        answering(status, content_type, b"as it is"), [(b"X-Request-ID", b"mine")]
    )
    assert (start["status"], body) == (status, b"as it is")
    assert [value for name, value in start["headers"] if name.lower() == b"x-request-id"] == [
        b"mine"
    ]


STEERING = [
    b"x-request-timeout-seconds",
    b"x-request-disconnect-disabled",
    b"x-session-id",
    b"serve_multiplexed_model_id",
    b"x-serve-router-replica",
]


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("spelling", [bytes, bytes.upper, bytes.title])
@pytest.mark.parametrize("dash", [b"-", b"_"])
async def test_headers_that_steer_serve_do_not_pass(kind: str, spelling: Any, dash: bytes) -> None:
    seen: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(name for name, _ in scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    names = [spelling(name.replace(b"_", b"-").replace(b"-", dash)) for name in STEERING]
    sent = [(name, b"?1") for name in names] + [(b"x-session-identity", b"mine")]
    scope = {"type": kind, "method": "GET", "path": "/", "headers": sent}

    async def send(message: Any) -> None:
        """Nobody listens."""

    await EdgeMiddleware(app)(scope, send, send)
    assert seen == [b"x-session-identity", b"x-request-id"]


def test_the_headers_that_serve_obeys_are_the_ones_that_are_known() -> None:
    obeyed = [
        constants.SERVE_HTTP_REQUEST_TIMEOUT_S_HEADER,
        constants.SERVE_HTTP_REQUEST_DISCONNECT_DISABLED_HEADER,
        constants.SERVE_SESSION_ID,
        constants.SERVE_MULTIPLEXED_MODEL_ID,
        constants.SERVE_INGRESS_ROUTER_HEADER_PREFIX + "replica",
    ]
    assert [name.encode() for name in obeyed] == STEERING
    headers = {name for name in vars(constants) if "HEADER" in name and name.startswith("SERVE_")}
    assert headers == {
        "SERVE_HTTP_REQUEST_TIMEOUT_S_HEADER",
        "SERVE_HTTP_REQUEST_DISCONNECT_DISABLED_HEADER",
        "SERVE_INGRESS_ROUTER_HEADER_PREFIX",
        "SERVE_HTTP_REQUEST_ID_HEADER",
    }


async def test_malformed_ids_do_not_pass() -> None:
    app = answering(200, b"text/plain", b"")
    await call(
        app, [(b"X_Request_ID", b"mine"), (b"x-request-id", b"tab\there"), (b"accept", b"*/*")]
    )
    names = [name for name, _ in app.headers]
    assert names == [b"accept", b"x-request-id"]
    assert app.headers[1][1].isalnum()
    assert app.headers[1][1] != b"mine"


async def test_a_socket_that_floods_waits_and_one_that_speaks_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("serve_app.edge.asyncio.sleep", sleep)

    async def receive() -> Message:
        return {"type": "websocket.receive", "text": "x" * 5_000}

    taken = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal taken
        while taken < 5_000 and sum(slept) < 5:
            await receive()
            taken += 1

    await SocketPace(app)({"type": "websocket"}, receive, receive)  # type: ignore[arg-type]
    assert 1_000 <= taken <= 1_100  # the burst, and hardly more at once
    assert sum(slept) >= 5


async def test_a_large_message_is_paid_for_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("serve_app.edge.asyncio.sleep", sleep)

    async def receive() -> Message:
        return {"type": "websocket.receive", "bytes": bytes(12 * 1024 * 1024)}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert slept == []
        await receive()

    await SocketPace(app)({"type": "websocket"}, receive, receive)  # type: ignore[arg-type]
    assert len(slept) == 1
    assert 1.5 < slept[0] <= 2.0
