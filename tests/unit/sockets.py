"""What tests of sockets share."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import WebSocketTestSession
from starlette.websockets import WebSocketDisconnect


def messages_until(socket: WebSocketTestSession, last: Callable[[Any], bool]) -> list[Any]:
    """All JSON messages, up to one that is the last."""
    received = [socket.receive_json()]
    while not last(received[-1]):
        received.append(socket.receive_json())
    return received


def until(socket: WebSocketTestSession, **fields: object) -> list[Any]:
    """All JSON messages, up to one with these fields."""
    return messages_until(
        socket, lambda message: all(message.get(name) == value for name, value in fields.items())
    )


def close_code(socket: WebSocketTestSession) -> int:
    """The code with which the server closes now."""
    with pytest.raises(WebSocketDisconnect) as closed:
        raise AssertionError(socket.receive_json())
    return closed.value.code


def names(messages: list[Any], field: str = "event") -> list[str]:
    """The kinds of messages."""
    return [message[field] for message in messages]


def send_text(socket: WebSocketTestSession, *messages: object) -> None:
    for message in messages:
        socket.send_text(message if isinstance(message, str) else json.dumps(message))
