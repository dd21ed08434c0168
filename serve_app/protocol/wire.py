"""What wire models have in common."""

from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue


class Wire(BaseModel):
    """An object of the API; it has no other fields than its own."""

    model_config = ConfigDict(extra="forbid")


def example(**fields: JsonValue) -> ConfigDict:
    """One object of a model for its documentation."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


def place_of(error: Any, body: Any) -> list[str]:
    """Where an error of pydantic's is, as the client wrote it: pydantic also names union members."""
    place = list(error["loc"])
    if not isinstance(body, dict):
        return [str(part) for part in place]
    node, fields = body, []
    for index, part in enumerate(place):
        known = isinstance(node, dict) and part in node
        if known or (isinstance(node, list) and isinstance(part, int) and part < len(node)):
            node = node[part]
        elif error["type"] != "missing" or index < len(place) - 1:
            continue
        fields.append(str(part))
    return fields
