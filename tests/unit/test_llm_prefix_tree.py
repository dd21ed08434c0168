"""The prefix tree, against comparing every sequence."""

from hypothesis import given, settings, strategies as st

from deployments.llm.prefix_tree import PrefixTree, common_prefix

TOKENS = st.lists(st.integers(0, 2), max_size=12)
KEYS = st.integers(0, 5)


def test_a_prompt_finds_what_it_has_in_common_with_each():
    tree: PrefixTree[str] = PrefixTree()
    tree.put("a", [1, 2, 3, 4])
    tree.put("b", [1, 2, 9])
    tree.put("c", [7])
    assert tree.matches([1, 2, 3, 5]) == {"a": 3, "b": 2}
    assert tree.matches([1, 2, 9, 9]) == {"a": 2, "b": 3}
    assert tree.matches([8]) == {}
    tree.remove("a")
    assert tree.matches([1, 2, 3]) == {"b": 2}


def test_a_key_holds_the_last_sequence_only():
    tree: PrefixTree[str] = PrefixTree()
    tree.put("a", [1, 2, 3])
    tree.put("a", [1, 5])
    assert tree.matches([1, 2, 3]) == {"a": 1}
    assert len(tree) == 1


def test_nothing_is_left_of_what_was_removed():
    tree: PrefixTree[int] = PrefixTree()
    for key in range(20):
        tree.put(key, [key % 3, key % 5, key])
    for key in range(20):
        tree.remove(key)
    assert len(tree) == 0
    assert not tree._root.children


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(KEYS, st.none() | TOKENS), max_size=30), TOKENS)
def test_it_answers_as_comparing_every_sequence_does(
    steps: list[tuple[int, list[int] | None]], prompt: list[int]
):
    tree: PrefixTree[int] = PrefixTree()
    model: dict[int, list[int]] = {}
    for key, tokens in steps:
        if tokens is None:
            tree.remove(key)
            model.pop(key, None)
        else:
            tree.put(key, tokens)
            model[key] = tokens
        expected = {k: n for k, held in model.items() if (n := common_prefix(held, prompt))}
        assert tree.matches(prompt) == expected
        assert len(tree) == len(model)
        for k, held in model.items():
            assert tree.matches(held).get(k, 0) == len(held)
