"""Tools in a prompt, and calls of them in a reply: the text form of `ToolOutput`.

A call is `<tool_call>{"name": "NAME", "arguments": {…}}</tool_call>`; what a tool gave back is
`<tool_response>{"name": "NAME", "content": "…"}</tool_response>`.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from deployments.errors import StageFailed

_OPEN = "<tool_call>"
_CLOSE = "</tool_call>"
_HEAD = re.compile(r'\{"name": "([A-Za-z0-9_-]{1,64})", "arguments": ')
_LONGEST_HEAD = 96
_FORM = _OPEN + '{"name": "NAME", "arguments": {}}' + _CLOSE


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; `parameters` is a JSON schema as JSON text."""

    name: str
    description: str
    parameters: str


@dataclass(frozen=True, slots=True)
class TextPiece:
    """A piece of what the model says."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegan:
    """The model calls a tool; calls are counted from 0."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsPiece:
    """A piece of a call's arguments, which are JSON when joined."""

    index: int
    text: str


ReplyPiece = TextPiece | CallBegan | ArgumentsPiece


def tools_prompt(tools: Iterable[Tool], *, required: bool, parallel: bool) -> str:
    """What tells the model of the tools, and how it calls them."""
    lines = "\n".join(_described(tool) for tool in tools)
    rule = (
        f"Answer only with a call of a function:\n{_FORM}"
        if required
        else "To call a function, answer only with the call; else answer in your own words. "
        f"A call has this form:\n{_FORM}"
    )
    more = "\nSeveral calls follow each other without anything between." if parallel else ""
    return (
        f"# Functions\n\nYou may call these functions:\n<tools>\n{lines}\n</tools>\n\n{rule}{more}"
    )


def _described(tool: Tool) -> str:
    described = f'"description": {_json(tool.description)}, ' if tool.description else ""
    return (
        f'{{"type": "function", "function": {{"name": "{tool.name}", {described}'
        f'"parameters": {tool.parameters}}}}}'
    )


def written_call(name: str, arguments: str) -> str:
    """A call of an earlier turn; arguments that are no JSON object stand as a text."""
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        parsed = arguments
    kept = parsed if isinstance(parsed, dict) else arguments
    return f'{_OPEN}{{"name": "{name}", "arguments": {_json(kept)}}}{_CLOSE}'


def written_result(name: str, content: str) -> str:
    """What a tool gave back; it cannot end its own frame."""
    framed = f'{{"name": "{name}", "content": {_json(content)}}}'
    return f"<tool_response>{framed}</tool_response>"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("</", "<\\/")


class ReplyReader:
    """Tells calls from text while a reply is written; without `tools` all of it is text."""

    def __init__(self, *, tools: bool) -> None:
        self._pending = ""
        self._calls = 0
        self._arguments = _JsonEnd()
        self._state: _State = self._begin if tools else self._say

    def feed(self, text: str) -> list[ReplyPiece]:
        """Add a piece of the reply and take what is known of it.

        Raises:
            StageFailed: the reply has neither form.
        """
        self._pending += text
        pieces: list[ReplyPiece] = []
        while (following := self._state(pieces)) is not None:
            self._state = following
        return pieces

    def close(self) -> list[ReplyPiece]:
        """The rest, when the reply is complete; a call that was cut off stays as it is."""
        pieces: list[ReplyPiece] = []
        if self._state == self._begin:
            self._say(pieces)
        return pieces

    # Each state takes what it can from the pending text, and gives the next state; None: more
    # text is needed.

    def _begin(self, pieces: list[ReplyPiece]) -> "_State | None":  # noqa: ARG002
        if self._calls:
            self._pending = self._pending.lstrip()
        if self._pending.startswith(_OPEN):
            self._pending = self._pending[len(_OPEN) :]
            return self._name
        return None if _OPEN.startswith(self._pending) else self._say

    def _say(self, pieces: list[ReplyPiece]) -> None:
        if self._pending:
            pieces.append(TextPiece(self._pending))
            self._pending = ""

    def _name(self, pieces: list[ReplyPiece]) -> "_State | None":
        head = _HEAD.match(self._pending)
        if head is None:
            if len(self._pending) > _LONGEST_HEAD:
                raise StageFailed("llm")
            return None
        pieces.append(CallBegan(self._calls, head[1]))
        self._pending = self._pending[head.end() :]
        self._arguments = _JsonEnd()
        return self._argue

    def _argue(self, pieces: list[ReplyPiece]) -> "_State | None":
        end = self._arguments.find(self._pending)
        written = self._pending if end is None else self._pending[:end]
        if written:
            pieces.append(ArgumentsPiece(self._calls, written))
        self._pending = "" if end is None else self._pending[end + 1 :]
        return None if end is None else self._end

    def _end(self, pieces: list[ReplyPiece]) -> "_State | None":  # noqa: ARG002
        if self._pending.startswith(_CLOSE):
            self._pending = self._pending[len(_CLOSE) :]
            self._calls += 1
            return self._begin
        if not _CLOSE.startswith(self._pending):
            raise StageFailed("llm")
        return None


_State = Callable[[list[ReplyPiece]], "_State | None"]


class _JsonEnd:
    """Finds the bracket that closes the object around a JSON value, piece by piece."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_text = self._escaped = False

    def find(self, piece: str) -> int | None:
        for index, char in enumerate(piece):
            if self._in_text:
                self._in_text = self._escaped or char != '"'
                self._escaped = char == "\\" and not self._escaped
            elif char == '"':
                self._in_text = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                if self._depth == 0:
                    return index
                self._depth -= 1
        return None
