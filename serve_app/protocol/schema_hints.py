"""What of a JSON schema only a strict request is held to."""

from collections.abc import Mapping

from pydantic import JsonValue

# No grammar can keep these. Where `strict` is not true they are hints: the model is told them.
HINTS = frozenset(
    "pattern uniqueItems multipleOf not if then else patternProperties propertyNames contains "
    "minContains maxContains minProperties maxProperties dependentRequired dependentSchemas "
    "dependencies unevaluatedProperties unevaluatedItems".split()
)
# Under these stand names that the schema's author chose, each with a schema of its own.
_NAMED = frozenset({"properties", "$defs", "definitions"})
_VALUES = frozenset({"enum", "const", "default", "examples", "required"})


def without_hints(schema: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The schema without the keywords that are hints, at every depth.

    Raises:
        RecursionError: it is nested too deeply.
    """
    kept: dict[str, JsonValue] = {}
    for keyword, value in schema.items():
        if keyword in HINTS:
            continue
        if keyword in _NAMED and isinstance(value, dict):
            kept[keyword] = {name: _inside(each) for name, each in value.items()}
        else:
            kept[keyword] = value if keyword in _VALUES else _inside(value)
    return kept


def _inside(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return without_hints(value)
    if isinstance(value, list):
        return [_inside(each) for each in value]
    return value
