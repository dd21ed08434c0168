"""Reads a JSON schema that a client sent, as far as a grammar can keep it; the rest is refused.

What is written for a schema is always valid for it, but not all that is valid can be written:
properties come in the schema's order, none are added to those that are named, and `oneOf` counts
as `anyOf`.
"""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import unquote

MAX_SCHEMA_BYTES = 32_768
MAX_DIGITS = 16
_MAX_INTEGER = 10**MAX_DIGITS - 1
_MAX_DEPTH = 48
_MAX_NODES = 2_000
_MAX_DEFINITIONS = 256
_MAX_COUNT = 1_024
_MAX_COUNTED = 65_536
_MAX_VALUES = 512


class SchemaRefusal(Exception):
    """The schema is wrong, or asks for what a grammar cannot keep; the text may be shown."""


@dataclass(frozen=True, slots=True)
class AnyValue:
    """Any JSON value."""


@dataclass(frozen=True, slots=True)
class Constants:
    """One of these values, as JSON."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A string of so many characters, or one of a known format."""

    shortest: int = 0
    longest: int | None = None
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Number:
    """A number between two bounds, each of them perhaps excluded."""

    lowest: float | None = None
    highest: float | None = None
    above_lowest: bool = False
    below_highest: bool = False


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number between two bounds that it may reach."""

    lowest: int | None = None
    highest: int | None = None


@dataclass(frozen=True, slots=True)
class Array:
    """An array: the items of `first` one by one, then so many of the others."""

    first: tuple["Node", ...]
    others: "Node | None" = None
    fewest: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Property:
    """A member of an object."""

    name: str
    value: "Node"
    required: bool


@dataclass(frozen=True, slots=True)
class Object:
    """An object with these members in this order."""

    properties: tuple[Property, ...]


@dataclass(frozen=True, slots=True)
class Map:
    """An object with any names."""

    values: "Node"


@dataclass(frozen=True, slots=True)
class Union:
    """One of several."""

    branches: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Ref:
    """The definition of this name."""

    name: str


Node = AnyValue | Constants | Text | Number | Integer | Array | Object | Map | Union | Ref


@dataclass(frozen=True, slots=True)
class Schema:
    """What a schema describes; `definitions` are what its references name."""

    root: Node
    definitions: dict[str, Node] = field(default_factory=dict[str, Node])


def json_text(value: object) -> str:
    """A value as the grammars write it."""
    return json.dumps(value, ensure_ascii=False)


def parse_schema(text: str) -> Schema:
    """The schema of a JSON text.

    Raises:
        SchemaRefusal: it is no JSON schema, or not one that a grammar can keep.
    """
    try:
        if len(text.encode()) > MAX_SCHEMA_BYTES:
            _refuse(f"the schema is larger than {MAX_SCHEMA_BYTES} bytes")
        document = json.loads(text, parse_constant=_refuse_constant)
        # Escapes of half a character survive the first look.
        json_text(document).encode()
        if not isinstance(document, dict):
            _refuse("the schema is no JSON object")
        return _Reader(document).read()
    except UnicodeEncodeError:
        _refuse("the schema has half a character (a lone surrogate)")
    except ValueError:
        _refuse("the schema is no JSON")
    except RecursionError:
        _refuse("the schema is nested too deeply")


_UNSUPPORTED = frozenset(
    "not if then else dependentRequired dependentSchemas dependencies patternProperties "
    "propertyNames contains minContains maxContains minProperties maxProperties "
    "unevaluatedProperties unevaluatedItems $dynamicRef $recursiveRef pattern".split()
)
_OF_TYPE = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset(
        {"items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"}
    ),
    "string": frozenset({"minLength", "maxLength", "format"}),
    "number": frozenset(
        {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
    ),
}
_TYPES: dict[str, Callable[[object], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}
FORMATS = frozenset({"date", "time", "date-time", "uuid"})

_Keywords = dict[str, Any]


class _Reader:
    def __init__(self, document: _Keywords) -> None:
        self._document = document
        self._definitions: dict[str, Node] = {}
        self._waiting: list[tuple[str, _Keywords]] = []
        self._named: dict[str, str] = {}
        self._nodes = 0
        self._counted = 0

    def read(self) -> Schema:
        root = self._node(self._document, 0)
        while self._waiting:
            name, keywords = self._waiting.pop()
            self._definitions[name] = self._node(keywords, 0)
        return Schema(root, self._definitions)

    def _node(self, schema: object, depth: int) -> Node:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            _refuse("the schema has too many parts")
        if depth > _MAX_DEPTH:
            _refuse("the schema is nested too deeply")
        if schema is True:
            return AnyValue()
        keywords = self._conjunction(_as_keywords(schema))
        if "$ref" in keywords:
            return self._ref(keywords["$ref"])
        for union in ("anyOf", "oneOf"):
            if union in keywords:
                return self._union(keywords, union, depth)
        if "const" in keywords or "enum" in keywords:
            return _constants(keywords)
        return self._typed(keywords, depth)

    def _conjunction(self, keywords: _Keywords) -> _Keywords:
        """The keywords that say something, those of `allOf` with them."""
        said = _assertions(keywords)
        pending = _schemas(said.pop("allOf", []), "allOf", empty=True)
        if "$ref" in said and len(said) > 1:
            pending.append({"$ref": said.pop("$ref")})
        merged = 0
        while pending:
            merged += 1
            if merged > _MAX_DEPTH:
                _refuse("'allOf' has too many schemas")
            part = _assertions(_as_keywords(pending.pop(0)))
            if "$ref" in part and (said or len(part) > 1 or pending):
                target = _assertions(self._target(part.pop("$ref")))
                pending.insert(0, target)
            pending = [*_schemas(part.pop("allOf", []), "allOf", empty=True), *pending]
            said = _both(said, part)
        return said

    def _union(self, keywords: _Keywords, union: str, depth: int) -> Node:
        shared = {name: value for name, value in keywords.items() if name != union}
        branches = _schemas(keywords[union], union)
        if not shared:
            return Union(tuple(self._node(branch, depth + 1) for branch in branches))
        return Union(
            tuple(
                self._node(
                    {**shared, "allOf": [branch]} if branch is not True else shared, depth + 1
                )
                for branch in branches
            )
        )

    def _typed(self, keywords: _Keywords, depth: int) -> Node:
        types = keywords.get("type")
        if types is None:
            types = _implied(keywords)
            if types is None:
                return AnyValue()
        if isinstance(types, list):
            if not types or not all(isinstance(name, str) for name in types):
                _refuse("'type' names no type")
            one_each = ({**keywords, "type": name} for name in dict.fromkeys(types))
            return Union(tuple(self._typed(one, depth) for one in one_each))
        if types in ("boolean", "null"):
            return Constants(("true", "false") if types == "boolean" else ("null",))
        if types in ("number", "integer"):
            return _number(keywords) if types == "number" else _integer(keywords)
        if types == "string":
            return self._text(keywords)
        if types not in ("object", "array"):
            _refuse(f"'type' is {_shown(types)}")
        return (self._object if types == "object" else self._array)(keywords, depth)

    def _object(self, keywords: _Keywords, depth: int) -> Node:
        properties = keywords.get("properties", {})
        required = keywords.get("required", [])
        others = keywords.get("additionalProperties", True)
        if not isinstance(properties, dict):
            _refuse("'properties' is no object")
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            _refuse("'required' is no list of names")
        if not properties and not required and others is not False:
            closed = "properties" in keywords and "additionalProperties" not in keywords
            return Object(()) if closed else Map(self._node(others, depth + 1))
        missing = [name for name in dict.fromkeys(required) if name not in properties]
        if missing and others is False:
            _refuse(f"'required' names {_shown(missing[0])}, which is no property")
        members = {**properties, **dict.fromkeys(missing, others)}
        needed = set(required)
        return Object(
            tuple(
                Property(name, self._node(value, depth + 1), name in needed)
                for name, value in members.items()
                if value is not False or name in needed
            )
        )

    def _array(self, keywords: _Keywords, depth: int) -> Node:
        if keywords.get("uniqueItems") not in (None, False):
            _refuse("'uniqueItems' is not supported")
        items: object = keywords.get("items", True)
        first: object = keywords.get("prefixItems", [])
        if isinstance(items, list):
            first, items = items, keywords.get("additionalItems", True)
        alone = [self._node(item, depth + 1) for item in _schemas(first, "prefixItems", empty=True)]
        fewest, most = self._counts(keywords, "minItems", "maxItems")
        if most is not None:
            alone = alone[:most]
            most -= len(alone)
        fewest = max(fewest - len(alone), 0)
        if items is False or most == 0 or (alone and fewest == 0 and items is True):
            if fewest:
                _refuse("'minItems' is more than there are items")
            return Array(tuple(alone))
        return Array(tuple(alone), self._node(items, depth + 1), fewest, most)

    def _text(self, keywords: _Keywords) -> Node:
        shortest, longest = self._counts(keywords, "minLength", "maxLength")
        known = keywords.get("format")
        if isinstance(known, str) and known in FORMATS:
            if "minLength" in keywords or "maxLength" in keywords:
                _refuse("'format' stands beside 'minLength' or 'maxLength'")
            return Text(format=known)
        return Text(shortest, longest)

    def _counts(self, keywords: _Keywords, least: str, greatest: str) -> tuple[int, int | None]:
        """Two bounds of a length; a greatest one that nobody reaches is lowered."""
        fewest, most = _count(keywords, least) or 0, _count(keywords, greatest)
        if fewest > _MAX_COUNT:
            _refuse(f"'{least}' is more than {_MAX_COUNT}")
        if most is not None:
            most = min(most, _MAX_COUNT)
            if most < fewest:
                _refuse(f"'{greatest}' is less than '{least}'")
        self._counted += max(fewest, most or 0)
        if self._counted > _MAX_COUNTED:
            _refuse(f"'{least}' and '{greatest}' of the schema add up to more than {_MAX_COUNTED}")
        return fewest, most

    def _ref(self, pointer: object) -> Ref:
        target = self._target(pointer)
        pointer = str(pointer)
        if pointer not in self._named:
            if len(self._named) == _MAX_DEFINITIONS:
                _refuse("the schema has too many references")
            self._named[pointer] = f"d{len(self._named)}"
            self._waiting.append((self._named[pointer], target))
        return Ref(self._named[pointer])

    def _target(self, pointer: object) -> _Keywords:
        if not isinstance(pointer, str) or not (pointer == "#" or pointer.startswith("#/")):
            _refuse("'$ref' leads out of the schema")
        target: object = self._document
        for step in unquote(pointer).split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, dict) and key in target:
                target = target[key]
            elif isinstance(target, list) and key.isdecimal() and int(key[:6]) < len(target):
                target = target[int(key[:6])]
            else:
                _refuse(f"'$ref' leads nowhere: {_shown(pointer)}")
        return {} if target is True else _as_keywords(target)


def _constants(keywords: _Keywords) -> Node:
    values = keywords.get("enum", [keywords.get("const")])
    if not isinstance(values, list) or not values:
        _refuse("'enum' is no list of values")
    if len(values) > _MAX_VALUES:
        _refuse(f"'enum' has more than {_MAX_VALUES} values")
    if "const" in keywords and "enum" in keywords:
        values = [value for value in values if json_text(value) == json_text(keywords["const"])]
    types = keywords.get("type", list(_TYPES))
    names = [str(name) for name in (types if isinstance(types, list) else [types])]
    kept = [
        value for value in values if any(_TYPES[name](value) for name in names if name in _TYPES)
    ]
    if not kept:
        _refuse("'enum' and 'const' leave no value")
    if keywords.keys() - {"const", "enum", "type", "format"}:
        _refuse("'enum' and 'const' stand beside other keywords")
    return Constants(tuple(dict.fromkeys(json_text(value) for value in kept)))


def _integer(keywords: _Keywords) -> Node:
    bounds = _number(keywords)
    lowest = None if bounds.lowest is None else math.ceil(bounds.lowest)
    highest = None if bounds.highest is None else math.floor(bounds.highest)
    if lowest is not None and bounds.above_lowest and lowest == bounds.lowest:
        lowest += 1
    if highest is not None and bounds.below_highest and highest == bounds.highest:
        highest -= 1
    if lowest is not None and highest is not None and lowest > highest:
        _refuse("no whole number lies between the bounds")
    return Integer(lowest, highest)


def _number(keywords: _Keywords) -> Number:
    if keywords.get("multipleOf", 1) != 1 or ("multipleOf" in keywords) > (
        keywords.get("type") == "integer"
    ):
        _refuse("'multipleOf' is not supported")
    lowest, above = _bound(keywords, "minimum", "exclusiveMinimum", max)
    highest, below = _bound(keywords, "maximum", "exclusiveMaximum", min)
    if lowest is not None and lowest < -_MAX_INTEGER:
        lowest, above = -_MAX_INTEGER, False
    if highest is not None and highest > _MAX_INTEGER:
        highest, below = _MAX_INTEGER, False
    if (lowest or 0) > _MAX_INTEGER or (highest or 0) < -_MAX_INTEGER:
        _refuse(f"a bound has more than {MAX_DIGITS} digits")
    if lowest is not None and highest is not None and lowest > highest:
        _refuse("'maximum' is less than 'minimum'")
    return Number(lowest, highest, above, below)


def _bound(
    keywords: _Keywords, name: str, exclusive: str, narrower: Callable[[Iterable[float]], float]
) -> tuple[float | None, bool]:
    """The narrower of two bounds, and whether it is excluded itself."""
    given = {key: keywords[key] for key in (name, exclusive) if key in keywords}
    flag = given.get(exclusive)
    if isinstance(flag, bool):  # draft 4: it belongs to the other one
        del given[exclusive]
    for key, value in given.items():
        if not _is_finite(value):
            _refuse(f"'{key}' is no number")
    if not given:
        return None, False
    bound = given[name] if len(given) == 1 and name in given else given[exclusive]
    if len(given) > 1:
        bound = narrower(given.values())
    return bound, flag is True or given.get(exclusive) == bound


def _is_finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _assertions(keywords: _Keywords) -> _Keywords:
    """The keywords that bound a value; the others only tell people of it."""
    for name in keywords:
        if name in _UNSUPPORTED:
            _refuse(f"'{name}' is not supported")
    known = {"type", "const", "enum", "anyOf", "oneOf", "allOf", "$ref", *_all_typed()}
    return {name: value for name, value in keywords.items() if name in known}


def _all_typed() -> Iterable[str]:
    return (name for names in _OF_TYPE.values() for name in names)


def _both(one: _Keywords, other: _Keywords) -> _Keywords:
    """Two schemas that both hold, where their keywords do not get in each other's way."""
    merged = {**other, **one}
    for name in one.keys() & other.keys():
        first, second = one[name], other[name]
        if first == second:
            continue
        if name == "required" and isinstance(first, list) and isinstance(second, list):
            merged[name] = [*first, *second]
        elif name == "properties" and isinstance(first, dict) and isinstance(second, dict):
            if any(first[key] != second[key] for key in first.keys() & second.keys()):
                _refuse("a property is described twice")
            merged[name] = {**first, **second}
        else:
            _refuse(f"'{name}' is given twice")
    return merged


def _implied(keywords: _Keywords) -> str | None:
    for name, names in _OF_TYPE.items():
        if names & keywords.keys():
            return name
    return None


def _count(keywords: _Keywords, name: str) -> int | None:
    if name not in keywords:
        return None
    value = keywords[name]
    if not _is_finite(value) or value != int(value):
        _refuse(f"'{name}' is no whole number")
    if value < 0:
        _refuse(f"'{name}' is less than 0")
    return int(value)


def _schemas(value: object, name: str, *, empty: bool = False) -> list[object]:
    if not isinstance(value, list) or not (value or empty):
        _refuse(f"'{name}' is no list of schemas")
    return list(value)


def _as_keywords(schema: object) -> _Keywords:
    if not isinstance(schema, dict):
        _refuse(f"{_shown(schema)} is no schema")
    return schema


def _shown(value: object) -> str:
    text = json_text(value)
    return text if len(text) <= 64 else text[:61] + "…"


def _refuse_constant(name: str) -> NoReturn:
    _refuse(f"{name} is no JSON")


def _refuse(reason: str) -> NoReturn:
    raise SchemaRefusal(reason)
