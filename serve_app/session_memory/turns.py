"""Turns and dialogues as Redis has them."""

import hashlib
import json
import secrets
from collections.abc import Sequence

from deployments.messages import ChatMessage, Session

_ENCODING, _ERRORS = "utf-8", "surrogatepass"  # what was written may be half of a letter
_ROLES = ("system", "user", "assistant")


def member(owner: str, session_id: str) -> str:
    """The name of a dialogue: of a fixed length up to the id, so that no id leads to another owner."""
    digest = hashlib.blake2b(owner.encode(_ENCODING, _ERRORS), digest_size=16).hexdigest()
    return f"{digest}:{session_id}"


def written(turn: Sequence[ChatMessage]) -> bytes:
    """A turn; no two are the same, whatever is said."""
    said = [[message.role, message.content] for message in turn]
    chars = sum(len(message.content) for message in turn)
    text = json.dumps([secrets.token_hex(8), *said], ensure_ascii=False, separators=(",", ":"))
    return f"{len(turn)} {chars} {text}".encode(_ENCODING, _ERRORS)


def read(session_id: str, dialogue: Sequence[bytes]) -> Session | None:
    """A dialogue; None where there is none.

    Raises:
        ValueError: these are not ours.
    """
    if not dialogue:
        return None
    *turns, header = dialogue
    created_at, updated_at, *_ = header.split(b" ")
    messages = tuple(message for turn in turns for message in _messages(turn))
    return Session(session_id, float(created_at), float(updated_at), messages)


def _messages(turn: bytes) -> list[ChatMessage]:
    _, _, text = turn.decode(_ENCODING, _ERRORS).split(" ", 2)
    _, *said = json.loads(text)
    if not all(role in _ROLES and isinstance(content, str) for role, content in said):
        raise ValueError("no messages")
    return [ChatMessage(role, content) for role, content in said]
