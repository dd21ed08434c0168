"""The shortest value of a JSON schema."""

from collections.abc import Mapping

from deployments.llm.json_schema import (
    AnyValue,
    Array,
    Constants,
    Integer,
    Map,
    Node,
    Number,
    Object,
    Ref,
    Schema,
    SchemaRefusal,
    Text,
    Union,
    json_text,
)
from deployments.llm.number_range import simplest_number

_LONGEST = 16_384
_OF_FORMAT = {
    "date": "2000-01-01",
    "time": "00:00:00Z",
    "date-time": "2000-01-01T00:00:00Z",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def shortest_value(schema: Schema) -> str:
    """A value of the schema as JSON, without what may be left out.

    Raises:
        SchemaRefusal: the schema has no value that ends, or only long ones.
    """
    known: dict[str, str] = {}
    while (value := _shortest(schema.root, known)) is None:
        before = len(known)
        # Last to first: a definition mostly needs those that were met after it.
        for name, node in reversed(schema.definitions.items()):
            if name not in known and (text := _shortest(node, known)) is not None:
                known[name] = text
        if len(known) == before:
            raise SchemaRefusal("no value of the schema ever ends")
    return value


def _shortest(node: Node, known: Mapping[str, str]) -> str | None:
    text = _written(node, known)
    if text is not None and len(text) > _LONGEST:
        _too_long()
    return text


def _written(node: Node, known: Mapping[str, str]) -> str | None:  # noqa: PLR0911
    match node:
        case AnyValue():
            return "null"
        case Constants(values):
            return min(values, key=len)
        case Text():
            return json_text(_OF_FORMAT[node.format] if node.format else "x" * node.shortest)
        case Number() | Integer():
            return simplest_number(node)
        case Array():
            return _array(node, known)
        case Map():
            return "{}"
        case Object():
            return _object(node, known)
        case Union(branches):
            texts = [_shortest(branch, known) for branch in branches]
            return min((text for text in texts if text is not None), key=len, default=None)
        case Ref(name):
            return known.get(name)


def _array(node: Array, known: Mapping[str, str]) -> str | None:
    texts = [_shortest(item, known) for item in node.first]
    if node.others is not None and node.fewest:
        other = _shortest(node.others, known)
        if len(other or "") * node.fewest > _LONGEST:
            _too_long()
        texts += [other] * node.fewest
    items = [text for text in texts if text is not None]
    return f"[{', '.join(items)}]" if len(items) == len(texts) else None


def _object(node: Object, known: Mapping[str, str]) -> str | None:
    members: list[str] = []
    for member in node.properties:
        if not member.required:
            continue
        value = _shortest(member.value, known)
        if value is None:
            return None
        members.append(f"{json_text(member.name)}: {value}")
    return "{" + ", ".join(members) + "}"


def _too_long() -> None:
    raise SchemaRefusal(f"the shortest value of the schema is longer than {_LONGEST} characters")
