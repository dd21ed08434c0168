"""Which turns of a dialogue a small context still holds."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from deployments.messages import ChatMessage

# More is left out than needed, so that the prompt begins alike for some turns.
_FILLED_AGAIN = 0.75

# Old turns go before the reply has less of the context than this, or than it may have.
_REPLY_SHARE = 4


def room_for_prompt(context_tokens: int, max_tokens: int) -> int:
    """The tokens that a prompt may have before old turns are left out."""
    return context_tokens - min(max_tokens, context_tokens // _REPLY_SHARE)


def shortened(
    messages: Sequence[ChatMessage], sizes: Sequence[int], room: int
) -> Iterator[tuple[int, tuple[ChatMessage, ...]]]:
    """How many of the oldest messages are left out, and the rest; then with more of them left out.

    System messages and the last turn always stay.
    """
    for count in cuts(messages, sizes, room):
        yield count, _without_oldest(messages, count)


def cuts(messages: Sequence[ChatMessage], sizes: Sequence[int], room: int) -> list[int]:
    """How many of the oldest messages to leave out, system messages not counted; then how many more.

    `sizes` are the messages' tokens. Whole turns go, never the last one. The dialogue is followed
    from its beginning, so that a request leaves out what the request before it left out.
    """
    roles = [message.role for message in messages if message.role != "system"]
    spoken = [size for m, size in zip(messages, sizes, strict=True) if m.role != "system"]
    fixed = sum(sizes) - sum(spoken)
    before = [0, *accumulate(spoken)]
    starts = [
        at for at, role in enumerate(roles) if role == "user" and (at == 0 or roles[at - 1] != role)
    ]
    first = 0
    for at, role in enumerate(roles):
        if role != "user" or fixed + before[at + 1] - before[first] <= room:
            continue
        for start in starts:
            if first < start <= at:
                first = start
                if fixed + before[at + 1] - before[first] <= room * _FILLED_AGAIN:
                    break
    return [first, *(start for start in starts if start > first)]


def _without_oldest(messages: Sequence[ChatMessage], count: int) -> tuple[ChatMessage, ...]:
    """The messages without the `count` oldest, system messages not counted."""
    kept: list[ChatMessage] = []
    for message in messages:
        if message.role != "system" and count:
            count -= 1
            continue
        kept.append(message)
    return tuple(kept)
