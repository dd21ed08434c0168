"""How many readings of what is written a grammar must follow at once.

llama.cpp keeps one stack for each. Branches that begin alike double them, and inside each other
(or in a definition that leads back to itself) they double again: without a limit a schema of a
few lines would take all memory and time.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise

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

_MAX_READINGS = 128
_MAX_ROUNDS = 64
_RANGE_READINGS = 8  # numbers of each length are written by rules of their own
_MAX_OPENINGS = 1_024
_NUMBER = "-0123456789"
_OPENINGS: dict[type[Node], frozenset[str]] = {
    AnyValue: frozenset({"{", "[", '"', *_NUMBER, "true", "false", "null"}),
    Text: frozenset('"'),
    Number: frozenset(_NUMBER),
    Integer: frozenset(_NUMBER),
    Array: frozenset("["),
    Map: frozenset("{"),
}


def check_readings(schema: Schema) -> None:
    """Refuse a schema that leaves too much undecided at once.

    Raises:
        SchemaRefusal: more readings than are followed, or a definition that begins with itself.
    """
    openings = _openings_of(schema.definitions)
    readings = dict.fromkeys(schema.definitions, 1)
    # A definition inside of its own ambiguity grows in every round.
    for _ in range(_MAX_ROUNDS):
        before = dict(readings)
        for name, node in reversed(schema.definitions.items()):
            readings[name] = _readings(node, readings, openings)
        if readings == before:
            break
    else:
        _refuse()
    _readings(schema.root, readings, openings)


def _readings(node: Node, known: Mapping[str, int], openings: Mapping[str, frozenset[str]]) -> int:
    def of(inner: Node) -> int:
        return _readings(inner, known, openings)

    match node:
        case Ref(name):
            count = known[name]
        case Union(branches):
            counts = [of(branch) for branch in branches]
            starts = [_openings(branch, openings) for branch in branches]
            count = sum(counts) if _alike(starts) else max(len(counts), *counts)
        case Object(properties):
            count = max([_undecided(node), *(of(member.value) for member in properties)])
        case Array(first, others):
            count = max([1, *map(of, first), of(others) if others else 1])
        case Map(values):
            count = of(values)
        case Integer() | Number():
            count = 1 if node in (Integer(), Number()) else _RANGE_READINGS
        case _:
            count = 1
    if count > _MAX_READINGS:
        _refuse()
    return count


def _undecided(node: Object) -> int:
    """How many members may come next where most of them may be left out."""
    runs = groupby(node.properties, key=lambda member: member.required)
    return 1 + max((len(list(run)) for required, run in runs if not required), default=0)


def _alike(starts: Sequence[frozenset[str]]) -> bool:
    """Whether what one branch begins with is the beginning of another one."""
    marked = sorted((text, index) for index, texts in enumerate(starts) for text in _least(texts))
    return any(
        one != other and after.startswith(text) for (text, one), (after, other) in pairwise(marked)
    )


def _least(texts: frozenset[str]) -> list[str]:
    """The texts that do not begin with another one."""
    least: list[str] = []
    for text in sorted(texts):
        if not least or not text.startswith(least[-1]):
            least.append(text)
    return least


def _openings_of(definitions: Mapping[str, Node]) -> dict[str, frozenset[str]]:
    """What each definition begins with; one that only begins with itself has nothing."""
    known: dict[str, frozenset[str]] = {}
    in_progress: set[str] = set()

    def visit(name: str) -> None:
        if name in known:
            return
        if name in in_progress:
            raise SchemaRefusal("a '$ref' leads back to itself")
        in_progress.add(name)
        for inner in _first_refs(definitions[name]):
            visit(inner)
        known[name] = _openings(definitions[name], known)

    for name in definitions:
        visit(name)
    return known


def _first_refs(node: Node) -> list[str]:
    match node:
        case Ref(name):
            return [name]
        case Union(branches):
            return [name for branch in branches for name in _first_refs(branch)]
        case _:
            return []


def _openings(node: Node, known: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The texts with which values of a node begin, as far as they are certain."""
    match node:
        case Constants(values):
            return frozenset(values)
        case Object():
            return frozenset(_object_openings(node))
        case Ref(name):
            return known[name]
        case Union(branches):
            texts = frozenset[str]().union(*(_openings(branch, known) for branch in branches))
            if len(texts) > _MAX_OPENINGS:
                _refuse()
            return texts
        case _:
            return _OPENINGS[type(node)]


def _object_openings(node: Object) -> list[str]:
    """The first member's name, and its value where that is one of few."""
    if not node.properties:
        return ["{}"]
    first = node.properties[0]
    if not first.required:
        return ["{"]
    name = f"{{{json_text(first.name)}: "
    if isinstance(first.value, Constants):
        return [name + value for value in first.value.values]
    return [name]


def _refuse() -> None:
    raise SchemaRefusal("too many of its branches begin alike; begin them with different names")
