import json
import time

import jsonschema
import pytest

from deployments.llm.ambiguity import check_readings
from deployments.llm.instances import shortest_value
from deployments.llm.json_schema import SchemaRefusal, parse_schema


def _object(**members: object) -> dict[str, object]:
    return {"type": "object", "properties": members, "required": list(members)}


def _inside(schema: object, depth: int) -> object:
    for _ in range(depth):
        schema = {"type": "array", "items": schema, "minItems": 9}
    return schema


NODE = {"$ref": "#/$defs/node"}
TWO_ALIKE = [_object(x=NODE), _object(x=NODE), {"type": "null"}]


def _shortest(schema: object) -> str:
    parsed = parse_schema(json.dumps(schema))
    check_readings(parsed)
    return shortest_value(parsed)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, None),
        ({"type": "string"}, ""),
        ({"minLength": 3}, "xxx"),
        ({"type": "string", "format": "date"}, "2000-01-01"),
        ({"type": "string", "format": "email"}, ""),
        ({"type": "string", "maxLength": 10**9}, ""),
        ({"type": "boolean"}, True),
        ({"type": ["null", "string"]}, ""),
        ({"const": {"a": [1, "b"]}}, {"a": [1, "b"]}),
        ({"type": "string", "enum": [1, "long", "b"]}, "b"),
        ({"type": "integer", "minimum": 3.5, "exclusiveMaximum": 5}, 4),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "integer", "exclusiveMinimum": 3, "multipleOf": 1}, 4),
        ({"type": "integer", "minimum": 3, "exclusiveMinimum": True}, 4),
        ({"type": "integer", "maximum": 9007199254740991}, 0),
        ({"type": "number", "exclusiveMinimum": 0}, 0.5),
        ({"type": "number", "maximum": -2.5}, -3),
        ({"type": "array"}, []),
        ({"type": "array", "items": {"type": "null"}, "minItems": 2}, [None, None]),
        ({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}]}, [1, 2]),
        ({"type": "array", "items": [{"const": 1}], "minItems": 2}, [1, None]),
        ({"type": "object"}, {}),
        ({"type": "object", "properties": {"a": {}}}, {}),
        ({"type": "object", "required": ["a"]}, {"a": None}),
        ({"type": "object", "additionalProperties": {"type": "string"}}, {}),
        (_object(a={"type": "integer"}, b=_object()), {"a": 0, "b": {}}),
        ({"allOf": [_object(a={}), _object(b={})]}, {"a": None, "b": None}),
        ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"}, {"a": None}),
        ({"$ref": "#/$defs/a~1b%25", "$defs": {"a/b%": {"const": 1}}}, 1),
        ({"$ref": "#/$defs/a", "minimum": 7, "$defs": {"a": {"type": "integer"}}}, 7),
        ({"anyOf": [_object(next={"$ref": "#"}), {"type": "null"}]}, None),
        ({"title": "x", "description": "y", "default": 1, "x-own": {}, "type": "null"}, None),
    ],
)
def test_the_shortest_value_is_of_its_schema(schema: dict[str, object], value: object) -> None:
    assert json.loads(_shortest(schema)) == value
    old = schema.get("exclusiveMinimum") is True or isinstance(schema.get("items"), list)
    validator = jsonschema.Draft4Validator if old else jsonschema.Draft202012Validator
    validator(schema).validate(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[]", "no JSON object"),
        ('{"minimum": NaN}', "NaN"),
        ("[" * 30_000, "too deeply"),
        ('{"a": "' + "x" * 33_000 + '"}', "larger than 32768 bytes"),
        (json.dumps({"description": "ä" * 20_000}, ensure_ascii=False), "larger"),
        ('{"enum": ["\\ud800"]}', "surrogate"),
        ('{"type": "integer", "minimum": ' + "9" * 4000 + "}", "16 digits"),
        ('{"type": "number", "maximum": 1e999}', "no number"),
        ('{"type": "array", "minItems": 1e999}', "no whole number"),
    ],
)
def test_a_text_that_is_no_schema_is_refused(text: str, reason: str) -> None:
    with pytest.raises(SchemaRefusal, match=reason):
        parse_schema(text)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "text"}, "'type' is \"text\""),
        ({"type": []}, "names no type"),
        ({"type": [["string"]]}, "names no type"),
        ({"properties": []}, "'properties'"),
        ({"properties": {"a": 1}}, "1 is no schema"),
        ({"required": "a"}, "'required'"),
        ({**_object(), "required": ["a"], "additionalProperties": False}, "'required' names"),
        ({"enum": []}, "'enum'"),
        ({"enum": list(range(600))}, "more than 512"),
        ({"type": "string", "enum": [1]}, "leave no value"),
        ({"enum": ["a"], "minLength": 3}, "beside other keywords"),
        ({"anyOf": []}, "'anyOf'"),
        ({"minItems": -1}, "less than 0"),
        ({"minLength": 1.5}, "no whole number"),
        ({"minLength": True}, "no whole number"),
        ({"minItems": 5, "maxItems": 4}, "less than 'minItems'"),
        ({"minItems": 5, "items": False}, "more than there are items"),
        ({"minItems": 10**9}, "more than 1024"),
        ({"minLength": 10**9}, "more than 1024"),
        ({"type": "number", "minimum": 3, "maximum": 2}, "less than 'minimum'"),
        ({"type": "number", "minimum": 0.2, "maximum": 0.8}, "between the bounds"),
        ({"type": "integer", "minimum": 0.2, "maximum": 0.8}, "between the bounds"),
        ({"type": "integer", "minimum": "1"}, "no number"),
        ({"type": "number", "multipleOf": 0.01}, "'multipleOf'"),
        ({"type": "array", "uniqueItems": True}, "'uniqueItems'"),
        ({"type": "string", "pattern": "(a+)+$"}, "'pattern'"),
        ({"not": {}}, "'not'"),
        ({"allOf": [{"minimum": 1}, {"minimum": 2}]}, "given twice"),
        ({"allOf": [_object(a={}), _object(a={"type": "null"})]}, "described twice"),
        ({"$ref": 1}, "out of the schema"),
        ({"$ref": "https://127.0.0.1:9/x"}, "out of the schema"),
        ({"$ref": "file:///etc/passwd"}, "out of the schema"),
        ({"$ref": "#name"}, "out of the schema"),
        ({"$ref": "#/$defs/a"}, "leads nowhere"),
        ({"$ref": "#"}, "back to itself"),
        ({"allOf": [{"$ref": "#"}]}, "back to itself"),
        (
            {"allOf": [{"$ref": "#/$defs/a"}, {}], "$defs": {"a": {"allOf": [{"$ref": "#"}]}}},
            "allOf",
        ),
        ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "back to itself"),
        (_object(next={"$ref": "#"}), "ever ends"),
        (_inside({"type": "null"}, 60), "too deeply"),
        (_inside({"type": "null"}, 7), "longer than 16384"),
        ({"prefixItems": [{}] * 3000}, "too many parts"),
        (
            {"prefixItems": [{"$ref": f"#/$defs/{n}"} for n in range(300)]}
            | {"$defs": {str(n): {} for n in range(300)}},
            "too many references",
        ),
        (_object(**{f"p{n}": {"type": "array", "maxItems": 999} for n in range(90)}), "add up"),
        # Each level, or each turn of the loop, would double what llama.cpp follows.
        ({"anyOf": TWO_ALIKE, "$defs": {"node": {"$ref": "#"}}}, "begin alike"),
        (
            {"$ref": "#/$defs/0", "$defs": {"40": {"type": "null"}}}
            | {
                "$defs": {"40": {"type": "null"}}
                | {
                    str(n): {"anyOf": [_object(x={"$ref": f"#/$defs/{n + 1}"})] * 2}
                    for n in range(40)
                }
            },
            "begin alike",
        ),
        ({"properties": {f"p{n}": {} for n in range(200)}}, "begin alike"),
    ],
)
def test_a_schema_that_a_grammar_cannot_keep_is_refused_soon(schema: object, reason: str) -> None:
    started = time.perf_counter()
    with pytest.raises(SchemaRefusal, match=reason):
        _shortest(schema)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    "schema",
    [
        # An expression tree, told apart by its first names.
        {"anyOf": [_object(op={}, left={"$ref": "#"}), _object(value={"type": "number"})]},
        {"type": "array", "items": {"$ref": "#"}},
        _object(name={"type": "string"}, children={"type": "array", "items": {"$ref": "#"}}),
        {
            "anyOf": [_object(kind={"const": str(n)}, a={"$ref": "#"}) for n in range(9)]
            + [{"const": 0}]
        },
    ],
)
def test_a_schema_may_contain_itself_where_it_is_told_apart(schema: object) -> None:
    assert _shortest(schema)
