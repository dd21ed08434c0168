"""Remembered dialogues."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from configs.settings import SessionSettings
from deployments.messages import ChatMessage, Session

_Turn = tuple[ChatMessage, ...]


@dataclass(slots=True)
class _Dialogue:
    """The turns of one session, and how large they are together."""

    created_at: float
    updated_at: float
    used_at: float
    turns: deque[_Turn] = field(default_factory=deque[_Turn])
    messages: int = 0
    chars: int = 0

    def add(self, turn: _Turn) -> None:
        self.turns.append(turn)
        self.messages += len(turn)
        self.chars += _chars(turn)

    def drop_oldest(self) -> int:
        """Forget the oldest turn; how many messages it had."""
        turn = self.turns.popleft()
        self.messages -= len(turn)
        self.chars -= _chars(turn)
        return len(turn)


class Sessions:
    """Dialogues by owner and id, bounded in number, age and size.

    The least recently used dialogue is forgotten first; reading one is using it. Within a dialogue
    the oldest turns go first, and a turn goes as a whole.
    """

    def __init__(self, settings: SessionSettings, clock: Callable[[], float] = time.time) -> None:  # noqa: TID251 - shown as dates
        self._settings, self._clock = settings, clock
        self._dialogues: OrderedDict[tuple[str, str], _Dialogue] = OrderedDict()
        self._chars = 0
        # So one dialogue alone always fits into the total.
        self._max_chars = min(settings.max_chars, settings.max_total_chars)

    def read(self, owner: str, session_id: str) -> Session | None:
        """The dialogue; None where there is none (any more)."""
        dialogue = self._use((owner, session_id), self._clock())
        if dialogue is None:
            return None
        messages = tuple(message for turn in dialogue.turns for message in turn)
        return Session(session_id, dialogue.created_at, dialogue.updated_at, messages)

    def append(
        self, owner: str, session_id: str, turn: tuple[ChatMessage, ...], drop_oldest: int
    ) -> None:
        """Drop the turns that hold so many of the oldest messages, then add a turn.

        Makes the dialogue where there is none. A turn larger than a whole dialogue may be is not
        kept, nor is anything before it.
        """
        now = self._clock()
        dialogue = self._use((owner, session_id), now)
        if dialogue is None:
            dialogue = self._dialogues[owner, session_id] = _Dialogue(now, now, now)
        self._chars -= dialogue.chars
        while drop_oldest > 0 and dialogue.turns:
            drop_oldest -= dialogue.drop_oldest()
        dialogue.add(turn)
        dialogue.updated_at = now
        self._shorten(dialogue)
        self._chars += dialogue.chars
        self._make_room()

    def write(self, owner: str, session_id: str, messages: tuple[ChatMessage, ...]) -> None:
        """Keep these messages in place of what was known; the oldest of them go first."""
        now = self._clock()
        known = self._use((owner, session_id), now)
        created_at = known.created_at if known else now
        if known:
            self._chars -= known.chars
        dialogue = self._dialogues[owner, session_id] = _Dialogue(created_at, now, now)
        for message in messages:
            dialogue.add((message,))
        self._shorten(dialogue)
        self._chars += dialogue.chars
        self._make_room()

    def delete(self, owner: str, session_id: str) -> bool:
        """Forget a dialogue; whether there was one."""
        if self._use((owner, session_id), self._clock()) is None:
            return False
        self._forget((owner, session_id))
        return True

    def _shorten(self, dialogue: _Dialogue) -> None:
        while dialogue.chars > self._max_chars or dialogue.messages > self._settings.max_messages:
            dialogue.drop_oldest()

    def _use(self, key: tuple[str, str], now: float) -> _Dialogue | None:
        self._forget_idle(now)
        dialogue = self._dialogues.get(key)
        if dialogue is not None:
            dialogue.used_at = now
            self._dialogues.move_to_end(key)
        return dialogue

    def _forget_idle(self, now: float) -> None:
        while self._dialogues:
            key, oldest = next(iter(self._dialogues.items()))
            if now - oldest.used_at < self._settings.idle_s:
                return
            self._forget(key)

    def _make_room(self) -> None:
        """Forget the least recently used; never the last one, which fits alone."""
        settings = self._settings
        while (
            len(self._dialogues) > settings.max_sessions or self._chars > settings.max_total_chars
        ):
            self._forget(next(iter(self._dialogues)))

    def _forget(self, key: tuple[str, str]) -> None:
        self._chars -= self._dialogues.pop(key).chars


def _chars(turn: _Turn) -> int:
    return sum(len(message.content) for message in turn)
