"""Brings conversations into the shapes that chat templates accept."""

from collections.abc import Sequence

from deployments.messages import ChatMessage

_SEPARATOR = "\n\n"


def merge_turns(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """One message per turn, with at most one system message, which is the first.

    A system message in the middle becomes the beginning of the user's next turn.
    """
    turns: list[ChatMessage] = []
    for message in messages:
        role = message.role
        if role == "system" and turns and turns[-1].role != "system":
            role = "user"
        if turns and turns[-1].role == role:
            turns[-1] = ChatMessage(role, _joined(turns[-1].content, message.content))
        else:
            turns.append(ChatMessage(role, message.content))
    return turns


def fold_system(turns: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The system message becomes the beginning of the user's first turn, as Gemma does it."""
    if not turns or turns[0].role != "system":
        return list(turns)
    as_user = ChatMessage("user", turns[0].content)
    return merge_turns([as_user, *turns[1:]])


def start_with_user(turns: Sequence[ChatMessage]) -> list[ChatMessage]:
    """An empty turn of the user before an assistant that speaks first."""
    first = 1 if turns and turns[0].role == "system" else 0
    if len(turns) <= first or turns[first].role == "user":
        return list(turns)
    return [*turns[:first], ChatMessage("user", ""), *turns[first:]]


def _joined(first: str, second: str) -> str:
    return _SEPARATOR.join(text for text in (first, second) if text)
