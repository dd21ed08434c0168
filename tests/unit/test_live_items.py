"""The items of a conversation, and what the model reads of them."""

import pytest

from deployments.errors import InvalidParameter, ItemNotFound
from deployments.messages import ChatMessage
from serve_app.live.items import Call, CallOutput, Conversation, Item, Message, Part, chat_messages


def said(item_id: str, role: str, text: str | None, spoken: bool = False) -> Message:
    return Message(item_id, role, [Part(text, spoken)])  # type: ignore[arg-type]


def conversation(*items: Item) -> Conversation:
    made = Conversation(max_items=10, max_chars=1000)
    for item in items:
        made.add(item)
    return made


def test_items_stand_where_they_are_put() -> None:
    made = conversation(said("a", "user", "1"), said("b", "user", "2"))
    assert made.add(said("c", "user", "3"), "a") == "a"
    assert made.add(said("d", "user", "0"), "root") is None
    assert made.add(said("e", "user", "9")) == "b"
    assert [item.id for item in made] == ["d", "a", "c", "b", "e"]


def test_unknown_and_double_items_are_refused() -> None:
    made = conversation(said("a", "user", "1"))
    with pytest.raises(ItemNotFound):
        made.add(said("b", "user", "2"), "nowhere")
    with pytest.raises(InvalidParameter):
        made.add(said("a", "user", "2"))
    for refused in (made.delete, made.find):
        with pytest.raises(ItemNotFound):
            refused("b")
    assert len(made) == 1


def test_every_change_changes_the_version() -> None:
    made = conversation(said("a", "user", "1"))
    versions = [made.version]
    made.add(said("b", "user", "2"))
    versions.append(made.version)
    made.delete("a")
    versions.append(made.version)
    assert len(set(versions)) == 3


def test_the_oldest_items_go_first() -> None:
    made = Conversation(max_items=3, max_chars=100)
    for number in range(5):
        made.add(said(str(number), "user", "word"))
    assert [item.id for item in made] == ["2", "3", "4"]
    made.add(said("long", "user", "x" * 99))
    assert [item.id for item in made] == ["long"]


def test_the_newest_item_stays_even_where_it_is_put_first() -> None:
    made = Conversation(max_items=2, max_chars=100)
    for name in ("a", "b"):
        made.add(said(name, "user", "word"))
    assert made.add(said("c", "user", "word"), "root") is None
    assert [item.id for item in made] == ["c", "b"]


def test_what_follows_each_other_from_one_side_is_one_message() -> None:
    items = [
        said("a", "user", "Hello.", spoken=True),
        said("b", "user", "Are you there?"),
        said("c", "assistant", ""),
        said("d", "assistant", "Yes."),
        said("e", "user", None, spoken=True),
    ]
    assert chat_messages(items, "<{transcript}>") == (
        ChatMessage("user", "<Hello.>\nAre you there?"),
        ChatMessage("assistant", "Yes."),
    )


def test_calls_and_what_came_of_them_are_read() -> None:
    items: list[Item] = [
        said("a", "user", "What time is it?"),
        Call("b", "call_1", "get_time", '{"zone": "UTC"}'),
        CallOutput("c", "call_1", "noon"),
    ]
    _, call, result = chat_messages(items, "{transcript}")
    assert (call.role, result.role) == ("assistant", "user")
    assert '"name": "get_time", "arguments": {"zone": "UTC"}' in call.content
    assert '"name": "get_time", "content": "noon"' in result.content
