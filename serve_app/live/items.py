"""What has been said in a conversation, item by item."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from deployments.errors import InvalidParameter, ItemNotFound
from deployments.messages import ChatMessage, Role
from serve_app.live.playout import Playout
from serve_app.protocol.tool_calls import written_call, written_result

ItemStatus = Literal["in_progress", "completed", "incomplete"]


def new_id(kind: str) -> str:
    """An id that nobody can guess."""
    return f"{kind}_{secrets.token_hex(12)}"


@dataclass(slots=True)
class Part:
    """A piece of a message: written, or said aloud; `text` None is not known (yet)."""

    text: str | None
    spoken: bool = False


@dataclass(slots=True)
class Message:
    """Something that was said or written.

    Of a spoken reply, `said` is all of it, heard or not, and `playout` knows what can have been heard.
    """

    id: str
    role: Role
    parts: list[Part]
    status: ItemStatus = "completed"
    playout: Playout | None = None
    written: bool = True  # all of it: no more words come
    said: str = ""

    def cut(self, played_s: float) -> None:
        """Only so much of a spoken reply was heard: the rest is not part of the conversation."""
        if self.playout is not None:
            heard = self.parts[0].text = self.playout.heard(self.said, played_s)
            self.status = "completed" if heard == self.said.strip() else "incomplete"

    @property
    def text(self) -> str:
        """All that is known of the words."""
        return "\n".join(part.text for part in self.parts if part.text)


@dataclass(slots=True)
class Call:
    """The model calls a tool."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus = "completed"


@dataclass(slots=True)
class CallOutput:
    """What came of a call."""

    id: str
    call_id: str
    output: str
    status: ItemStatus = "completed"


Item = Message | Call | CallOutput


@dataclass(slots=True)
class Conversation:
    """The items in order, bounded in number and size: the oldest go first.

    `version` changes with every change, so that work on an older state can be told.
    """

    max_items: int
    max_chars: int
    version: int = 0
    _items: list[Item] = field(default_factory=list[Item])

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def last_id(self) -> str | None:
        """The id of the last item."""
        return self._items[-1].id if self._items else None

    def find(self, item_id: str) -> Item:
        """The item with this id.

        Raises:
            ItemNotFound: there is none.
        """
        return self._items[self._index(item_id)]

    def previous_id(self, item_id: str) -> str | None:
        """The id of the item before this one."""
        index = self._index(item_id)
        return self._items[index - 1].id if index else None

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Add an item behind `after` (none: at the end, "root": at the start); the one before it.

        Raises:
            ItemNotFound: there is no such item to put it behind.
            InvalidParameter: there is an item with this id.
        """
        if any(each.id == item.id for each in self._items):
            raise InvalidParameter(
                "item.id", f"an item with the id '{item.id[:64]}' is there already."
            )
        match after:
            case None:
                index = len(self._items)
            case "root":
                index = 0
            case _:
                index = self._index(after) + 1
        self._items.insert(index, item)
        self.changed()
        self._make_room(item)
        return self.previous_id(item.id)

    def delete(self, item_id: str) -> None:
        """Forget an item.

        Raises:
            ItemNotFound: there is none.
        """
        del self._items[self._index(item_id)]
        self.changed()

    def changed(self) -> None:
        """Note that an item is not what it was."""
        self.version += 1

    def messages(self, template: str) -> tuple[ChatMessage, ...]:
        """What the model reads of it; `template` frames what the user said aloud."""
        return chat_messages(self._items, template)

    def _index(self, item_id: str) -> int:
        for index, item in enumerate(self._items):
            if item.id == item_id:
                return index
        raise ItemNotFound(item_id)

    def _make_room(self, newest: Item) -> None:
        chars = sum(_chars(item) for item in self._items)
        while len(self._items) > 1 and (
            len(self._items) > self.max_items or chars > self.max_chars
        ):
            oldest = next(item for item in self._items if item is not newest)
            chars -= _chars(oldest)
            self._items.remove(oldest)


def chat_messages(items: Sequence[Item], template: str) -> tuple[ChatMessage, ...]:
    """The items as the model reads them; what follows each other from one side is one message."""
    called = {item.call_id: item.name for item in items if isinstance(item, Call)}
    messages: list[ChatMessage] = []
    for item in items:
        role, text = _read(item, called, template)
        if not text or (isinstance(item, Call) and item.status == "incomplete"):
            continue  # a call that was cut off is none
        if messages and messages[-1].role == role:
            messages[-1] = replace(messages[-1], content=f"{messages[-1].content}\n{text}")
        else:
            messages.append(ChatMessage(role, text))
    return tuple(messages)


def _read(item: Item, called: dict[str, str], template: str) -> tuple[Role, str]:
    match item:
        case Message(role="user"):
            spoken = any(part.spoken for part in item.parts)
            return "user", template.replace(
                "{transcript}", item.text
            ) if spoken and item.text else item.text
        case Message():
            return item.role, item.text
        case Call():
            return "assistant", written_call(item.name, item.arguments)
        case CallOutput():
            return "user", written_result(called.get(item.call_id, "function"), item.output)


def _chars(item: Item) -> int:
    match item:
        case Message():
            return len(item.text)
        case Call():
            return len(item.name) + len(item.arguments)
        case CallOutput():
            return len(item.output)
