"""A conversation and its configuration -> what the model is asked."""

from deployments.messages import (
    ChatMessage,
    GenerationRequest,
    ToolOutput,
    ToolSignature,
)
from serve_app.live.config import LiveConfig
from serve_app.protocol.tool_calls import tools_prompt


def generation_request(config: LiveConfig, messages: tuple[ChatMessage, ...]) -> GenerationRequest:
    """What the model is asked, with the oldest turns left out where the context is too small."""
    output = _output(config)
    instructions = config.instructions
    if output is not None:
        tools = [tool for tool in config.tools if tool.name in {each.name for each in output.tools}]
        described = tools_prompt(tools, required=output.required, parallel=output.parallel)
        instructions = f"{instructions}\n\n{described}" if instructions else described
    system = (ChatMessage("system", instructions),) if instructions else ()
    return GenerationRequest((*system, *messages), config.sampling, output=output, drop_oldest=True)


def _output(config: LiveConfig) -> ToolOutput | None:
    if not config.tools or config.tool_choice == "none":
        return None
    choice = config.tool_choice
    named = choice not in ("auto", "required")
    tools = [tool for tool in config.tools if not named or tool.name == choice]
    signatures = tuple(ToolSignature(tool.name, tool.parameters) for tool in tools)
    return ToolOutput(
        signatures, required=named or choice == "required", parallel=config.parallel_calls
    )
