"""`stream-input` and `multi-stream-input`: text in as it is written, audio out as it is spoken."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from deployments.errors import InvalidParameter, StageOverloaded
from serve_app.elevenlabs.context import Context, Setting
from serve_app.problems import Problem
from serve_app.protocol.elevenlabs import TEXT_IN, TextIn
from serve_app.socket_messages import read_form, read_json
from serve_app.socket_talk import Manners

_MOST_CONTEXTS = 16
_DEFAULT = "default"


def _error(problem: Problem) -> dict[str, object]:
    return {"error": problem.message, "code": problem.code, "param": problem.param}


MANNERS = Manners(
    "elevenlabs", _error, lambda why: {"warning": why, "code": "going_away", "isFinal": None}
)


class StreamInput:
    """One client's contexts. Without `multi` there is one, and its end is the socket's."""

    def __init__(self, setting: Setting, group: asyncio.TaskGroup, *, multi: bool) -> None:
        self._setting, self._group, self._multi = setting, group, multi
        self._contexts: dict[str, Context] = {}
        self._all_over = asyncio.Event()
        self._all_over.set()
        self._ends = False

    def take(self, message: str | bytes) -> None:
        """Text for a context."""
        value = read_json(message) if isinstance(message, str) else None
        if not isinstance(value, dict):
            raise InvalidParameter("message", "it must be a JSON object.")
        given = {name: each for name, each in value.items() if each is not None}
        told = read_form(TEXT_IN, given)
        if told.close_socket:
            self._end()
            return
        if not self._multi and told.context_id is not None:
            raise InvalidParameter("context_id", "this socket has one context.")
        self._hand_over(told)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being worked on."""
        return all(context.jobs.is_idle for context in self._contexts.values())

    async def settled(self) -> None:
        """Return when every context is spoken to its end."""
        await self._all_over.wait()

    def end(self) -> None:
        """Stop all of it."""
        for context in self._contexts.values():
            context.jobs.stop()

    def _hand_over(self, told: TextIn) -> None:
        name = told.context_id or _DEFAULT
        context = self._contexts.get(name)
        ends = told.close_context or (not self._multi and told.text == "")
        if context is None:
            if ends or (told.text == "" and not told.flush):
                self._tell_final(name if ends else None)
                return
            context = self._open(name)
        if context.closing and not told.text:
            return
        if context.closing:
            raise InvalidParameter("context_id", "the context is closed.")
        context.take(told)
        if ends:
            self._ends = self._ends or not self._multi
            context.close()

    def _tell_final(self, name: str | None) -> None:
        """The end of a context that nothing was said in."""
        if not self._multi:
            self._setting.socket.send({"audio": None, "isFinal": True})
            self._setting.socket.close()
        elif name is not None:
            self._setting.socket.send({"audio": None, "isFinal": True, "contextId": name})

    def _open(self, name: str) -> Context:
        if len(self._contexts) >= _MOST_CONTEXTS:
            raise StageOverloaded("dialogue")

        def over() -> None:
            self._contexts.pop(name).jobs.stop()
            if not self._contexts:
                self._all_over.set()
                if self._ends:
                    self._setting.socket.close()

        context = Context(self._setting, name if self._multi else None, over)
        self._contexts[name] = context
        self._all_over.clear()
        self._group.create_task(context.jobs.serve(), name="context")
        return context

    def _end(self) -> None:
        """Speak what there is, then close."""
        self._ends = True
        if not self._contexts:
            self._setting.socket.close()
        for context in list(self._contexts.values()):
            context.close()


@asynccontextmanager
async def stream_input(setting: Setting, *, multi: bool) -> AsyncGenerator[StreamInput, None]:
    """Speak while the socket is open."""
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        talk = StreamInput(setting, group, multi=multi)
        stack.callback(talk.end)
        yield talk
