"""What of a JSON schema only a strict request is held to."""

from typing import Any

import pytest

from serve_app.protocol.schema_hints import HINTS, without_hints

TEXT = {"type": "string"}


@pytest.mark.parametrize("hint", sorted(HINTS))
def test_a_hint_is_left_out_at_every_depth(hint: str) -> None:
    schema: Any = {
        "type": "object",
        hint: 1,
        "properties": {"a": {**TEXT, hint: 1}},
        "items": {"anyOf": [{**TEXT, hint: 1}]},
        "$defs": {"b": {**TEXT, hint: 1}},
    }
    assert without_hints(schema) == {
        "type": "object",
        "properties": {"a": TEXT},
        "items": {"anyOf": [TEXT]},
        "$defs": {"b": TEXT},
    }


def test_a_property_may_have_the_name_of_a_hint() -> None:
    schema: Any = {"type": "object", "properties": {"pattern": TEXT, "not": TEXT}}
    assert without_hints(schema) == schema


def test_values_stay_as_they_are() -> None:
    schema: Any = {"enum": [{"pattern": "x"}], "const": {"not": 1}, "required": ["pattern"]}
    assert without_hints(schema) == schema
