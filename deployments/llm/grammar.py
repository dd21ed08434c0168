"""What a reply must look like, as a grammar for llama.cpp (GBNF).

llama-cpp-python has a converter of its own for JSON schemas. It is not used: a quote in a
schema's texts ends its literals, so that a client could write rules of the grammar; it passes
over bounds of numbers, lets raw line breaks into strings, and grows without limit.
"""

import itertools
from collections.abc import Mapping, Sequence
from functools import lru_cache

from deployments.errors import InvalidParameter
from deployments.llm.ambiguity import check_readings
from deployments.llm.instances import shortest_value
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
    parse_schema,
)
from deployments.llm.number_range import number_gbnf
from deployments.messages import JsonOutput, ToolOutput, ToolSignature

_MAX_CHARS = 262_144
_MAX_FACTORED = 24
_HEX = "[0-9a-fA-F]"
_PRIMITIVES = {
    # Halves of a character (\ud800 and on) are no text that could be sent on.
    "char": r'[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" '
    f"([0-9a-cA-CefEF] {_HEX}{{3}} | [dD] [0-7] {_HEX}{{2}}))",
    "string": r'"\"" char* "\""',
    "number": number_gbnf(Number()),
    "value": 'string | number | object | array | "true" | "false" | "null"',
    "member": 'string ": " value',
    "object": '"{" (member (", " member)*)? "}"',
    "array": '"[" (value (", " value)*)? "]"',
    "date": '[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | "1" [0-9] | "2" [0-8])',
    "time": '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,6})? '
    '("Z" | [+-] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])',
    "date-time": 'date "T" time',
    "uuid": f'{_HEX}{{8}} "-" {_HEX}{{4}} "-" {_HEX}{{4}} "-" {_HEX}{{4}} "-" {_HEX}{{12}}',
}
_ANY_OBJECT = JsonOutput('{"type": "object"}')


@lru_cache(maxsize=32)
def gbnf(output: JsonOutput | ToolOutput) -> str:
    """The grammar of a reply; its first rule is `root`.

    Raises:
        InvalidParameter: a schema is none, or asks for what cannot be kept.
    """
    rules = _Rules(output_field(output))
    if isinstance(output, JsonOutput):
        schema = json_schema(output)
        rules.add("root", rules.schema(schema, "s"))
    else:
        rules.add("root", _calls(output, rules))
    return rules.text()


def output_field(output: JsonOutput | ToolOutput | None) -> str:
    """The request's field that asks for this form of a reply."""
    return "tools" if isinstance(output, ToolOutput) else "response_format"


def json_schema(output: JsonOutput) -> Schema:
    """The schema of a JSON reply.

    Raises:
        InvalidParameter: it is none, or asks for what cannot be kept.
    """
    try:
        return _checked((_ANY_OBJECT if output.schema is None else output).schema or "")
    except SchemaRefusal as refusal:
        raise InvalidParameter("response_format", f"{refusal}.") from None


def tool_schema(tool: ToolSignature) -> Schema:
    """The schema of a tool's arguments, which are an object.

    Raises:
        InvalidParameter: it is none, or asks for what cannot be kept.
    """
    try:
        schema = _checked(tool.parameters)
    except SchemaRefusal as refusal:
        raise InvalidParameter("tools", f"{refusal} (tool '{tool.name[:64]}').") from None
    if isinstance(schema.root, AnyValue):
        return Schema(Map(AnyValue()))
    if not _is_object(schema.root, schema.definitions):
        raise InvalidParameter("tools", f"the arguments of '{tool.name[:64]}' are no object.")
    return schema


def _checked(text: str) -> Schema:
    schema = parse_schema(text)
    check_readings(schema)
    shortest_value(schema)
    return schema


def _is_object(node: Node, definitions: Mapping[str, Node]) -> bool:
    match node:
        case Object() | Map():
            return True
        case Union(branches):
            return all(_is_object(branch, definitions) for branch in branches)
        case Ref(name):
            return _is_object(definitions[name], definitions)
        case Constants(values):
            return all(value.startswith("{") for value in values)
        case _:
            return False


def _calls(output: ToolOutput, rules: "_Rules") -> str:
    """Calls of the tools; or a text that nobody takes for a call."""
    if not output.tools:
        raise InvalidParameter("tools", "there is no tool.")
    if len({tool.name for tool in output.tools}) < len(output.tools):
        raise InvalidParameter("tools", "two of them have the same name.")
    heads: list[tuple[str, str]] = []
    for index, tool in enumerate(output.tools):
        arguments = rules.rule(f"t{index}", rules.schema(tool_schema(tool), f"t{index}"))
        heads.append((call_head(tool.name), f'{arguments} "}}</tool_call>"'))
    call = rules.rule("call", _choice(heads))
    calls = f"{call}+" if output.parallel else call
    if output.required:
        return calls
    rules.add("text", '(" "? [^< \\t\\r\\n] .*)?')
    return f"{calls} | text"


def call_head(name: str) -> str:
    """A call up to its arguments."""
    return f'<tool_call>{{"name": {json_text(name)}, "arguments": '


class _Rules:
    """The rules of a grammar while it is written."""

    def __init__(self, field: str) -> None:
        self._field = field
        self._rules: dict[str, str] = {}
        self._numbers = itertools.count()
        self._chars = 0

    def add(self, name: str, body: str) -> None:
        self._chars += len(name) + len(body)
        if self._chars > _MAX_CHARS:
            raise InvalidParameter(self._field, "its schemas are too large.")
        self._rules[name] = body

    def rule(self, prefix: str, body: str) -> str:
        """The name of a new rule."""
        name = f"{prefix}-{next(self._numbers)}"
        self.add(name, body)
        return name

    def text(self) -> str:
        return "".join(f"{name} ::= {body}\n" for name, body in self._rules.items())

    def schema(self, schema: Schema, prefix: str) -> str:
        """Write the rules of a schema; the expression that stands for its values."""
        for name, node in schema.definitions.items():
            self.add(f"{prefix}-{name}", self._value(node, prefix))
        return self._value(schema.root, prefix)

    def _value(self, node: Node, prefix: str) -> str:  # noqa: PLR0911
        match node:
            case AnyValue():
                return self._primitive("value")
            case Constants(values):
                return self.rule(prefix, _choice([(value, "") for value in values]))
            case Text():
                return self._text(node)
            case Integer() | Number():
                return self.rule(prefix, number_gbnf(node))
            case Array():
                return self._array(node, prefix)
            case Map(values):
                return self._map(values, prefix)
            case Object():
                return self._object(node, prefix)
            case Union(branches):
                written = [self._value(branch, prefix) for branch in branches]
                return self.rule(prefix, " | ".join(written))
            case Ref(name):
                return f"{prefix}-{name}"

    def _primitive(self, name: str) -> str:
        if name not in self._rules:
            self.add(name, _PRIMITIVES[name])
            for other in _PRIMITIVES:
                if other in _PRIMITIVES[name]:
                    self._primitive(other)
        return name

    def _text(self, node: Text) -> str:
        if node.format is not None:
            return self.rule(node.format, f'"\\"" {self._primitive(node.format)} "\\""')
        if node == Text():
            return self._primitive("string")
        longest = "" if node.longest is None else node.longest
        name = f"string-{node.shortest}-{longest}".rstrip("-")
        if name not in self._rules:
            chars = _repeated(self._primitive("char"), node.shortest, node.longest)
            self.add(name, f'"\\"" {chars} "\\""')
        return name

    def _array(self, node: Array, prefix: str) -> str:
        parts = ['"["']
        for index, item in enumerate(node.first):
            parts += ['", "'] if index else []
            parts.append(self._value(item, prefix))
        if node.others is not None:
            parts.append(self._others(node, self._value(node.others, prefix), prefix))
        return self.rule(prefix, " ".join([*parts, '"]"']))

    def _others(self, node: Array, item: str, prefix: str) -> str:
        more = self.rule(prefix, f'", " {item}')
        if node.first:
            return _repeated(more, node.fewest, node.most)
        most = None if node.most is None else node.most - 1
        items = f"{item} {_repeated(more, max(node.fewest - 1, 0), most)}"
        return items if node.fewest else f"({items})?"

    def _map(self, values: Node, prefix: str) -> str:
        if values == AnyValue():
            return self._primitive("object")
        member = self.rule(
            prefix, f'{self._primitive("string")} ": " {self._value(values, prefix)}'
        )
        return self.rule(prefix, f'"{{" ({member} (", " {member})*)? "}}"')

    def _object(self, node: Object, prefix: str) -> str:
        """An object; a rule for each place in it, before and after the first member is written."""
        fresh, more = '""', '""'
        for member in reversed(node.properties):
            key = _literal(f"{json_text(member.name)}: ")
            written = self.rule(prefix, f"{key} {self._value(member.value, prefix)} {more}")
            if member.required:
                fresh = written
                more = self.rule(prefix, f'", " {written}')
            else:
                fresh = self.rule(prefix, f"{written} | {fresh}")
                more = self.rule(prefix, f'", " {written} | {more}')
        return self.rule(prefix, f'"{{" {fresh} "}}"')


def _repeated(rule: str, fewest: int, most: int | None) -> str:
    return f"{rule}{{{fewest},{'' if most is None else most}}}" if most != 0 else '""'


def _choice(alternatives: Sequence[tuple[str, str]], depth: int = 0) -> str:
    """One of several texts, each with what follows it.

    What they have in common is written once: the model's tokens are tried on every alternative.
    """
    if len(alternatives) == 1 or depth == _MAX_FACTORED:
        return " | ".join(f"{_literal(text)} {rest}".rstrip() for text, rest in alternatives)
    written: list[str] = []
    for _, same in itertools.groupby(sorted(alternatives), key=lambda one: one[0][:1]):
        group = list(same)
        start = _common_start(group[0][0], group[-1][0])
        if len(group) == 1 or not start:
            written += [f"{_literal(text)} {rest}".rstrip() for text, rest in group]
            continue
        ends = [(text.removeprefix(start), rest) for text, rest in group]
        written.append(f"{_literal(start)} ({_choice(ends, depth + 1)})")
    return " | ".join(written)


def _common_start(one: str, other: str) -> str:
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(char for char, _ in same)


def _literal(text: str) -> str:
    """A text as GBNF: nothing in it may end the literal or its line."""
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    return char if char.isprintable() else f"\\U{ord(char):08X}"
