"""What wire models have in common."""

from pydantic import BaseModel, ConfigDict, JsonValue


class Wire(BaseModel):
    """An object of the API; it has no other fields than its own."""

    model_config = ConfigDict(extra="forbid")


def example(**fields: JsonValue) -> ConfigDict:
    """One object of a model for its documentation."""
    return ConfigDict(json_schema_extra={"examples": [fields]})
