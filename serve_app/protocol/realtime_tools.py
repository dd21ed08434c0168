"""Functions that the model of a realtime session may call."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, SerializerFunctionWrapHandler, Tag
from pydantic.functional_serializers import model_serializer

from deployments.errors import InvalidParameter
from serve_app.protocol.openai_chat import FunctionDefinition, ToolName, held_parameters
from serve_app.protocol.tool_calls import Tool
from serve_app.protocol.wire import Wire

_LONGEST_TOOLS = 131_072


class RealtimeTool(FunctionDefinition):
    """A function; there are no other tools."""

    type: Literal["function"]

    @model_serializer(mode="wrap")
    def _in_order(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = serialize(self)
        kind = fields.pop("type")
        return {"type": kind} | {name: each for name, each in fields.items() if each is not None}


class NamedFunction(Wire):
    """One function that must be called."""

    type: Literal["function"]
    name: ToolName


def _choice_kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "mode"
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "function" if kind == "function" else None


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("mode")]
    | Annotated[NamedFunction, Tag("function")],
    Discriminator(
        _choice_kind,
        custom_error_type="tool_choice",
        custom_error_message="Input should be 'none', 'auto', 'required' or a function",
    ),
]
RealtimeTools = Annotated[list[RealtimeTool], Field(max_length=128)]


def tools_of(tools: list[RealtimeTool]) -> tuple[Tool, ...]:
    """The tools as the model is told of them.

    Raises:
        InvalidParameter: two have one name, or they are too long together.
    """
    if len({tool.name for tool in tools}) < len(tools):
        raise InvalidParameter("tools", "two functions have the same name")
    told = tuple(Tool(each.name, each.description or "", held_parameters(each)) for each in tools)
    if sum(len(tool.description) + len(tool.parameters) for tool in told) > _LONGEST_TOOLS:
        raise InvalidParameter("tools", f"they have more than {_LONGEST_TOOLS} characters")
    return told


def choice_of(choice: ToolChoice, tools: tuple[Tool, ...]) -> str:
    """`auto`, `none`, `required` or the name of a tool.

    Raises:
        InvalidParameter: there is no such tool.
    """
    if not isinstance(choice, NamedFunction):
        return choice
    if all(tool.name != choice.name for tool in tools):
        raise InvalidParameter("tool_choice", f"there is no tool '{choice.name}'")
    return choice.name
