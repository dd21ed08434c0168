"""Items of the conversation, from and to the wire."""

from typing import assert_never

from serve_app.live import items as live
from serve_app.protocol.realtime_items import (
    AssistantMessage,
    ContentOut,
    FunctionCall,
    FunctionCallOut,
    FunctionCallOutput,
    FunctionCallOutputOut,
    InputAudioOut,
    InputTextOut,
    InputTextPart,
    ItemOut,
    MessageOut,
    NewItem,
    OutputAudioOut,
    OutputTextOut,
    OutputTextPart,
    SystemMessage,
    UserMessage,
)


def item_out(item: live.Item, *, heard: bool = True) -> ItemOut:
    """An item as the client sees it; without `heard` it is not told what the user said aloud."""
    match item:
        case live.Message(role=role):
            content = [_content_out(role, part, heard=heard) for part in item.parts]
            return MessageOut(id=item.id, status=item.status, role=role, content=content)
        case live.Call():
            return FunctionCallOut(
                id=item.id,
                status=item.status,
                call_id=item.call_id,
                name=item.name,
                arguments=item.arguments,
            )
        case live.CallOutput():
            return FunctionCallOutputOut(
                id=item.id, status=item.status, call_id=item.call_id, output=item.output
            )
        case _:
            assert_never(item)


def begun(item: live.Item) -> ItemOut:
    """An item of a response whose content is still to come."""
    match item:
        case live.Message(role=role):
            return MessageOut(id=item.id, status="in_progress", role=role, content=[])
        case live.Call():
            return FunctionCallOut(
                id=item.id,
                status="in_progress",
                call_id=item.call_id,
                name=item.name,
                arguments="",
            )
        case _:
            return item_out(item)


def _content_out(role: str, part: live.Part, *, heard: bool) -> ContentOut:
    match role, part.spoken:
        case "assistant", True:
            return OutputAudioOut(transcript=part.text or "")
        case "assistant", False:
            return OutputTextOut(text=part.text or "")
        case _, True:
            return InputAudioOut(transcript=part.text if heard else None)
        case _:
            return InputTextOut(text=part.text or "")


def live_item(item: NewItem, transcripts: dict[int, str]) -> live.Item:
    """What a client adds; `transcripts` are the words of the parts that had to be heard."""
    item_id = item.id or live.new_id("item")
    match item:
        case UserMessage(content=content):
            parts: list[live.Part] = []
            for index, part in enumerate(content):
                if isinstance(part, InputTextPart):
                    parts.append(live.Part(part.text))
                else:
                    text = transcripts.get(index, part.transcript)
                    parts.append(live.Part(text, spoken=True))
            return live.Message(item_id, "user", parts)
        case SystemMessage(content=content):
            return live.Message(item_id, "system", [live.Part(part.text) for part in content])
        case AssistantMessage(content=content):
            said = [
                live.Part(part.text)
                if isinstance(part, OutputTextPart)
                else live.Part(part.transcript or "", spoken=True)
                for part in content
            ]
            return live.Message(item_id, "assistant", said)
        case FunctionCall():
            call_id = item.call_id or live.new_id("call")
            return live.Call(item_id, call_id, item.name, item.arguments)
        case FunctionCallOutput():
            return live.CallOutput(item_id, item.call_id, item.output)
        case _:
            assert_never(item)
