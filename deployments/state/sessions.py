"""Remembered dialogues."""

import time
from collections.abc import Callable

from configs.settings import SessionSettings
from deployments.messages import ChatMessage, Session


class Sessions:
    """Dialogues by owner and id, bounded in number, age and size; the oldest are forgotten first."""

    def __init__(self, settings: SessionSettings, clock: Callable[[], float] = time.time) -> None:  # noqa: TID251 - shown as dates
        self._settings, self._clock = settings, clock

    def read(self, owner: str, session_id: str) -> Session | None:
        """The dialogue; None where there is none (any more)."""
        raise NotImplementedError

    def append(
        self, owner: str, session_id: str, turn: tuple[ChatMessage, ...], drop_oldest: int
    ) -> None:
        """Drop so many of the oldest messages, then add a turn; makes the dialogue where needed."""
        raise NotImplementedError

    def delete(self, owner: str, session_id: str) -> bool:
        """Forget a dialogue; whether there was one."""
        raise NotImplementedError
