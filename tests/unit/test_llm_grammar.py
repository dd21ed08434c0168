import itertools
import json
import re

import pytest

from deployments.errors import InvalidParameter
from deployments.llm.grammar import gbnf
from deployments.llm.json_schema import Integer, Number
from deployments.llm.number_range import number_gbnf, simplest_number
from deployments.messages import JsonOutput, ToolOutput, ToolSignature

_LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"')


def _rules(grammar: str) -> dict[str, str]:
    return dict(line.split(" ::= ", 1) for line in grammar.splitlines())


@pytest.mark.parametrize(
    "name", ['"', "\\", '\\"', 'a" | root | "b', "\n", "a\nroot ::= [a]", "\0", "\u2028", "]", "'"]
)
def test_a_text_of_a_client_stays_inside_of_its_literal(name: str) -> None:
    schema = {"type": "object", "properties": {name: {"enum": [name]}}, "required": [name]}
    grammar = gbnf(JsonOutput(json.dumps(schema)))
    plain = gbnf(JsonOutput(json.dumps(schema).replace(json.dumps(name), '"x"')))
    assert list(_rules(grammar)) == list(_rules(plain))
    assert _LITERAL.sub("", grammar) == _LITERAL.sub("", plain)


def test_all_rules_that_are_named_exist() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "format": "date-time"},
            "b": {"type": "array", "items": {"$ref": "#"}},
            "c": {},
            "d": {"additionalProperties": {"type": "string", "maxLength": 3}},
        },
    }
    rules = _rules(gbnf(ToolOutput((ToolSignature("f", json.dumps(schema)),))))
    for body in rules.values():
        plain = re.sub(r"\[(?:[^\]\\]|\\.)*\]|\{[0-9,]*\}", " ", _LITERAL.sub(" ", body))
        assert set(re.findall(r"[a-z][a-z0-9-]*", plain)) <= rules.keys()


def test_what_alternatives_have_in_common_is_written_once() -> None:
    grammar = gbnf(JsonOutput(json.dumps({"enum": ["value 1", "value 2"]})))
    assert grammar.count("value") == 1


def test_a_tool_is_named_in_what_is_refused() -> None:
    tools = (ToolSignature("good", "{}"), ToolSignature("bad", '{"not": {}}'))
    with pytest.raises(InvalidParameter, match="'bad'") as caught:
        gbnf(ToolOutput(tools))
    assert caught.value.param == "tools"


def test_many_large_tools_are_refused() -> None:
    properties = {f"p{n}": {"type": "array", "items": {"type": "null"}} for n in range(400)}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    tools = tuple(ToolSignature(f"t{n}", json.dumps(schema)) for n in range(64))
    with pytest.raises(InvalidParameter, match="too large"):
        gbnf(ToolOutput(tools))


def _pattern(grammar: str) -> re.Pattern[str]:
    """The numbers of a grammar as a regular expression."""
    return re.compile(
        re.sub(r'"([^"]*)"', lambda match: re.escape(match[1]), grammar).replace(" ", "")
    )


BOUNDS = [None, -1000, -101, -100, -10, -9, -1, 0, 1, 9, 10, 11, 99, 100, 205, 999, 1000]


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (low, high)
        for low, high in itertools.product(BOUNDS, BOUNDS)
        if low is None or high is None or low <= high
    ],
)
def test_whole_numbers_are_exactly_those_between_the_bounds(
    low: int | None, high: int | None
) -> None:
    written = _pattern(number_gbnf(Integer(low, high)))
    for number in range(-1100, 1101):
        inside = (low is None or number >= low) and (high is None or number <= high)
        assert (written.fullmatch(str(number)) is not None) == inside
    for text in ("-0", "00", "01", "", "-", "+1", "1.0"):
        assert written.fullmatch(text) is None or (text == "-0" and low is None and high is None)
    assert written.fullmatch(simplest_number(Integer(low, high)))


@pytest.mark.parametrize(
    "bounds",
    [
        Number(0, 1),
        Number(0, 1, above_lowest=True, below_highest=True),
        Number(-2, 3, above_lowest=True),
        Number(-2.5, 2.5),
        Number(-3, -1, below_highest=True),
        Number(highest=0, below_highest=True),
        Number(lowest=7),
        Number(0, 0),
    ],
)
def test_numbers_lie_between_the_bounds(bounds: Number) -> None:
    written = _pattern(number_gbnf(bounds))
    found = 0
    for sign, whole, part in itertools.product(("", "-"), range(9), ("", ".0", ".5", ".999999")):
        number = float(f"{sign}{whole}{part}")
        inside = (
            (bounds.lowest is None or number >= bounds.lowest)
            and (bounds.highest is None or number <= bounds.highest)
            and not (bounds.above_lowest and number == bounds.lowest)
            and not (bounds.below_highest and number == bounds.highest)
        )
        if written.fullmatch(f"{sign}{whole}{part}"):
            assert inside
            found += 1
    assert found
    assert written.fullmatch(simplest_number(bounds))
